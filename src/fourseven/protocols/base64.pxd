from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.protocols.message cimport Span

# The number of bytes in to[:room], or -1: it is no Base64, or does not fit.
cdef int32_t base64_read "fourseven_base64_read"(
    const Span *text, bint url, char *to, uint32_t room
) noexcept nogil
cdef int32_t value_of(uint8_t byte, bint url) noexcept nogil
