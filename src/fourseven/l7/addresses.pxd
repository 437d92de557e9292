from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fourseven.protocols.message cimport Address, Span

cpdef enum:
    ADDRESS_TEXT_MAX = 40   # eight groups of four digits and seven colons are 39

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET, AF_INET6
    int inet_pton(int family, const char *text, void *out)

cdef bint is_v4(const uint8_t *bytes) noexcept nogil

# Writes the address without its port into out[:ADDRESS_TEXT_MAX] and returns its size.
cdef uint32_t address_text "fourseven_address_text"(char *out, const Address *address) noexcept nogil
cdef uint32_t text_v4(char *out, const uint8_t *bytes) noexcept nogil
cdef uint32_t text_v6(char *out, const uint8_t *bytes) noexcept nogil
cdef uint32_t text_group(char *out, uint32_t group) noexcept nogil

# Reads 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:80; the port is 0
# where none stands. False leaves `address` as it was.
cdef bint address_read "fourseven_address_read"(const Span *text, Address *address) noexcept nogil
cdef bint read_host(const char *at, uint32_t size, int family, uint8_t *bytes) noexcept nogil
cdef bint read_port(const char *at, uint32_t size, uint16_t *port) noexcept nogil
