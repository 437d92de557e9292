from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.l7.gate_key cimport Seed
from fourseven.l7.records cimport Held, Session
from fourseven.snapshot.layout cimport Gate, GateState
from fourseven.worker.worker cimport Worker

# The numbers of its plan.
cpdef enum:
    CONCURRENCY_MAX = 0
    CONCURRENCY_STATUS = 1
    CONCURRENCY_LOCKS = 64
    CONCURRENCY_BUCKET = 8

# What stands in its state; the entries, one word each, begin at GATE_HEAD: the upper 48 bits are of
# the key's hash, the lower 16 count.
cdef struct ConcurrencyTable:
    GateState kept
    Seed seed
    uint64_t in_flight              # atomic: of a limit without a key
    uint32_t locks[CONCURRENCY_LOCKS]

cdef enum:                          # notes; those from CONCURRENCY_FIRST on are entries
    CONCURRENCY_WHOLE = 0
    CONCURRENCY_REFUSED = 1
    CONCURRENCY_NO_ROOM = 2
    CONCURRENCY_FIRST = 3

cdef int32_t concurrency_ask "fourseven_concurrency_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
cdef void concurrency_end "fourseven_concurrency_end"(
    Worker *worker, Session *session, const Held *held
) noexcept nogil
# A note for `concurrency_leave`, or CONCURRENCY_REFUSED, CONCURRENCY_NO_ROOM. `key` 0: none.
cdef uint64_t concurrency_enter "fourseven_concurrency_enter"(
    ConcurrencyTable *table, uint64_t size, uint64_t key, uint64_t most
) noexcept nogil
cdef void concurrency_leave "fourseven_concurrency_leave"(ConcurrencyTable *table, uint64_t note) noexcept nogil

cdef uint64_t enter(uint64_t *word, uint64_t owner, uint64_t most) noexcept nogil
cdef uint64_t *find(uint64_t *bucket, uint64_t owner) noexcept nogil
