from libc.stdint cimport uint32_t, uint64_t

from fourseven.snapshot.layout cimport Backend, Pick
from fourseven.worker.worker cimport Worker

# The tier of a backend that takes this stream or connection; counted where it is not the first.
# The first `failed` of pick.tried have failed it.
cdef const Backend *tier_of "fourseven_tier_of"(
    const Backend *backend, Worker *worker, const Pick *pick, uint32_t failed
) noexcept nogil

cdef uint64_t usable_weight(
    Worker *worker, const Backend *tier, const Pick *pick, uint32_t failed
) noexcept nogil
cdef bint is_used(Worker *worker, const Backend *tier, uint32_t number) noexcept nogil
cdef bint takes(const Backend *tier, uint64_t usable, const Pick *pick) noexcept nogil
