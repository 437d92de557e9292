from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fourseven.snapshot.layout cimport Backend, Pick

cdef int32_t pick_in_turn "fourseven_pick_in_turn"(const Backend *backend, Pick *pick) noexcept nogil
cdef int32_t pick_at_random "fourseven_pick_at_random"(const Backend *backend, Pick *pick) noexcept nogil
cdef int32_t pick_by_hash "fourseven_pick_by_hash"(const Backend *backend, Pick *pick) noexcept nogil
cdef int32_t hashed "fourseven_hashed"(
    const Backend *backend, const Pick *pick, uint64_t allowed, uint64_t weight
) noexcept nogil
