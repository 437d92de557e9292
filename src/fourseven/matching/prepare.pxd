from fourseven.matching.records cimport MatchSet
from fourseven.native.arena cimport Arena

# What a test wants ready beside its operand; NULL for most. ValueError when the operand is not in its form.
cdef const void *prepare(Arena *arena, int test, bytes operand) except? NULL
cdef MatchSet *prepare_set(Arena *arena, bytes operand) except NULL
cdef int check_ranges(bytes operand) except -1
