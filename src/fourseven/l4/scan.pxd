from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef struct Form:  # where the fields stand; packed by sweep.py in this order
    uint64_t places  # a power of two
    uint64_t seed
    uint32_t key_size
    uint32_t row_size
    uint32_t address  # bytes of one
    uint32_t receiver  # in key and row: who is asked, and the ports
    uint32_t sender_port
    uint32_t receiver_port
    uint32_t source  # what the ends become
    uint32_t target
    uint32_t source_port
    uint32_t target_port
    uint32_t server
    uint32_t listener
    uint32_t checked
    uint32_t state
    uint32_t packets
    uint32_t tally
    uint32_t idle  # in a row of births

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
    uint64_t older_ms  # at least
    uint64_t idle_ms
    uint64_t bytes_least  # both ways together

cdef struct Told:  # a flow, as every plane tells of it; packed by records.py in this order
    uint8_t[16] client  # IPv4 as ::ffff:0:0/96
    uint8_t[16] vip
    uint8_t[16] server
    uint8_t[16] source  # whom the server sees
    uint16_t client_port
    uint16_t vip_port
    uint16_t server_port
    uint16_t source_port
    uint64_t packets_in
    uint64_t bytes_in
    uint64_t packets_out
    uint64_t bytes_out
    int64_t age_ms  # -1: not known
    int64_t idle_ms
    uint8_t protocol
    uint8_t stage
    uint8_t masqueraded  # the source is no client
    uint8_t[5] spare

cdef enum:  # as program/tables.py and program/slots.py have them; a test compares
    TO_CLIENT = 1
    IS_UDP = 8
    USED = 16
    BUSY = 32
    CLIENT_DONE = 0x100
    SERVER_DONE = 0x200
    RESET = 0x400
    CLOSING_S = 60
    CLOSED_S = 10
    WINDOW = 7
    STREET = 128
    STREET_BITS = 7
    HOUSE = 2
    KEY_MAX = 40
    BIRTH_SIZE = 8

cdef enum:  # homes of a row: that of one end of its key, or of both
    OF_SOURCE = 0
    OF_DESTINATION = 1
    OF_BOTH = 2

cdef enum:  # stages; the last two are known to conntrack alone
    ESTABLISHED = 1
    CLOSING = 2
    CLOSED = 4
    NEW = 8
    OPENING = 16

cdef enum:  # as program/slots.py has it
    SPREAD = 0x9E3779B97F4A7C15
    VERSIONS = 0xFFFF0000

cdef struct Rows:  # a table as its memory, and what is known of it
    const Form *form
    uint8_t *rows
    const uint8_t *births
    uint64_t *near
    uint64_t mask
    uint32_t bits

cdef uint32_t at16(const uint8_t *row, uint32_t at) noexcept nogil
cdef uint32_t at32(const uint8_t *row, uint32_t at) noexcept nogil
cdef uint64_t at64(const uint8_t *row, uint32_t at) noexcept nogil
cdef uint32_t stage(uint32_t state) noexcept nogil
cdef uint32_t limit(const Rows *of, uint64_t place, uint32_t state) noexcept nogil
cdef bint same(const uint8_t *one, const uint8_t *other, uint32_t size) noexcept nogil
cdef bint meets(
    const Form *form, const Wanted *wanted, const uint8_t *row, uint32_t state
) noexcept nogil
cdef uint32_t *state_of(const Rows *of, uint64_t place) noexcept nogil
cdef void key_of(const Rows *of, const uint8_t *row, uint32_t state, uint8_t *key) noexcept nogil
cdef void key_turned(const Rows *of, const uint8_t *row, uint32_t state, uint8_t *key) noexcept nogil
cdef uint64_t hash_key(const Rows *of, const uint8_t *key) noexcept nogil
cdef uint64_t home_of_end(const Rows *of, const uint8_t *key, uint32_t end) noexcept nogil
cdef uint64_t home_of(const Rows *of, const uint8_t *key, int which) noexcept nogil
cdef int64_t find(const Rows *of, const uint8_t *key) noexcept nogil
cdef bint drop(const Rows *of, uint64_t place, uint32_t state) noexcept nogil
cdef int open_rows(
    Rows *of, const uint8_t[::1] form, uint8_t[::1] rows, const uint8_t[::1] births, uint8_t[::1] near
) except -1
cdef void add(
    uint32_t state, uint32_t[::1] counts, uint32_t number, uint32_t other
) noexcept nogil
cdef uint64_t end_of(const Rows *of, uint64_t first, uint64_t count) noexcept nogil

cpdef uint32_t walk(
    const uint8_t[::1] form, uint8_t[::1] rows, const uint8_t[::1] births, uint8_t[::1] near, uint64_t first,
    uint64_t count, uint32_t now, uint32_t second, uint32_t[::1] live, uint32_t[::1] ended,
    uint32_t listeners
) except? 0xFFFFFFFF
cpdef uint32_t cut(
    const uint8_t[::1] form, uint8_t[::1] rows, const uint8_t[::1] births, uint8_t[::1] near, uint32_t server,
    uint32_t[::1] ended, uint32_t listeners
) except? 0xFFFFFFFF
cpdef uint32_t mark(
    const uint8_t[::1] form, uint8_t[::1] rows, const uint8_t[::1] births, uint8_t[::1] near, uint8_t[::1] servers
) except? 0xFFFFFFFF
cdef void put_address(uint8_t *to, const uint8_t *address, uint32_t size) noexcept nogil
cdef uint16_t port_at(const uint8_t *row, uint32_t at) noexcept nogil
cdef int64_t since_ms(uint32_t now, uint32_t tick, uint32_t second) noexcept nogil
cdef void describe(
    const Rows *of, uint64_t place, uint32_t state, uint32_t now, uint32_t second, Told *flow
) noexcept nogil
cdef void add_other(const Rows *of, const uint8_t *row, uint32_t state, Told *flow) noexcept nogil
cdef bint old_enough(const Wanted *wanted, const Told *flow) noexcept nogil
cpdef uint32_t tell(
    const uint8_t[::1] wanted, const uint8_t[::1] form, uint8_t[::1] rows,
    const uint8_t[::1] births, uint8_t[::1] near, uint64_t first, uint64_t count, uint32_t now,
    uint32_t second, uint8_t[::1] told
) except? 0xFFFFFFFF
