from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.matching.records cimport MatchBucket, MatchHostKey, MatchScratch, MatchTable, HOSTS_MAX
from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Request, Span

cdef enum:
    DEPTH_LAST = 63     # the last bit of a set of depths: this one and all deeper ones

# The host keys that hold for one request, and what their paths need looking for.
cdef struct Hosts:
    uint32_t count
    uint32_t[HOSTS_MAX] numbers
    uint64_t depths     # of all of them
    uint32_t exacts

# Fills the index of a table; keys[n] are the keys.Key of route n.
cdef int index_build(Arena *arena, MatchTable *table, list keys, dict texts) except -1
cdef int place_hosts(Arena *arena, MatchTable *table, dict numbers, dict texts) except -1
cdef int place_buckets(Arena *arena, MatchTable *table, dict routes, dict texts) except -1
cdef uint32_t size_for(uint32_t count) noexcept nogil

# The stretches of route numbers that may match, in scratch.runs; their count, or -1: too many.
cdef int32_t index_collect(const MatchTable *table, const Request *request, MatchScratch *scratch) noexcept nogil
cdef bint find_hosts(const MatchTable *table, const Span *host, Hosts *found) noexcept nogil
cdef bint find_named(const MatchTable *table, const Span *host, Hosts *found) noexcept nogil
cdef uint32_t find_host(
    const MatchTable *table, uint64_t h, const char *at, uint32_t size, uint32_t kind
) noexcept nogil
cdef int32_t find_paths(
    const MatchTable *table, const Span *path, const Hosts *hosts, MatchScratch *scratch, int32_t runs
) noexcept nogil
cdef int32_t find_at(
    const MatchTable *table, const Hosts *hosts, uint64_t h, const Span *key, uint32_t whole,
    MatchScratch *scratch, int32_t runs,
) noexcept nogil
cdef const MatchBucket *find_bucket(
    const MatchTable *table, uint64_t h, const Span *key, uint32_t owner
) noexcept nogil
cdef uint64_t owned(uint64_t h, uint32_t owner) noexcept nogil
cdef uint64_t depth_bit(uint32_t depth) noexcept nogil
