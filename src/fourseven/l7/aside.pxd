from libc.stdint cimport int32_t, uint32_t

from fourseven.l7.records cimport Session
from fourseven.protocols.chunked cimport Chunked
from fourseven.protocols.message cimport Response, Span
from fourseven.snapshot.layout cimport Backend, BackendState
from fourseven.worker.worker cimport Buffer, Dead, Source, Worker

cpdef enum AsideResult:
    ASIDE_BUSY = 0
    ASIDE_DONE = 1
    ASIDE_FAILED = 2

cdef struct Aside:
    Source source           # first
    Dead dead
    Session *session        # that is told when `result` is there
    BackendState *state
    uint32_t slot
    uint32_t result         # AsideResult
    uint32_t scanned
    uint32_t head_size
    uint32_t begun          # `chunked` is
    uint32_t decoded        # bytes of the body so far
    Chunked chunked
    Buffer *out
    Buffer *in_
    Response response       # with ASIDE_DONE; its spans stand in `in_`
    Span body

# Sends `request` (it takes the buffer) to a server of the backend; NULL: none can be asked.
# worker.request is looked at where the backend picks by it. It must be closed.
cdef Aside *aside_open "fourseven_aside_open"(
    Worker *worker, Session *session, const Backend *backend, Buffer *request
) noexcept nogil
cdef void aside_close "fourseven_aside_close"(Worker *worker, Aside *aside) noexcept nogil

cdef int32_t server_for(Worker *worker, const Backend *backend) noexcept nogil
cdef void aside_bury(Worker *worker, Dead *dead) noexcept nogil
cdef void aside_ready(Worker *worker, Source *source, uint32_t events) noexcept nogil
cdef bint aside_send(Aside *aside) noexcept nogil
cdef bint aside_read(Aside *aside) noexcept nogil
cdef bint whole(Aside *aside, bint ended) noexcept nogil
cdef int32_t aside_head(Aside *aside) noexcept nogil
cdef bint body(Aside *aside, bint ended) noexcept nogil
cdef bint chunks(Aside *aside, bint ended) noexcept nogil

cdef inline Aside *aside_of_dead(Dead *dead) noexcept nogil:
    cdef Aside *like = <Aside *> dead  # for the distance alone; it is not read
    return <Aside *> (<char *> dead - (<char *> &like.dead - <char *> like))
