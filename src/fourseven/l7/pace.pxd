from libc.stdint cimport uint32_t, uint64_t

from fourseven.l7.records cimport Pace, Session, Shape
from fourseven.worker.worker cimport Worker

cpdef enum:
    PIECE_MAX = 16384       # bytes asked of a bucket at once
    PIECE_MIN = 512         # where many share one: each has its turn soon
    CROWDED_MS = 250        # a wait from which pieces become smaller
    AHEAD_MS = 60000        # how far ahead of the rate turns are given out

# How many of `wanted` bytes may go now in that direction (0: the answer's, 1: the request's). 0: none,
# and the session runs again when some may. The same or more may go until they are spent.
cdef uint32_t pace_allow "fourseven_pace_allow"(
    Worker *worker, Session *session, uint32_t upward, uint32_t wanted
) noexcept nogil
# So many of them went.
cdef void pace_spend "fourseven_pace_spend"(Shape *shape, uint32_t upward, uint32_t size) noexcept nogil

cdef void draw(Worker *worker, Pace *pace, uint32_t size) noexcept nogil
cdef uint64_t reserve(Worker *worker, Pace *pace, uint32_t size) noexcept nogil
