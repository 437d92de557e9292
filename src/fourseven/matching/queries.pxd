from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.matching.records cimport MatchCursor, MatchScratch
from fourseven.protocols.message cimport Request, Span

cdef Span field_query(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
# One byte of application/x-www-form-urlencoded text at text[at]; moves `at` behind it.
cdef unsigned char decoded_byte(const char *text, uint32_t *at, uint32_t end) noexcept nogil
cdef bint decodes_to(const char *text, uint32_t at, uint32_t end, const Span *name) noexcept nogil
cdef Span decode_value(const char *text, uint32_t at, uint32_t end, MatchScratch *scratch) noexcept nogil
cdef int32_t digit_of(unsigned char byte) noexcept nogil
