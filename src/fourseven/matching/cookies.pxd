from libc.stdint cimport uint32_t, uint64_t

from fourseven.matching.records cimport MatchCursor, MatchScratch
from fourseven.protocols.message cimport Request, Span

cdef Span field_cookie(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
# The next cookie of that name in the line, from cursor.at on; absent when the line has no further one.
cdef Span next_in_line(const Span *line, const Span *name, MatchCursor *cursor) noexcept nogil
cdef Span trimmed(const char *text, uint32_t start, uint32_t end) noexcept nogil
