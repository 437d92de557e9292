from libc.stdint cimport int32_t, uint64_t

from fourseven.l7.records cimport Session, Shape
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

# The numbers of a bandwidth limit, in the order of its plan.
cpdef enum:
    BANDWIDTH_RESPONSE = 0      # bytes a second; 0: no limit
    BANDWIDTH_REQUEST = 1
    BANDWIDTH_BURST = 2         # bytes; 0: by the rate
    BANDWIDTH_SHARED = 3        # 1: one bucket for all requests of a key

    BURST_MIN_MS = 50           # of the rate: three turns of the timers, or the rate is never reached
    BURST_MS = 100              # what it is if the file says nothing

cdef int32_t bandwidth_ask "fourseven_bandwidth_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
cdef void add_pace(Shape *shape, const Gate *gate, uint64_t key, uint64_t rate, bint upward) noexcept nogil
