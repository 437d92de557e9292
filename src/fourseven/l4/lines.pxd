from fourseven.l4.scan cimport Told
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    CELLS = 9
    CELL_MAX = 64  # the longest is an address of IPv6 with its port: 47
    ROW_MAX = 768  # of JSON: 260 of names, 4 ends, 6 numbers of 20 digits, a plane
    PLANE_MAX = 32
    TCP = 6
    UDP = 17

cdef uint32_t word(const char *text, uint8_t *out) noexcept nogil
cdef uint32_t number(uint64_t value, uint8_t *out) noexcept nogil
cdef uint32_t signed_number(int64_t value, uint8_t *out) noexcept nogil
cdef uint32_t hexadecimal(uint32_t value, uint8_t *out) noexcept nogil
cdef uint32_t v6(const uint8_t *address, uint8_t *out) noexcept nogil
cdef bint is_v4(const uint8_t *address) noexcept nogil
cdef uint32_t end(const uint8_t *address, uint16_t port, uint8_t *out) noexcept nogil
cdef uint32_t times(uint64_t amount, uint64_t scale, const char *unit, uint8_t *out) noexcept nogil
cdef uint32_t duration(int64_t milliseconds, uint8_t *out) noexcept nogil
cdef uint32_t size(uint64_t amount, uint8_t *out) noexcept nogil
cdef uint32_t protocol(const Told *flow, uint8_t *out) noexcept nogil
cdef uint32_t state(const Told *flow, uint8_t *out) noexcept nogil
cdef uint32_t cell(const Told *flow, uint32_t which, uint8_t *out) noexcept nogil
cdef const Told *told(const uint8_t[::1] records, uint64_t at) noexcept nogil
cdef uint32_t quoted_end(
    const char *name, const uint8_t *address, uint16_t port, uint8_t *out
) noexcept nogil
cdef uint32_t counted(const char *name, uint64_t value, uint8_t *out) noexcept nogil
cdef uint32_t row_json(const Told *flow, const uint8_t *plane, uint32_t size, uint8_t *out) noexcept nogil

cpdef uint64_t measure(const uint8_t[::1] records, uint32_t[::1] widths) except? 0xFFFFFFFFFFFFFFFF
cpdef uint64_t text(
    const uint8_t[::1] records, const uint32_t[::1] widths, uint8_t[::1] into
) except? 0xFFFFFFFFFFFFFFFF
cpdef uint64_t json(
    const uint8_t[::1] records, const uint8_t[::1] plane, uint8_t[::1] into
) except? 0xFFFFFFFFFFFFFFFF
