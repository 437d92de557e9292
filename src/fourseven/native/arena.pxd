from fourseven.protocols.message cimport Span

ctypedef void (*drop_fn)(void *what) noexcept nogil

cdef struct Chunk:
    Chunk *next
    size_t used
    size_t size

cdef struct Drop:
    Drop *next
    drop_fn drop
    void *what

cdef struct Arena:
    Chunk *chunks
    Drop *drops
    size_t total

cdef Arena *arena_new() except NULL
cdef void *arena_take(Arena *arena, size_t size) except NULL
cdef Chunk *add_chunk(Arena *arena, size_t size) except NULL
cdef Span arena_text(Arena *arena, bytes text) except *
cdef int arena_on_drop(Arena *arena, drop_fn drop, void *what) except -1
cdef void arena_drop "fourseven_arena_drop"(Arena *arena) noexcept nogil
