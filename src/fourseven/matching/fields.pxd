from libc.stdint cimport uint32_t, uint64_t

from fourseven.matching.records cimport MatchCursor, MatchScratch
from fourseven.protocols.message cimport Request, Span

cdef Span field_client(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef Span field_host(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef Span field_path(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef Span field_method(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef Span field_header(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef Span field_sni(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef Span field_alpn(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil

cdef Span field_certificate(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil

cdef bint same_name(const Span *left, const Span *right) noexcept nogil
