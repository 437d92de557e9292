# Into which class of a histogram a duration falls: two classes for each doubling, so a quantile read
# from it is wrong by a quarter at most, in 40 words.
#
# Class 0 is below 2^14 ns (16 us); class i has the upper bound 1.5 * 2^(14 + k) for i = 2k + 1 and
# 2^(15 + k) for i = 2k + 2; the last one has none. `observe.latency.BOUNDS_S` says the same.
from libc.stdint cimport uint32_t, uint64_t

from fourseven.worker.worker cimport LATENCIES

cdef extern from *:
    int leading_zeros "__builtin_clzll"(uint64_t word) noexcept nogil

cdef inline uint32_t latency_class(uint64_t ns) noexcept nogil:
    cdef uint32_t doublings, found
    if ns < 16384:
        return 0
    doublings = 63 - <uint32_t> leading_zeros(ns) - 14
    found = 1 + 2 * doublings + <uint32_t> (ns >> (doublings + 13) & 1)
    return found if found < <uint32_t> LATENCIES else <uint32_t> LATENCIES - 1
