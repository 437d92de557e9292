# What every pick asks. Inline: these are the hottest leaves of balancing.
#
# `at` is an index into the backend's servers, in the order of the file; a pick turns it into a
# slot number only when it returns. `available` is the one rule of who takes new work.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fourseven.native.atomics cimport load_i64, load_relaxed_u32
from fourseven.snapshot.hashing cimport hash_number
from fourseven.snapshot.layout cimport TRIED_MAX, Backend, Pick, Slot

cdef enum:
    # Draws from a table before a pick counts exactly. With 9 of 10 servers down, one stream in
    # 850 gets that far; more draws would cost more than the exact count over a usual backend.
    DRAWS_MAX = 64

cdef inline Slot *slot_of(const Backend *backend, const Pick *pick, uint32_t at) noexcept nogil:
    return &pick.slots[backend.slots[at]]

cdef inline int64_t in_flight(const Backend *backend, const Pick *pick, uint32_t at) noexcept nogil:
    cdef int64_t load = load_i64(&slot_of(backend, pick, at).in_flight)
    return load if load > 0 else 0

cdef inline bint tried(const Pick *pick, uint32_t number) noexcept nogil:
    cdef uint32_t i
    for i in range(pick.tried_count if pick.tried_count < TRIED_MAX else <uint32_t> TRIED_MAX):
        if pick.tried[i] == number:
            return True
    return False

# Does this server take new work from this stream?
cdef inline bint available(const Backend *backend, const Pick *pick, uint32_t at) noexcept nogil:
    cdef Slot *slot = slot_of(backend, pick, at)
    cdef uint32_t most
    if backend.weights[at] == 0 or load_relaxed_u32(&slot.usable) == 0:
        return False
    most = load_relaxed_u32(&slot.max_in_flight)
    if most != 0 and in_flight(backend, pick, at) >= most:
        return False
    return pick.tried_count == 0 or not tried(pick, backend.slots[at])

# Is this server spared this time, because it starts slowly? The same number, the same answer: so by
# a hash a key moves to a server that starts once, and stays. Not asked by who looks for anybody at
# all: -1 must mean nobody.
cdef inline bint spared(const Backend *backend, const Pick *pick, uint32_t at, uint64_t number) noexcept nogil:
    cdef uint32_t share = load_relaxed_u32(&slot_of(backend, pick, at).share)
    return share != 0 and (hash_number(number ^ (<uint64_t> at << 32)) & 1023) < share

# A number below `size`, evenly, from the upper half of a 64-bit one: no division.
cdef inline uint32_t below(uint64_t number, uint32_t size) noexcept nogil:
    return <uint32_t> (((number >> 32) * <uint64_t> size) >> 32)

# Sum of the weights of those that take work; but for `but` (-1: no exception).
cdef inline uint64_t weight_available(const Backend *backend, const Pick *pick, int32_t but) noexcept nogil:
    cdef uint64_t total = 0
    cdef uint32_t at
    for at in range(backend.server_count):
        if <int32_t> at != but and available(backend, pick, at):
            total += backend.weights[at]
    return total

# The exact way: by weight among those that take work, or -1. O(servers); for the rare case that
# drawing from a table did not find one.
cdef inline int32_t draw_exact(
    const Backend *backend, const Pick *pick, uint64_t number, int32_t but
) noexcept nogil:
    cdef uint64_t total = weight_available(backend, pick, but)
    cdef uint64_t left
    cdef int32_t last = -1
    cdef uint32_t at
    if total == 0:
        return -1
    left = number % total
    for at in range(backend.server_count):
        if <int32_t> at == but or not available(backend, pick, at):
            continue
        last = <int32_t> at
        if left < backend.weights[at]:
            return last
        left -= backend.weights[at]
    return last  # one went away between the two passes

# By weight and at random from the table of a backend, or -1. `number` moves on with each draw.
cdef inline int32_t draw(
    const Backend *backend, const Pick *pick, uint64_t *number, int32_t but
) noexcept nogil:
    cdef uint32_t at, _draw
    if backend.table_size == 0:
        return -1
    for _draw in range(<uint32_t> DRAWS_MAX):
        at = backend.table[below(number[0], backend.table_size)]
        number[0] = hash_number(number[0])
        if <int32_t> at != but and available(backend, pick, at) and not spared(backend, pick, at, number[0]):
            return <int32_t> at
    return draw_exact(backend, pick, number[0], but)

# Slot number of a server's index; -1 stays -1.
cdef inline int32_t slot_number(const Backend *backend, int32_t at) noexcept nogil:
    return -1 if at < 0 else <int32_t> backend.slots[at]
