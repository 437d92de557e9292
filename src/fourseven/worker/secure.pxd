from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.native.openssl cimport BIO, SSL, SSL_CTX
from fourseven.protocols.message cimport ClientCertificate
from fourseven.tls.outward cimport Keeping, TlsOutward
from fourseven.worker.worker cimport Buffer, Worker

# What secure_read found instead of bytes: the numbers of l7.session's READ_*.
cpdef enum:
    SECURE_END = 0          # close_notify: an orderly end
    SECURE_LATER = -1
    SECURE_BROKEN = -2

cpdef enum HandshakeResult:
    HANDSHAKE_DONE = 1
    HANDSHAKE_LATER = 0
    HANDSHAKE_FAILED = -1

# Why TLS failed with the other side; counted by these names, and told in a 502.
cpdef enum TlsFault:
    TLS_NONE = 0
    TLS_RESET = 1           # it closed or reset the connection in the middle
    TLS_TIME = 2            # the handshake took too long
    TLS_PLAIN = 3           # it does not speak TLS
    TLS_VERSION = 4         # no version in common
    TLS_CIPHER = 5          # no cipher in common
    TLS_PROTOCOL = 6        # no application protocol (ALPN) in common
    TLS_EXPIRED = 7         # its certificate is out of date, or not valid yet
    TLS_NAME = 8            # its certificate stands for another name
    TLS_AUTHORITY = 9       # its certificate is of no authority that we know
    TLS_CERTIFICATE = 10    # its certificate is not good for another reason
    TLS_NO_CERTIFICATE = 11     # it showed none, and must
    TLS_REFUSED = 12        # it ended the connection with an alert
    TLS_OTHER = 13

cdef enum:
    RECORD_ROOM = 512       # more than any cipher adds to a record: head, nonce, padding, tag

# One connection's TLS.
cdef struct Secure:
    SSL *ssl
    Worker *worker
    Buffer *out             # records on their way; between two calls: what the socket did not take
    int32_t fd
    uint8_t ready           # keys are agreed
    uint8_t speaks          # ... nothing has failed, and close_notify was not sent
    uint8_t drained         # the last read of the socket left nothing there
    uint8_t over            # the last read found data, and behind it an end
    uint8_t gathering       # what OpenSSL writes goes to `out`
    uint8_t said            # the socket has taken something: it is connected
    uint8_t plain           # the other side speaks HTTP without TLS
    uint8_t fault           # TlsFault
    ClientCertificate *certificate  # of the client, where it has shown one
    Keeping keeping         # towards a server: its tickets

cdef extern from *:
    """
    static const char *const FOURSEVEN_TLS_FAULTS[] = {
        "",
        "the server broke off the TLS handshake",
        "the TLS handshake with the server took too long",
        "the server does not speak TLS",
        "there is no TLS version in common with the server",
        "there is no TLS cipher in common with the server",
        "there is no application protocol (ALPN) in common with the server",
        "the certificate of the server is out of date",
        "the certificate of the server stands for another name",
        "the certificate of the server is of no known authority",
        "the certificate of the server is not good",
        "the server showed no certificate",
        "the server refused the TLS connection",
        "TLS with the server failed",
    };
    """
    const char *const FOURSEVEN_TLS_FAULTS[14]

# Called once, by control, before the workers start.
cdef int secure_prepare() except -1
# With clients: `context` shows the certificates, `data` is the app data that its callbacks ask for.
cdef Secure *secure_accept "fourseven_secure_accept"(
    Worker *worker, int32_t fd, SSL_CTX *context, void *data
) noexcept nogil
# With the server of this slot; `protocols` (ALPN) where the file names none. NULL: no memory, or
# the slot is not the backend's.
cdef Secure *secure_connect "fourseven_secure_connect"(
    Worker *worker, int32_t fd, const TlsOutward *outward, uint32_t slot,
    const unsigned char *protocols, uint32_t protocols_size
) noexcept nogil
cdef int32_t secure_handshake "fourseven_secure_handshake"(Secure *secure) noexcept nogil
# Bytes, SECURE_END, SECURE_LATER or SECURE_BROKEN.
cdef int32_t secure_read "fourseven_secure_read"(Secure *secure, char *to, uint32_t room) noexcept nogil
# Bytes taken, 0 when the socket is full, -1 when the connection is broken.
cdef int32_t secure_send "fourseven_secure_send"(Secure *secure, const char *at, uint32_t size) noexcept nogil
# 1: the socket has taken all, 0: it is full, -1: broken.
cdef int32_t secure_flush "fourseven_secure_flush"(Secure *secure) noexcept nogil
# Says that nothing more will come (close_notify): without it the end is an abort. It may have to wait
# for room like everything else (secure_unsent).
cdef void secure_finish "fourseven_secure_finish"(Secure *secure) noexcept nogil
cdef void secure_drop "fourseven_secure_drop"(Secure *secure) noexcept nogil
# Neither the socket nor OpenSSL holds bytes that we could read now.
cdef bint secure_empty "fourseven_secure_empty"(const Secure *secure) noexcept nogil
# Has the other side said nothing that is data? Tickets and the like are taken in passing.
cdef bint secure_quiet "fourseven_secure_quiet"(Secure *secure) noexcept nogil
cdef bint secure_resumed "fourseven_secure_resumed"(const Secure *secure) noexcept nogil
# The words for people of a TlsFault.
cdef const char *fault_words "fourseven_tls_fault_words"(uint8_t fault) noexcept nogil
# Frees the tickets of all servers, for the end of the worker.
cdef void resumptions_drop(Worker *worker) noexcept nogil

cdef inline bint secure_unsent(const Secure *secure) noexcept nogil:
    return secure.out is not NULL

cdef inline uint32_t secure_held(const Secure *secure) noexcept nogil:
    return 0 if secure.out is NULL else secure.out.end - secure.out.start

# ---- of secure.py alone ----
cdef Secure *secure_new(Worker *worker, int32_t fd, SSL_CTX *context) noexcept nogil
cdef bint name_server(SSL *ssl, const TlsOutward *outward, uint32_t at) noexcept nogil
cdef int32_t failed(Secure *secure, int error) noexcept nogil
cdef uint8_t fault_of(Secure *secure, int error) noexcept nogil
cdef uint8_t certificate_fault(long verdict) noexcept nogil
cdef int32_t gather(Secure *secure, const char *at, uint32_t size) noexcept nogil
cdef int bio_read "fourseven_bio_read"(BIO *bio, char *to, int size) noexcept nogil
cdef int bio_write "fourseven_bio_write"(BIO *bio, const char *at, int size) noexcept nogil
cdef long bio_control "fourseven_bio_control"(BIO *bio, int what, long number, void *at) noexcept nogil
