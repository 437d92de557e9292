from libc.stdint cimport int32_t, uint64_t

from fourseven.snapshot.layout cimport Backend, Pick, Slot

cdef enum:
    DECAY_MS = 10000  # Finagle's and Linkerd's default: a server is forgiven after some of these

# The engine calls this once for each answer: `sample_ns` from the request's last byte sent to the
# response's first byte (a failure: as long as it took), `now_ns` monotonic.
cdef void ewma_update "fourseven_ewma_update"(Slot *slot, uint64_t sample_ns, uint64_t now_ns) noexcept nogil
cdef double kept "fourseven_ewma_kept"(const Slot *slot, uint64_t now_ns) noexcept nogil
cdef double cost "fourseven_ewma_cost"(const Backend *backend, const Pick *pick, int32_t at) noexcept nogil
cdef int32_t pick_peak_ewma "fourseven_pick_peak_ewma"(const Backend *backend, Pick *pick) noexcept nogil
