from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l7.records cimport Http2, Session
from fourseven.worker.worker cimport Timer, Worker

cpdef enum:
    CALLS_MAX = 100         # streams on one connection; RFC 9113 6.5.2 advises servers to allow as many
    TRUNK_REQUESTS_MAX = 500000000  # half of the ids that a connection has (RFC 9113 5.1.1)
    # Each stream's own window is the bound, so that slow clients never stop the others' answers.
    TRUNK_WINDOW = 6553500  # CALLS_MAX * http2.STREAM_WINDOW
    TRUNK_TABLE = 4096      # HPACK's dynamic table, each way: the protocol's default
    CONNECT_SHARE = 2       # of connect_timeout: by then each of its streams has given up by itself

cdef extern from *:
    """
    static const char FOURSEVEN_HTTP_2[] = "\\x02h2"; /* ALPN (RFC 7301 3.1): a size, a name */
    """
    const char *HTTP_2 "FOURSEVEN_HTTP_2"
    const unsigned int HTTP_2_SIZE "(sizeof FOURSEVEN_HTTP_2 - 1)"

# A connection to the slot that the session's stream has picked, with room for another stream: one
# that is there, or a new one that may still be connecting. NULL: none, and stream.ours says why.
cdef Http2 *trunk_take "fourseven_trunk_take"(
    Worker *worker, Session *session, uint64_t identity
) noexcept nogil
# Its streams or its limits have changed: may it take another, or has it nothing left to do?
cdef void trunk_changed "fourseven_trunk_changed"(Http2 *http2) noexcept nogil
# The server has told its limits: the streams that wait may begin, as many as it allows.
cdef void trunk_greeted "fourseven_trunk_greeted"(Http2 *http2) noexcept nogil
# It takes no new stream; those that it has may end.
cdef void trunk_retire "fourseven_trunk_retire"(Http2 *http2) noexcept nogil
# As a step of a session: the handshake of TLS.
cdef bint trunk_handshake "fourseven_trunk_handshake"(Worker *worker, Session *session) noexcept nogil
# Of http2_drop: nobody finds it any more.
cdef void trunk_leave "fourseven_trunk_leave"(Http2 *http2) noexcept nogil
# How many streams its server allows.
cdef uint32_t trunk_most "fourseven_trunk_most"(const Http2 *http2) noexcept nogil

cdef Http2 *find(Worker *worker, uint32_t slot, uint64_t identity) noexcept nogil
cdef Http2 *trunk_new(Worker *worker, Session *asker, uint64_t identity) noexcept nogil
cdef bint secure(Worker *worker, Session *session, Session *asker, uint64_t identity) noexcept nogil
cdef void trunk_timer "fourseven_trunk_timer"(Worker *worker, Timer *timer) noexcept nogil
