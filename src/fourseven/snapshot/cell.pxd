from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.snapshot.layout cimport WORKERS_MAX, BackendState, ListenerState, Slot, Snapshot

cpdef enum:
    OFFLINE = 0     # a worker that holds no snapshot

cdef extern from "fourseven/snapshot/cell.h" nogil:
    ctypedef struct Shared:
        Snapshot *current
        uint64_t epoch
        uint32_t draining
        uint32_t cuts
        Slot *slots
        BackendState *backends
        ListenerState *listeners
        void *names
        void *tickets
        int32_t[WORKERS_MAX] wake_fds

    ctypedef struct Seen:
        uint64_t epoch

# The worker's half.
cdef Snapshot *acquire "fourseven_acquire"(Shared *shared, Seen *seen) noexcept nogil
cdef void release "fourseven_release"(Seen *seen) noexcept nogil

cdef struct Retired:
    Snapshot *snapshot
    uint64_t epoch
    Retired *next

# Control's half.
cdef class Cell:
    cdef Shared *shared
    cdef Seen *seen
    cdef int worker_count
    cdef Retired *retired
    cdef readonly int retired_count
    cdef int swap(self, Snapshot *snapshot) except -1
    cdef uint64_t oldest_seen(self) noexcept
    cdef bint pinned(self, const Snapshot *snapshot) noexcept
