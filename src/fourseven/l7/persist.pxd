from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Span
from fourseven.snapshot.layout cimport Backend, Persistence, Pick
from fourseven.worker.worker cimport Worker

cpdef enum:
    PERSIST_NONE = -100     # the client belongs to nobody, or is balanced anew
    COOKIE_SIZE = 32        # hexadecimal digits of a server's name

cpdef enum Belongs:         # Stream.belongs: what is known of the client
    BELONGS_NOWHERE = 0     # it gets a server, and is told
    BELONGS_HERE = 1
    BELONGS_RENEWED = 2     # by an old secret: it is told anew
    BELONGS_ELSEWHERE = 3   # its server is at its limit: another one this time, and it keeps its own

# The slot of the client's own server, a Nobody (l7.choice), or PERSIST_NONE.
cdef int32_t persist_find "fourseven_persist_find"(Worker *worker, Session *session, Pick *pick) noexcept nogil
# A server has been entered: what the table must know.
cdef void persist_went "fourseven_persist_went"(Worker *worker, Session *session) noexcept nogil
# An answer's head stands in worker.response: what it teaches, and what the client is told with it.
cdef void persist_answer "fourseven_persist_answer"(Worker *worker, Session *session) noexcept nogil

cdef int32_t known(Worker *worker, Session *session, const Persistence *persistence) noexcept nogil
cdef int32_t without(Worker *worker, Session *session, const Persistence *persistence, bint full) noexcept nogil
cdef bint read_name(const Span *text, uint64_t *first, uint64_t *second) noexcept nogil
cdef int32_t index_of(const Backend *backend, uint32_t slot) noexcept nogil
cdef void give_cookie(Worker *worker, Session *session, uint32_t at) noexcept nogil
cdef uint32_t put_hex(char *to, uint64_t number) noexcept nogil
cdef void learn(Worker *worker, Session *session, uint32_t at) noexcept nogil
cdef Span cookie_value(const Span *line, const Span *name) noexcept nogil
