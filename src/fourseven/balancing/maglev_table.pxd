cimport cython
from libc.stdint cimport uint32_t, uint64_t


@cython.locals(size=uint32_t, filled=uint32_t, at=uint32_t, place=uint32_t, skip=uint32_t, heaviest=uint64_t)
cpdef int fill(
    uint32_t[::1] table, uint32_t[::1] places, uint32_t[::1] skips, uint64_t[::1] credits,
    uint64_t[::1] weights
) except -1
