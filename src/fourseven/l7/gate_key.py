"""What a request is counted by: one number made of an address, a header, a cookie and the like.

The number stands for the key in a gate's table, so two keys must not meet in it. Strangers choose
headers and cookies, and would choose them so that they do: the hash is keyed (snapshot.siphash)
with 128 bits that the kernel gave this table when it was new.

Laws: a part that the request lacks, or has empty, is the client's address instead; else whoever
leaves a header out would share one bucket with all who do so honestly. A value counts whole,
however long. An address counts by its family's prefix. The number 0 is nobody's: tables use it for
"empty".
"""

import cython
from cython.cimports.fourseven.balancing.key import hash_address, is_v4
from cython.cimports.fourseven.matching.table import FIELD_CLIENT, field_value
from cython.cimports.fourseven.native.atomics import load_relaxed, swap_if
from cython.cimports.fourseven.native.linux import getrandom
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.hashing import hash_bytes
from cython.cimports.fourseven.snapshot.siphash import siphash13
from cython.cimports.libc.stdint import uint8_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy


def seed_draw(seed):
    words = cython.declare(uint64_t[2])
    if load_relaxed(cython.address(seed.first)) and load_relaxed(cython.address(seed.second)):
        return
    if getrandom(words, 16, 0) != 16:
        return  # before the kernel has any: the next request asks again
    swap_if(cython.address(seed.first), 0, words[0] | 1)
    swap_if(cython.address(seed.second), 0, words[1] | 1)


def gate_key(seed, gate, request, scratch):
    at: uint32_t
    found: uint64_t = 0
    for at in range(gate.key_count):
        found = part(seed, found + at, cython.address(gate.keys[at]), request, scratch)
    return found if found else 1


def part(seed, before, key, request, scratch):
    value: Span
    masked = cython.declare(uint8_t[17])
    bits: uint32_t = key.prefix_v6
    left: uint32_t
    i: uint32_t
    first: uint64_t = load_relaxed(cython.address(seed.first))
    second: uint64_t = load_relaxed(cython.address(seed.second)) ^ before
    if key.field != FIELD_CLIENT:
        value = field_value(key.field, request, cython.address(key.name), scratch)
        if value.at is not cython.NULL and value.size > 0:
            return siphash13(first, second, value.at, value.size)
    if is_v4(request.client.bytes):
        bits = 96 + cython.cast(uint32_t, key.prefix_v4)
    memcpy(cython.address(masked[0]), cython.address(request.client.bytes[0]), 16)
    for i in range(bits >> 3, 16):  # from the first byte that does not count whole
        left = bits - 8 * i if bits > 8 * i else 0
        masked[i] &= cython.cast(uint8_t, 0xFF00 >> left)
    masked[16] = 1  # an address is never equal to a header of the same bytes
    return siphash13(first, second ^ 1, cython.cast(cython.p_const_char, masked), 17)


def plain_key(key, request, scratch):
    value: Span
    if key.field != FIELD_CLIENT:
        value = field_value(key.field, request, cython.address(key.name), scratch)
        if value.at is not cython.NULL and value.size > 0:
            return hash_bytes(value.at, value.size)
    return hash_address(request.client.bytes, key.prefix_v4, key.prefix_v6)
