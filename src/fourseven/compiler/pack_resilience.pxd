from fourseven.native.arena cimport Arena
from fourseven.snapshot.layout cimport Backend, Persistence, Resilience

# What a backend has beyond its servers and its times; `numbers` are those of the data plane.
cdef int pack_resilience(Arena *arena, Backend *backend, plan, numbers) except -1
cdef Resilience *resilience_new(Arena *arena, plan) except? NULL
cdef Persistence *persistence_new(Arena *arena, plan, numbers) except? NULL
cdef int pack_names(Arena *arena, Persistence *persistence, plan, secrets) except -1
cdef int pack_tiers(Arena *arena, Backend *backend, plan) except -1
