from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fourseven.snapshot.layout cimport Backend, BackendState, Pick, Slot

cdef enum:
    GAP = 7  # slots that belong to nobody here

cdef class Probe:
    cdef Backend backend
    cdef BackendState *state
    cdef Slot *slots
    cdef readonly int count

    cdef Slot *slot(self, int at) except NULL
    cdef int32_t once(self, Pick *pick) noexcept nogil
