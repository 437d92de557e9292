from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Address
from fourseven.worker.worker cimport Arrived, Dead, Source, Timer, Worker, WorkerListener

# What a read found instead of bytes.
cpdef enum:
    READ_END = 0
    READ_LATER = -1
    READ_BROKEN = -2
    READ_NO_MEMORY = -3

# A new connection, already counted at its listener: takes the descriptor over, and serves what has
# come with it at once. `arrived`: what was read of it before, now the session's; or NULL.
cdef void session_open "fourseven_session_open"(
    Worker *worker, WorkerListener *listener, int32_t fd, const Address *peer, Arrived *arrived
) noexcept nogil
cdef void session_close "fourseven_session_close"(Worker *worker, Session *session) noexcept nogil
# Goes on as far as it goes without waiting.
cdef void session_run "fourseven_session_run"(Worker *worker, Session *session) noexcept nogil
# Between two requests, and with nothing begun?
cdef bint session_idle(const Session *session) noexcept nogil

# Reads behind what the buffer holds: the number of bytes, or READ_*.
cdef int32_t session_read "fourseven_session_read"(Worker *worker, Session *session) noexcept nogil
# The same into any place, without a buffer.
cdef int32_t session_receive "fourseven_session_receive"(
    Worker *worker, Session *session, char *to, size_t room
) noexcept nogil
# Sends, and keeps what the socket does not take; 0, or -1 when the client is gone.
cdef int32_t session_write "fourseven_session_write"(
    Worker *worker, Session *session, const char *at, uint32_t size
) noexcept nogil
# Bytes that the socket took of these, 0 when it is full, -1 when the client is gone.
cdef int32_t session_send "fourseven_session_send"(
    Worker *worker, Session *session, const char *at, uint32_t size
) noexcept nogil
# 1: nothing is left to send, 0: the socket is full, -1: the client is gone.
cdef int32_t session_flush "fourseven_session_flush"(Worker *worker, Session *session) noexcept nogil
# Half close: nothing more will be sent (with TLS: close_notify too).
cdef void session_finish "fourseven_session_finish"(Session *session) noexcept nogil
# The stream is over: the next request, or the end of the connection.
cdef void session_next "fourseven_session_next"(Worker *worker, Session *session) noexcept nogil

cdef Session *session_new(Worker *worker) noexcept nogil
cdef void session_ready(Worker *worker, Source *source, uint32_t events) noexcept nogil
cdef void session_bury(Worker *worker, Dead *dead) noexcept nogil
cdef bint step(Worker *worker, Session *session) noexcept nogil
cdef bint head_step(Worker *worker, Session *session) noexcept nogil
cdef bint begins_http2(Worker *worker, Session *session) noexcept nogil
cdef bint prefix_step(Worker *worker, Session *session) noexcept nogil
cdef void release_empty "fourseven_session_release_empty"(Worker *worker, Session *session) noexcept nogil
cdef bint linger_step(Worker *worker, Session *session) noexcept nogil
cdef bint read_more(Worker *worker, Session *session) noexcept nogil
cdef bint make_room(Worker *worker, Session *session) noexcept nogil
cdef void end(Worker *worker, Session *session) noexcept nogil
