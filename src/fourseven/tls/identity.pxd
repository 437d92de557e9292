from libc.stdint cimport uint32_t

from fourseven.native.openssl cimport SSL, X509, X509_NAME
from fourseven.protocols.message cimport ClientCertificate

cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *address, char *to, uint32_t size)

cdef enum:
    NAMES_MAX = 64          # alternative names of one certificate; real ones have one or two
    IDENTITY_MAX = 16384    # bytes of text in all: more is no certificate of a person or a machine
    ENDS = 6                # of CERTIFICATE_FACTS texts: where each begins, and the end

# Text that grows in a room of IDENTITY_MAX.
cdef struct Text:
    char *at
    uint32_t size
    bint full

# What the client's certificate says of it, or NULL where it has shown none; free() ends it.
cdef ClientCertificate *identity_of "fourseven_identity_of"(const SSL *ssl) noexcept nogil

# What any certificate says.
cdef ClientCertificate *identity_read "fourseven_identity_read"(X509 *certificate) noexcept nogil

cdef ClientCertificate *read_facts(X509 *certificate, Text *text) noexcept nogil
cdef void put(Text *text, const char *at, uint32_t size) noexcept nogil
cdef void put_name(Text *text, const X509_NAME *name) noexcept nogil
cdef void put_hex(Text *text, const unsigned char *at, uint32_t size) noexcept nogil
cdef uint32_t put_names(Text *text, X509 *certificate, uint32_t *starts) noexcept nogil
cdef uint32_t alternative(char *room, int kind, const void *value) noexcept nogil
