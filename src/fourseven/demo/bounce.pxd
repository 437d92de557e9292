from libc.stdint cimport int64_t, uint64_t

cdef enum:
    ROOM = 4000000  # times kept: 32 MB, more than any path gives in ten seconds

cdef int64_t bounce "fourseven_demo_bounce"(int fd, uint64_t end_ns, uint64_t *taken_ns) noexcept nogil
cdef int send_back "fourseven_demo_send_back"(int fd) noexcept nogil
