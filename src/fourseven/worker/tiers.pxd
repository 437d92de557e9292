from libc.stdint cimport uint64_t

from fourseven.snapshot.layout cimport Backend, Pick
from fourseven.worker.worker cimport Worker

# The tier of a backend that takes this stream or connection; counted where it is not the first.
cdef const Backend *tier_of "fourseven_tier_of"(
    const Backend *backend, Worker *worker, const Pick *pick
) noexcept nogil

cdef uint64_t usable_weight(const Worker *worker, const Backend *tier) noexcept nogil
cdef bint takes(const Backend *tier, uint64_t usable, const Pick *pick) noexcept nogil
