from libc.stdint cimport uint32_t, uint64_t

from fourseven.matching.records cimport MatchCursor, MatchScratch
from fourseven.protocols.message cimport Request, Span

cdef enum:
    TYPE_MAX = 256          # bytes of a media type; the longest registered one has 73

cdef Span field_body(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef Span field_body_json(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef Span field_body_size(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef Span field_body_type(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef Span prefix_of(const Request *request, uint64_t number) noexcept nogil
cdef Span decimal(uint64_t value, MatchScratch *scratch) noexcept nogil
