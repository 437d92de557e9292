from libc.stdint cimport int32_t, uint32_t

from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Request
from fourseven.worker.worker cimport Worker

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *a, const char *b, size_t size)

# A session begins with a handshake; False where OpenSSL has no memory.
cdef bint tls_open "fourseven_tls_open"(Worker *worker, Session *session) noexcept nogil
# As a step of a session: goes on with the handshake; true when another step may follow.
cdef bint tls_step "fourseven_tls_step"(Worker *worker, Session *session) noexcept nogil
# A session is closed in the state of its handshake: counted as one that failed.
cdef void tls_left "fourseven_tls_left"(Worker *worker, Session *session) noexcept nogil
# What ALPN has chosen.
cdef bint speaks_http2 "fourseven_tls_speaks_http2"(const Session *session) noexcept nogil
# As session_read, session_send and session_flush.
cdef int32_t tls_read "fourseven_tls_read"(Session *session, char *to, uint32_t room) noexcept nogil
cdef int32_t tls_send "fourseven_tls_send"(Session *session, const char *at, uint32_t size) noexcept nogil
cdef int32_t tls_flush "fourseven_tls_flush"(Session *session) noexcept nogil
# Is this request for a name that the connection's certificate stands for?
cdef bint tls_covers "fourseven_tls_covers"(const Session *session, const Request *request) noexcept nogil

cdef void plain_answer(Session *session) noexcept nogil
