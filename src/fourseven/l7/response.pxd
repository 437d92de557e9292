from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.heads cimport HeadContext
from fourseven.l7.records cimport Session, Stream, Upstream
from fourseven.snapshot.layout cimport Backend, Listener, Route
from fourseven.worker.worker cimport Buffer, Worker

# One step of an exchange, in both directions; true when another may follow at once.
cdef bint exchange_step "fourseven_exchange_step"(Worker *worker, Session *session) noexcept nogil
cdef int32_t write_head(Worker *worker, Session *session) noexcept nogil
cdef bint pump_response(Worker *worker, Session *session) noexcept nogil
cdef bint response_head(Worker *worker, Session *session) noexcept nogil
cdef bint interim(Worker *worker, Session *session) noexcept nogil
cdef void begin_response(Worker *worker, Session *session) noexcept nogil
cdef void put_off_reading(Worker *worker, Upstream *upstream) noexcept nogil
cdef bint too_large(const Stream *stream, uint64_t said) noexcept nogil
cdef void answered_after(Worker *worker, const Stream *stream, uint64_t took_ns) noexcept nogil
cdef void frame_response(Session *session) noexcept nogil
cdef bint until_close(const Stream *stream) noexcept nogil
cdef int32_t part_trailers(Worker *worker, Session *session, uint32_t data) noexcept nogil
cdef bint take_raw(Worker *worker, Session *session) noexcept nogil
cdef int32_t cook_response(Worker *worker, Session *session) noexcept nogil
cdef int32_t cook_until_close(
    Worker *worker, Session *session, uint32_t most, bint last
) noexcept nogil
cdef bint response_body(Worker *worker, Session *session) noexcept nogil
cdef bint read_response_body(Worker *worker, Session *session) noexcept nogil
cdef int32_t splice_body(Worker *worker, Session *session) noexcept nogil
cdef bint send_record(Worker *worker, Session *session, uint32_t head_size) noexcept nogil
cdef bint send_both(Worker *worker, Session *session, uint32_t head_size) noexcept nogil
cdef uint32_t chunk_head(char *out, uint32_t size) noexcept nogil
