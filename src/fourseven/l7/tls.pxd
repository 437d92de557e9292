from libc.stdint cimport int32_t, uint32_t

from fourseven.l7.records cimport Session
from fourseven.native.openssl cimport BIO
from fourseven.protocols.message cimport Request
from fourseven.worker.worker cimport Worker

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *a, const char *b, size_t size)

cpdef enum HandshakeResult:
    HANDSHAKE_DONE = 1
    HANDSHAKE_LATER = 0
    HANDSHAKE_FAILED = -1
    HANDSHAKE_PLAIN = -2    # the client speaks HTTP without TLS

# Called once, by control, before the workers start.
cdef int tls_prepare() except -1
# A session begins with a handshake; False where OpenSSL has no memory.
cdef bint tls_open "fourseven_tls_open"(Session *session) noexcept nogil
# As a step of a session: goes on with the handshake; true when another step may follow.
cdef bint tls_step "fourseven_tls_step"(Worker *worker, Session *session) noexcept nogil
# As recv and send: bytes, 0 at an orderly end (read) or when the socket is full (send), else READ_*.
cdef int32_t tls_read "fourseven_tls_read"(Session *session, char *to, size_t room) noexcept nogil
cdef int32_t tls_send "fourseven_tls_send"(Session *session, const char *at, uint32_t size) noexcept nogil
# Says that nothing more will come (close_notify): without it the end is an abort.
cdef void tls_finish "fourseven_tls_finish"(Session *session) noexcept nogil
cdef void tls_drop "fourseven_tls_drop"(Session *session) noexcept nogil
# Is this request for a name that the connection's certificate stands for?
cdef bint tls_covers "fourseven_tls_covers"(const Session *session, const Request *request) noexcept nogil

cdef int bio_read "fourseven_bio_read"(BIO *bio, char *to, int size) noexcept nogil
cdef int bio_write "fourseven_bio_write"(BIO *bio, const char *at, int size) noexcept nogil
cdef long bio_control "fourseven_bio_control"(BIO *bio, int what, long number, void *at) noexcept nogil
cdef int32_t handshake(Session *session) noexcept nogil
cdef void plain_answer(Session *session) noexcept nogil
