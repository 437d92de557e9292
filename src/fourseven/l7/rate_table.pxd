from libc.stdint cimport uint32_t, uint64_t

from fourseven.l7.gate_key cimport Seed
from fourseven.snapshot.layout cimport GateState

cpdef enum:
    BUCKET = 8          # entries looked at for one key: two cache lines
    LOCKS = 64          # of insertions; more than workers
    CLOCKS_APART_NS = 1_000_000_000  # workers read their clocks once a turn; this is far more

cdef struct RateEntry:
    uint64_t key        # atomic; 0: empty
    uint64_t due_ns     # atomic: the theoretical arrival time (monotonic)

# What stands in a gate's state; the entries begin at GATE_HEAD.
cdef struct RateTable:
    GateState kept
    Seed seed
    uint64_t due_ns             # of a limit without a key
    uint32_t locks[LOCKS]

cdef struct Rate:
    uint64_t interval_ns        # between two requests, on the long run
    uint64_t burst_ns           # interval_ns times how many may come at once

cdef struct Taken:
    uint64_t owed_ns            # what is taken of burst_ns afterwards
    uint64_t replaced           # keys that made room although they still counted

# Takes one request's worth from the key: 0, or the nanoseconds until it would be given.
# `key` 0: the limit without a key.
cdef uint64_t rate_take "fourseven_rate_take"(
    RateTable *table, uint64_t size, uint64_t key, const Rate *rate, uint64_t now_ns, Taken *taken
) noexcept nogil

cdef uint64_t take(
    uint64_t *due, const uint64_t *owner, uint64_t key, const Rate *rate, uint64_t now_ns, Taken *taken
) noexcept nogil
cdef RateEntry *find(RateEntry *bucket, uint64_t key) noexcept nogil
cdef bint insert(
    uint32_t *lock, RateEntry *bucket, uint64_t key, uint64_t now_ns, uint64_t due_ns,
    Taken *taken
) noexcept nogil
cdef RateEntry *soonest(RateEntry *bucket) noexcept nogil
