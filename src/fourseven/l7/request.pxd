from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.heads cimport HeadContext
from fourseven.l7.records cimport Session, Stream, Upstream
from fourseven.protocols.message cimport Request
from fourseven.snapshot.layout cimport Backend, Listener, Route
from fourseven.worker.worker cimport Buffer, Worker

# Sends the head that stands in the worker's room, and what is here of the body.
cdef void forward_request "fourseven_forward_request"(
    Worker *worker, Session *session, uint32_t head_size
) noexcept nogil
# The body's place in the session's buffer: right behind the head.
cdef void window_reset(Session *session) noexcept nogil
cdef bint pump_request(Worker *worker, Session *session) noexcept nogil
cdef bint request_piece(Worker *worker, Session *session) noexcept nogil
cdef void request_sent(Worker *worker, Session *session) noexcept nogil
cdef bint read_body(Worker *worker, Session *session) noexcept nogil
cdef bint enlarge(Worker *worker, Session *session) noexcept nogil
cdef int32_t cook_request(Session *session) noexcept nogil
cdef uint8_t body_reason(int32_t status) noexcept nogil
cdef void server_lost(Worker *worker, Session *session) noexcept nogil
