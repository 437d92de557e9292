from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fourseven.snapshot.layout cimport Backend, Pick

cdef int32_t pick_least "fourseven_pick_least_requests"(const Backend *backend, Pick *pick) noexcept nogil
cdef int32_t least_of(const Backend *backend, Pick *pick, bint sparing) noexcept nogil
cdef int32_t pick_of_two "fourseven_pick_power_of_two"(const Backend *backend, Pick *pick) noexcept nogil
