from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from fourseven.matching.records cimport (
    FIELDS_USED, TESTS_USED, MatchCursor, MatchRow, MatchScratch, MatchTable, field_fn, test_fn,
)
from fourseven.protocols.message cimport Request, Span

cdef field_fn[FIELDS_USED] FIELDS
cdef test_fn[TESTS_USED] TESTS

# 1: holds, 0: does not, ROUTE_NEEDS_BODY: the body's prefix decides, and is not there yet,
# ROUTE_UNDECIDED: an expression ran into its limit.
cdef int32_t route_holds "fourseven_route_holds"(
    const MatchTable *table, uint32_t route, const Request *request, MatchScratch *scratch
) noexcept nogil
cdef int32_t row_holds "fourseven_row_holds"(
    const MatchRow *row, const Request *request, MatchScratch *scratch
) noexcept nogil
cdef bint needs_body(uint16_t payload, const Request *request) noexcept nogil

# One value of a field; the cursor starts zeroed. Absent: at is NULL.
cdef Span field_read "fourseven_field_read"(
    uint16_t field, const Request *request, const Span *name, uint64_t number,
    MatchScratch *scratch, MatchCursor *cursor,
) noexcept nogil
