from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.l7.records cimport Held, Session
from fourseven.snapshot.layout cimport Gate, GateState
from fourseven.worker.worker cimport Worker

# The numbers of its plan.
cpdef enum:
    ADAPTIVE_MIN = 0
    ADAPTIVE_MAX = 1
    ADAPTIVE_START = 2
    ADAPTIVE_WINDOW_MS = 3
    ADAPTIVE_TOLERANCE = 4      # in percent
    ADAPTIVE_SAMPLES_MIN = 10   # of a window: fewer tell nothing, so it goes on

cdef struct Adaptive:
    GateState kept
    uint64_t in_flight          # atomic
    uint64_t limit              # atomic; 0: not yet begun
    uint64_t sum_ns             # atomic: of this window's samples
    uint64_t samples            # atomic
    uint64_t peak               # atomic: most in flight in this window
    uint64_t window_end_ns      # atomic
    uint32_t lock               # of what follows
    # as the gate's plan has them, for `end` has no plan
    uint64_t low, high, window_ns, tolerance
    double exact
    double long_ns
    double windows

cdef int32_t adaptive_ask "fourseven_adaptive_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
cdef void adaptive_end "fourseven_adaptive_end"(
    Worker *worker, Session *session, const Held *held
) noexcept nogil
cdef void adaptive_window "fourseven_adaptive_window"(Adaptive *state, uint64_t now_ns) noexcept nogil
cdef bint adaptive_enter(Adaptive *state, uint64_t most) noexcept nogil
