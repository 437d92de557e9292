from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.l7.rate_table cimport Rate
from fourseven.l7.records cimport Session
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

# A rate limit's numbers, in the order of its plan.
cpdef enum:
    RATE_INTERVAL_NS = 0
    RATE_BURST_NS = 1
    RATE_FLAGS = 2

cpdef enum RateFlag:    # bits
    RATE_HEADERS = 1    # say RateLimit and RateLimit-Policy
    RATE_DRY_RUN = 2    # refuse nothing

cdef int32_t rate_ask "fourseven_rate_ask"(Worker *worker, Session *session, const Gate *gate) noexcept nogil
cdef void say_limit(
    Worker *worker, Session *session, const Gate *gate, const Rate *rate, uint64_t owed_ns
) noexcept nogil
cdef uint64_t seconds_up(uint64_t ns) noexcept nogil
