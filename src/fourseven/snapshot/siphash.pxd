# SipHash-1-3 (Aumasson and Bernstein 2012): a keyed hash, for tables whose keys strangers choose.
#
# With the plain hash of `hashing` anybody could make two keys meet, and so spend another's share of
# a limit. One round a word and three at the end is what CPython and Rust use for the same purpose.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef struct Sip:
    uint64_t a, b, c, d

cdef inline uint64_t sip_turn(uint64_t x, uint32_t bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))

cdef inline void sip_round(Sip *s) noexcept nogil:
    s.a += s.b
    s.c += s.d
    s.b = sip_turn(s.b, 13) ^ s.a
    s.d = sip_turn(s.d, 16) ^ s.c
    s.a = sip_turn(s.a, 32)
    s.c += s.b
    s.a += s.d
    s.b = sip_turn(s.b, 17) ^ s.c
    s.d = sip_turn(s.d, 21) ^ s.a
    s.c = sip_turn(s.c, 32)

cdef inline uint64_t siphash13(uint64_t first, uint64_t second, const char *at, uint32_t size) noexcept nogil:
    cdef Sip s
    cdef uint64_t word
    cdef uint64_t last = <uint64_t> size << 56
    cdef uint32_t done = 0
    cdef uint32_t i
    s.a = first ^ <uint64_t> 0x736f6d6570736575
    s.b = second ^ <uint64_t> 0x646f72616e646f6d
    s.c = first ^ <uint64_t> 0x6c7967656e657261
    s.d = second ^ <uint64_t> 0x7465646279746573
    while size - done >= 8:
        memcpy(&word, at + done, 8)
        s.d ^= word
        sip_round(&s)
        s.a ^= word
        done += 8
    for i in range(size - done):
        last |= <uint64_t> <uint8_t> at[done + i] << (8 * i)
    s.d ^= last
    sip_round(&s)
    s.a ^= last
    s.c ^= 0xff
    sip_round(&s)
    sip_round(&s)
    sip_round(&s)
    return s.a ^ s.b ^ s.c ^ s.d
