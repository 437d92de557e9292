# The number that Pick.hash carries for a client's address; request_key has the one for a request.
#
# Laws: an address counts by its family's prefix: 16 bytes with ::ffff: in front are IPv4. A prefix
# of 0 puts all of that family on one server, as it says.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fourseven.snapshot.hashing cimport hash_byte, hash_end, hash_start

cdef inline bint is_v4(const uint8_t *address) noexcept nogil:
    cdef uint32_t i
    for i in range(10):
        if address[i] != 0:
            return False
    return address[10] == 0xff and address[11] == 0xff

cdef inline uint64_t hash_address(const uint8_t *address, uint32_t prefix_v4, uint32_t prefix_v6) noexcept nogil:
    cdef uint32_t bits = prefix_v6
    cdef uint64_t h = hash_start()
    cdef uint32_t i, left
    if is_v4(address):
        bits = 96 + prefix_v4
    if bits > 128:
        bits = 128
    for i in range(16):
        left = bits - 8 * i if bits > 8 * i else 0
        if left >= 8:
            h = hash_byte(h, address[i])
        else:
            h = hash_byte(h, <uint8_t> (address[i] & (0xff00 >> left)))
    return hash_end(h)
