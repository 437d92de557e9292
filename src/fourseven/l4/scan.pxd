from libc.stdint cimport uint8_t, uint32_t

cdef struct Form:  # where the fields stand; packed by sweep.py in this order
    uint32_t key_size
    uint32_t row_size
    uint32_t address  # bytes of one
    uint32_t vip  # in the key: the destination, and its port
    uint32_t client_port
    uint32_t vip_port
    uint32_t protocol
    uint32_t target  # in the row: the destination
    uint32_t target_port
    uint32_t server
    uint32_t listener
    uint32_t seen
    uint32_t state
    uint32_t idle

cdef struct Wanted:  # packed by sweep.py in this order; what is 0 is not asked
    uint8_t[16] client
    uint8_t[16] mask
    uint8_t[16] vip
    uint8_t[16] server
    uint8_t[2] vip_port
    uint8_t[2] server_port
    uint8_t by_client
    uint8_t by_vip
    uint8_t by_server
    uint8_t protocol
    uint32_t states  # a bit for each

cdef enum:  # as program/tables.py has them; a test compares
    TO_CLIENT = 1
    CLIENT_DONE = 0x100
    SERVER_DONE = 0x200
    RESET = 0x400
    CLOSING_S = 60
    CLOSED_S = 10

cdef enum:  # stages
    ESTABLISHED = 1
    CLOSING = 2
    CLOSED = 4

cdef uint32_t at16(const uint8_t *row, uint32_t at) noexcept nogil
cdef uint32_t at32(const uint8_t *row, uint32_t at) noexcept nogil
cdef uint32_t stage(uint32_t state) noexcept nogil
cdef uint32_t limit(const Form *form, const uint8_t *row) noexcept nogil
cdef bint same(const uint8_t *one, const uint8_t *other, uint32_t size) noexcept nogil
cdef bint meets(
    const Form *form, const Wanted *wanted, const uint8_t *key, const uint8_t *row
) noexcept nogil

cdef struct Leaving:  # where the keys of rows that leave are written
    uint8_t *done  # nobody need count them
    uint8_t *late  # their flow ends with them
    uint32_t *whose  # of each late one: its server, and its listener in the upper half
    uint32_t done_count
    uint32_t late_count

cdef void part(
    const Form *form, const uint8_t *key, const uint8_t *row, Leaving *leaving
) noexcept nogil
cdef const Form *form_of(const uint8_t[::1] form) except NULL
cdef int fits(size_t has, uint32_t size, uint32_t count) except -1
cdef int leaving_of(
    Leaving *leaving, const Form *form, uint32_t count, uint8_t[::1] done, uint8_t[::1] late,
    uint32_t[::1] whose
) except -1

cpdef tuple walk(
    const uint8_t[::1] form, const uint8_t[::1] keys, const uint8_t[::1] rows, uint32_t count,
    uint32_t now, uint32_t second, uint8_t[::1] done, uint8_t[::1] late, uint32_t[::1] whose,
    uint32_t[::1] servers, uint32_t[::1] listeners
)
cpdef tuple of_server(
    const uint8_t[::1] form, const uint8_t[::1] keys, const uint8_t[::1] rows, uint32_t count,
    uint32_t server, uint8_t[::1] done, uint8_t[::1] late, uint32_t[::1] whose
)
cpdef uint32_t choose(
    const uint8_t[::1] form, const uint8_t[::1] wanted, const uint8_t[::1] keys,
    const uint8_t[::1] rows, uint32_t count, uint32_t[::1] found
) except? 0xFFFFFFFF
