# The one hash of the product: hash keys, route index, UDP flows. Inline, so that a leaf costs no call.
from libc.stdint cimport uint32_t, uint64_t

cdef inline uint64_t hash_start() noexcept nogil:
    return <uint64_t> 0xcbf29ce484222325

cdef inline uint64_t hash_byte(uint64_t h, unsigned char byte) noexcept nogil:
    return (h ^ byte) * <uint64_t> 0x100000001b3

# murmur3's finaliser: FNV alone leaves the low bits weak.
cdef inline uint64_t hash_end(uint64_t h) noexcept nogil:
    h = (h ^ (h >> 33)) * <uint64_t> 0xff51afd7ed558ccd
    h = (h ^ (h >> 33)) * <uint64_t> 0xc4ceb9fe1a85ec53
    return h ^ (h >> 33)

cdef inline uint64_t hash_bytes(const char *at, uint32_t size) noexcept nogil:
    cdef uint64_t h = hash_start()
    cdef uint32_t i
    for i in range(size):
        h = hash_byte(h, <unsigned char> at[i])
    return hash_end(h)

cdef inline uint64_t hash_number(uint64_t value) noexcept nogil:
    return hash_end(value ^ <uint64_t> 0x9e3779b97f4a7c15)
