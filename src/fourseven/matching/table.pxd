from libc.stdint cimport int32_t, uint16_t

from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Request, Span
from fourseven.snapshot.layout cimport Listener, RouteTable

cpdef enum:
    ROUTE_NONE = -1         # no route matches
    ROUTE_NEEDS_BODY = -2   # a payload condition decides, and the body's prefix is not there yet

cpdef enum Field:
    FIELD_CLIENT = 0        # the client's address (16 bytes)
    FIELD_HOST = 1
    FIELD_PATH = 2
    FIELD_METHOD = 3
    FIELD_HEADER = 4        # name: the header's
    FIELD_COOKIE = 5
    FIELD_QUERY = 6         # a query parameter, percent-decoded
    FIELD_DEVICE = 7
    FIELD_BODY = 8          # the decoded prefix of the body
    FIELD_BODY_JSON = 9     # name: the JSON pointer
    FIELD_BODY_SIZE = 10
    FIELD_BODY_TYPE = 11    # the media type without parameters, lower case
    FIELD_SNI = 12
    FIELD_ALPN = 13

# Each worker has one: match data and JIT stack for regular expressions, room for decoded values.
cdef struct MatchScratch

cdef MatchScratch *match_scratch_new() except NULL
cdef void match_scratch_drop(MatchScratch *scratch) noexcept nogil

# The number of the first route that matches, ROUTE_NONE or ROUTE_NEEDS_BODY. Uses the index.
cdef int32_t route_find "fourseven_route_find"(
    const Listener *listener, const Request *request, MatchScratch *scratch
) noexcept nogil

# The value of one field, as a match would see it; absent is at == NULL. For hash keys.
cdef Span field_value "fourseven_field_value"(
    uint16_t field, const Request *request, const Span *name, MatchScratch *scratch
) noexcept nogil

# Packs the routes' expressions and their index into the arena. `routes` are plan.RoutePlan.
cdef RouteTable *table_build(Arena *arena, routes) except NULL
