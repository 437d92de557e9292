from libc.stdint cimport uint64_t

from fourseven.matching.records cimport MatchRow, MatchScratch
from fourseven.protocols.message cimport Span

cdef extern from "<string.h>" nogil:
    void *memmem(const void *at, size_t size, const void *what, size_t what_size)

cdef bint test_present(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_exact(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_prefix(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_suffix(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_contains(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_any_of(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_segments(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_wildcard(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_ranges(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_above(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_below(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef bint test_equal(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
cdef uint64_t number_of(const Span *value) noexcept nogil
