from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    ROW = 8  # bytes from one row of an array in the kernel to the next
    NUMBER = 4  # bytes of what stands in it

cpdef int gather(tuple table, const uint32_t[::1] numbers, uint32_t[::1] into) except -1
cpdef int spread(const uint8_t[::1] content, uint8_t[::1] rows, uint64_t first) except -1
