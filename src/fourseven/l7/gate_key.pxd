from libc.stdint cimport uint32_t, uint64_t

from fourseven.matching.table cimport MatchScratch
from fourseven.protocols.message cimport Request
from fourseven.snapshot.layout cimport Gate, Key

# The seed of a table: zeroed with its pages, drawn by whoever asks first.
cdef struct Seed:
    uint64_t first, second

cdef void seed_draw "fourseven_seed_draw"(Seed *seed) noexcept nogil
# One number for all keys of the gate together; never 0.
cdef uint64_t gate_key "fourseven_gate_key"(
    const Seed *seed, const Gate *gate, const Request *request, MatchScratch *scratch
) noexcept nogil
# The same without a secret: equal on all machines.
cdef uint64_t plain_key "fourseven_plain_key"(
    const Key *key, const Request *request, MatchScratch *scratch
) noexcept nogil

cdef uint64_t part(
    const Seed *seed, uint64_t before, const Key *key, const Request *request, MatchScratch *scratch
) noexcept nogil
