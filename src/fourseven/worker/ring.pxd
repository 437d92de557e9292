from libc.stdint cimport uint32_t, uint64_t

cpdef enum:
    RING_SIZE = 4194304     # each worker: some 10,000 requests; at 60,000 a second the reader has 170 ms
    RING_SKIP = 0xFFFFFFFF  # instead of a record's size: the next one stands at the beginning

# One writer, one reader. Positions only grow; a position's place is its rest by the size.
cdef struct Ring:
    uint64_t written        # the writer's, read by the reader
    uint64_t[7] apart_      # not in one cache line
    uint64_t taken          # the reader's, read by the writer
    uint64_t[7] apart__
    char *at

cdef Ring *ring_new() except NULL
cdef void ring_drop(Ring *ring) noexcept
# The writer: room for a record of `size` bytes (a multiple of 8), or NULL where the reader is too
# far behind. Nothing is said to the reader before `ring_done`.
cdef char *ring_room "fourseven_ring_room"(Ring *ring, uint32_t size) noexcept nogil
cdef void ring_done "fourseven_ring_done"(Ring *ring, uint32_t size) noexcept nogil
# The reader: the next record, whose first word is its size; NULL where there is none.
cdef const char *ring_next "fourseven_ring_next"(Ring *ring) noexcept nogil
cdef void ring_took "fourseven_ring_took"(Ring *ring, uint32_t size) noexcept nogil
