from fourseven.matching.records cimport MatchSet
from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Span

# What a test wants ready beside its operand; NULL for most. ValueError when the operand is not in its form.
cdef const void *prepare(Arena *arena, int test, bytes operand) except? NULL
cdef MatchSet *prepare_set(Arena *arena, bytes operand) except NULL
cdef int check_ranges(bytes operand) except -1

# The two below keep in `kept` what they have made, so that it is made once for one arena.
cdef const void *kept_operand(Arena *arena, dict kept, int test, bytes operand) except? NULL
cdef Span kept_text(Arena *arena, dict kept, bytes text) except *
