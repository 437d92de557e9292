from libc.stdint cimport int32_t, uint32_t

from fourseven.protocols.message cimport Span

cpdef enum:
    PATH_MALFORMED = -1     # '%' without two hexadecimal digits
    PATH_ENCODED_SLASH = -2  # %2F, %5C or a raw backslash
    PATH_NUL = -3           # %00
    PATH_DOTS = -4          # a dot segment with parameters
    PATH_LONG = -5          # the canonical form does not fit
    AUTHORITY_HOST = -6     # not a host name or an address
    AUTHORITY_PORT = -7

cdef enum:
    HOST_MAX = 255          # DNS allows 253 and a final dot; beyond: refused
    LITERAL_MAX = 45        # the longest text of an IPv6 address
    PORT_NONE = -1
    SEGMENT_NAME = 0
    SEGMENT_EMPTY = 1
    SEGMENT_HERE = 2        # "."
    SEGMENT_UP = 3          # ".."
    SEGMENT_REFUSED = 4     # "..;x"

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char *text, void *address)
    const char *inet_ntop(int family, const void *address, char *text, unsigned int size)

# Writes the canonical form of path[:size] (it begins with '/') to out[:capacity]; its size, or one
# of the codes above. `relax` are bits of snapshot.layout.Relax.
cdef int32_t canonical_path "fourseven_canonical_path"(
    const char *path, uint32_t size, char *out, uint32_t capacity, uint32_t relax
) noexcept nogil

# Reads host [":" port] at text[:size]. `host` becomes the canonical host: a part of the text where
# that is canonical already, else written to out[:capacity]. `port` becomes the number, or PORT_NONE.
# 0, or one of the codes above.
cdef int32_t read_authority "fourseven_read_authority"(
    const char *text, uint32_t size, char *out, uint32_t capacity, Span *host, int32_t *port
) noexcept nogil

# The same for a host name alone, without port and brackets.
cdef int32_t canonical_host "fourseven_canonical_host"(
    const char *text, uint32_t size, char *out, uint32_t capacity, Span *host
) noexcept nogil

cdef int32_t put_escape(const char *at, uint32_t left, char *out, uint32_t relax) noexcept nogil
cdef uint32_t put_encoded(unsigned char byte, char *out) noexcept nogil
cdef char hex_digit(unsigned int value) noexcept nogil
cdef uint32_t segment_kind(const char *at, uint32_t size) noexcept nogil
cdef uint32_t parent(const char *out, uint32_t start) noexcept nogil
cdef int32_t read_port(const char *at, uint32_t size) noexcept nogil
cdef int32_t read_literal(
    const char *text, uint32_t size, char *out, uint32_t capacity, Span *host
) noexcept nogil
