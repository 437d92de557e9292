from libc.stdint cimport int32_t, uint16_t, uint64_t

from fourseven.matching.records cimport (
    FIELD_ALPN, FIELD_BODY, FIELD_BODY_JSON, FIELD_BODY_SIZE, FIELD_BODY_TYPE, FIELD_CERTIFICATE,
    FIELD_CLIENT, FIELD_COOKIE,
    FIELD_DEVICE, FIELD_HEADER, FIELD_HOST, FIELD_METHOD, FIELD_PATH, FIELD_QUERY, FIELD_SNI,
    ROUTE_NEEDS_BODY, ROUTE_NONE, ROUTE_UNDECIDED, MatchRow, MatchScratch, MatchTable,
)
from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Request, Span
from fourseven.snapshot.layout cimport Listener, RouteTable

# Each worker has one: match data and JIT stack for regular expressions, room for decoded values.
cdef MatchScratch *match_scratch_new() except NULL
cdef void match_scratch_drop(MatchScratch *scratch) noexcept nogil

# The number of the first route that matches, ROUTE_NONE, ROUTE_NEEDS_BODY, or ROUTE_UNDECIDED where
# an expression ran into its limit: a request must not pass a rule by being hard to judge.
cdef int32_t route_find "fourseven_route_find"(
    const Listener *listener, const Request *request, MatchScratch *scratch
) noexcept nogil

# The same without the index: all routes in their order. For what the index cannot hold, and to test it.
cdef int32_t route_scan "fourseven_route_scan"(
    const RouteTable *table, const Request *request, MatchScratch *scratch
) noexcept nogil

# The value of one field, as a match would see it (the first of several); absent is at == NULL.
# It lives until the scratch is used again. For hash keys.
cdef Span field_value "fourseven_field_value"(
    uint16_t field, const Request *request, const Span *name, MatchScratch *scratch
) noexcept nogil

# Packs the routes' expressions and their index into the arena. `routes` are plan.RoutePlan.
cdef RouteTable *table_build(Arena *arena, routes) except NULL
cdef int pack_row(Arena *arena, MatchRow *row, source, dict kept) except -1
