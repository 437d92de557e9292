from fourseven.matching.records cimport MatchGlob, MatchRow, MatchScratch
from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Span

cdef MatchGlob *glob_compile(Arena *arena, bytes pattern) except NULL
cdef bint test_glob(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
