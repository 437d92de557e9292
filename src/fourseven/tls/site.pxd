from libc.stdint cimport int32_t, int64_t, uint32_t

from fourseven.native.arena cimport Arena
from fourseven.native.openssl cimport SSL, SSL_CTX, X509, X509_STORE
from fourseven.protocols.message cimport Span
from fourseven.snapshot.layout cimport Listener
from fourseven.tls.contexts cimport Contexts

cpdef enum:
    NAME_MAX = 255              # bytes of a host name that we look up; DNS has none longer
    RECORD_MAX = 16384          # bytes of data in a TLS record (RFC 8446 5.1)
    TICKET_LIFE_S = 14400       # four hours: a returning visitor; rotation is as long, see tickets
    NO_CONTEXT = -1

# One name of a certificate: "a.example", or ".example" for *.example.
cdef struct TlsName:
    Span text
    int32_t context             # index; NO_CONTEXT in an empty place

# The OCSP response of a certificate, and until when it may be shown.
cdef struct TlsStaple:
    X509 *certificate           # of the context, which lives as long as this
    Span response
    int64_t until_s             # since 1970

# Those of one context: the argument of its callback.
cdef struct TlsStaples:
    TlsStaple *at
    uint32_t count

# What a listener shows: an SSL_CTX for each set of certificates, the first one by default.
cdef struct TlsSite:
    SSL_CTX **contexts
    uint32_t context_count
    TlsName *names              # open addressing; a power of two places
    uint32_t name_mask
    Span protocols              # of what is relayed, as in ALPN; empty: none is chosen

# From plan.TlsPlan, with the contexts that are kept. ValueError says what OpenSSL does not take.
cdef TlsSite *site_build(Arena *arena, plan, void *tickets, Contexts kept) except NULL
# The index of the context for this name (lower case, no final dot), or NO_CONTEXT.
cdef int32_t site_find(const TlsSite *site, const char *at, uint32_t size) noexcept nogil
cdef int32_t name_find(const TlsSite *site, const char *at, uint32_t size) noexcept nogil

cdef int fill_names(Arena *arena, TlsSite *site, list names) except -1
cdef SSL_CTX *kept_context(
    Arena *arena, plan, tuple members, void *tickets, SSL_CTX *first, Contexts kept
) except NULL
cdef SSL_CTX *new_context(
    Arena *arena, plan, tuple members, void *tickets, SSL_CTX *first
) except NULL
cdef int add_staple(Arena *arena, TlsStaples *staples, SSL_CTX *context, said) except -1
cdef int set_up(SSL_CTX *context, plan, void *tickets, SSL_CTX *first) except -1
cdef int set_clients(SSL_CTX *context, plan, SSL_CTX *first) except -1
cdef int add_authorities(SSL_CTX *context, bytes pem, bint named) except -1
cdef int add_revoked(X509_STORE *store, bytes pem) except -1
cdef int add_certificate(SSL_CTX *context, said) except -1
cdef int refused(str what) except -1
cdef void drop_context(void *context) noexcept nogil
cdef int choose_certificate "fourseven_choose_certificate"(SSL *ssl, int *alert, void *argument) noexcept nogil
cdef int show_staple "fourseven_show_staple"(SSL *ssl, void *argument) noexcept nogil
cdef int choose_inside(
    const TlsSite *site, const unsigned char **out, unsigned char *out_size,
    const unsigned char *offered, unsigned int size
) noexcept nogil
cdef int choose_protocol "fourseven_choose_protocol"(
    SSL *ssl, const unsigned char **out, unsigned char *out_size, const unsigned char *offered,
    unsigned int size, void *argument
) noexcept nogil
