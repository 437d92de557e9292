from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.records cimport Session, Stream, Upstream
from fourseven.protocols.message cimport Response
from fourseven.worker.worker cimport Dead, Source, Timer, Worker

cdef extern from *:
    """
    static const char FOURSEVEN_HTTP_1[] = "\\x08http/1.1"; /* ALPN (RFC 7301 3.1): a size, a name */
    """
    const char *HTTP_1 "FOURSEVEN_HTTP_1"
    const unsigned int HTTP_1_SIZE "(sizeof FOURSEVEN_HTTP_1 - 1)"

# A connection to the slot that the session's stream has picked: from the pool, or a new one that
# may still be connecting. NULL with errno in its counters when there is none.
cdef Upstream *upstream_take "fourseven_upstream_take"(Worker *worker, Session *session) noexcept nogil
# It is the session's now, with the times of its backend.
cdef void upstream_begin "fourseven_upstream_begin"(
    Worker *worker, Session *session, Upstream *upstream
) noexcept nogil
# After a whole exchange: back to the pool if both sides agree.
cdef void upstream_release "fourseven_upstream_release"(Worker *worker, Upstream *upstream) noexcept nogil
cdef void upstream_drop "fourseven_upstream_drop"(Worker *worker, Upstream *upstream) noexcept nogil

# As session_read, session_send, session_write and session_flush.
cdef int32_t upstream_read "fourseven_upstream_read"(Worker *worker, Upstream *upstream) noexcept nogil
# The head at the beginning of what came; bytes, 0: not whole yet, below 0: it is none.
cdef int32_t server_head "fourseven_server_head"(
    Upstream *upstream, uint16_t method_id, Response *response
) noexcept nogil
cdef int32_t upstream_send "fourseven_upstream_send"(
    Worker *worker, Upstream *upstream, const char *at, uint32_t size
) noexcept nogil
cdef int32_t upstream_write "fourseven_upstream_write"(
    Worker *worker, Upstream *upstream, const char *at, uint32_t size
) noexcept nogil
cdef int32_t upstream_flush "fourseven_upstream_flush"(Worker *worker, Upstream *upstream) noexcept nogil
# Half close: nothing more will be sent.
cdef void upstream_finish "fourseven_upstream_finish"(Upstream *upstream) noexcept nogil
# The idle connections of all slots, for the end of the worker.
cdef void upstream_drop_idle(Worker *worker) noexcept nogil

cdef int32_t read_secure(Worker *worker, Upstream *upstream) noexcept nogil
cdef int32_t send_secure(
    Worker *worker, Upstream *upstream, const char *at, uint32_t size
) noexcept nogil
cdef uint32_t slot_generation(Worker *worker, uint32_t slot) noexcept nogil
cdef Upstream *take_idle(Worker *worker, uint32_t slot, uint64_t identity) noexcept nogil
cdef void leave_pool(Worker *worker, Upstream *upstream) noexcept nogil
cdef Upstream *take_kept(Worker *worker, Session *session, uint64_t identity) noexcept nogil
cdef int32_t introduced(Upstream *upstream) noexcept nogil
cdef void upstream_ready(Worker *worker, Source *source, uint32_t events) noexcept nogil
cdef void upstream_timer(Worker *worker, Timer *timer) noexcept nogil
cdef void upstream_bury(Worker *worker, Dead *dead) noexcept nogil
cdef bint backend_idles(Worker *worker, const Upstream *upstream) noexcept nogil
