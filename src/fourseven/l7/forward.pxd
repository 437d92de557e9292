from libc.stdint cimport int32_t, uint32_t

from fourseven.l7.records cimport Session, Upstream
from fourseven.protocols.message cimport Request
from fourseven.worker.worker cimport Buffer, Worker

# One step of an exchange, in both directions; true when another may follow at once.
cdef bint exchange_step "fourseven_exchange_step"(Worker *worker, Session *session) noexcept nogil
# Sends the head that stands in the worker's room, and what is here of the body.
cdef void forward_request "fourseven_forward_request"(
    Worker *worker, Session *session, uint32_t head_size
) noexcept nogil
# The body's place in the session's buffer: right behind the head.
cdef void window_reset(Session *session) noexcept nogil

cdef bint pump_request(Worker *worker, Session *session) noexcept nogil
cdef bint request_piece(Worker *worker, Session *session) noexcept nogil
cdef bint read_body(Worker *worker, Session *session) noexcept nogil
cdef bint enlarge(Worker *worker, Session *session) noexcept nogil
cdef int32_t cook_request(Session *session) noexcept nogil
cdef void server_lost(Worker *worker, Session *session) noexcept nogil
cdef bint pump_response(Worker *worker, Session *session) noexcept nogil
cdef bint response_head(Worker *worker, Session *session) noexcept nogil
cdef bint interim(Worker *worker, Session *session) noexcept nogil
cdef int32_t write_head(Worker *worker, Session *session) noexcept nogil
cdef void begin_response(Worker *worker, Session *session) noexcept nogil
cdef void put_off_reading(Worker *worker, Upstream *upstream) noexcept nogil
cdef void frame_response(Session *session) noexcept nogil
cdef int32_t cook_response(Worker *worker, Session *session) noexcept nogil
cdef int32_t cook_until_close(Worker *worker, Session *session, bint last) noexcept nogil
cdef bint response_body(Worker *worker, Session *session) noexcept nogil
cdef bint read_response_body(Worker *worker, Session *session) noexcept nogil
cdef int32_t splice_body(Worker *worker, Session *session) noexcept nogil
cdef bint send_both(Worker *worker, Session *session, uint32_t head_size) noexcept nogil
cdef uint32_t chunk_head(char *out, uint32_t size) noexcept nogil
