from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l7.records cimport Session
from fourseven.protocols.chunked cimport Chunked
from fourseven.protocols.message cimport Response, Span
from fourseven.snapshot.layout cimport Backend, GateState
from fourseven.worker.worker cimport Buffer, Dead, Worker

cpdef enum:
    THROWN_MAX = 1048576    # of an answer that nobody reads: beyond, a new connection is cheaper

cpdef enum AsideResult:
    ASIDE_BUSY = 0
    ASIDE_DONE = 1
    ASIDE_FAILED = 2

cpdef enum AsideWants:
    WANTS_ALL = 0           # the whole answer, which must fit one buffer
    WANTS_HEAD = 1          # its head; nothing is taken out of the connection's buffer
    WANTS_END = 2           # to know that it has come: its body is thrown away

cdef struct Aside

# Called once, when the result is there; it may close the aside, and never within aside_go.
ctypedef void (*told_fn)(Worker *worker, Aside *aside) noexcept nogil

cdef struct Aside:
    Session session         # first: as the engine sees it, but without a socket
    Session *asker          # whose owner closes the aside before it goes; NULL: nobody's
    told_fn told
    GateState *kept         # its `users` counts the aside; NULL: nobody counts
    Buffer *request
    uint32_t time_ms        # for the whole exchange; 0: the backend's times alone
    uint8_t wants           # AsideWants
    uint8_t result          # AsideResult
    uint8_t over            # within one look: the answer's last byte has been taken
    uint32_t head_size      # of the answer; 0: it has not come
    uint32_t decoded        # bytes of the body so far
    uint64_t thrown
    uint64_t left           # with FRAMING_LENGTH, of a body that is thrown away
    Chunked chunked
    Span body               # with WANTS_ALL, once it is done
    Response response       # last: it is not zeroed

# A request to the backend on behalf of the asker's stream, which has its snapshot pinned; takes the
# buffer. NULL: no memory.
cdef Aside *aside_new "fourseven_aside_new"(
    Worker *worker, Session *asker, const Backend *backend, Buffer *request
) noexcept nogil
# Sends it to a server of the backend; worker.request is looked at where it picks by that. False:
# there is none, and it is closed.
cdef bint aside_go "fourseven_aside_go"(Worker *worker, Aside *aside) noexcept nogil
cdef void aside_close "fourseven_aside_close"(Worker *worker, Aside *aside) noexcept nogil

# SESSION_ASIDE: true when another step may follow at once.
cdef bint aside_step "fourseven_aside_step"(Worker *worker, Session *session) noexcept nogil
# Its connection's time is up.
cdef void aside_late "fourseven_aside_late"(Worker *worker, Session *session) noexcept nogil

cdef bint take_connection(Worker *worker, Aside *aside) noexcept nogil
cdef int32_t aside_send(Worker *worker, Aside *aside) noexcept nogil
cdef void look(Worker *worker, Aside *aside, bint ended) noexcept nogil
cdef int32_t head(Worker *worker, Aside *aside) noexcept nogil
cdef void judge(Worker *worker, Aside *aside) noexcept nogil
cdef bint whole_body(Aside *aside, bint ended) noexcept nogil
cdef bint chunks(Aside *aside) noexcept nogil
cdef bint throw_away(Worker *worker, Aside *aside, bint ended) noexcept nogil
cdef bint throw_piece(Aside *aside, bint ended) noexcept nogil
cdef void aside_failed(Worker *worker, Aside *aside, uint8_t failure) noexcept nogil
cdef bint once_more(Worker *worker, Aside *aside) noexcept nogil
cdef void blame(Worker *worker, Aside *aside, uint8_t failure) noexcept nogil
cdef void tell(Worker *worker, Aside *aside, uint8_t result) noexcept nogil
cdef void aside_bury(Worker *worker, Dead *dead) noexcept nogil

cdef inline Aside *aside_of(Session *session) noexcept nogil:
    return <Aside *> session
