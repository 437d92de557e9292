from libc.stdint cimport int32_t, uint64_t

from fourseven.l7.records cimport Http
from fourseven.worker.worker cimport Arrived, Plane, Worker, WorkerListener

cdef const Plane *http_plane() noexcept nogil

cdef int32_t start(Worker *worker) noexcept nogil
cdef int32_t open(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void accept(Worker *worker, WorkerListener *listener) noexcept nogil
cdef bint accept_one(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void take "fourseven_http_take"(
    Worker *worker, WorkerListener *listener, int32_t fd, Arrived *arrived
) noexcept nogil
cdef void refuse(Worker *worker, WorkerListener *listener, int32_t fd) noexcept nogil
cdef void shut(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void drain(Worker *worker) noexcept nogil
cdef uint64_t busy(Worker *worker) noexcept nogil
cdef void stop(Worker *worker) noexcept nogil
cdef void spares_drop "fourseven_spares_drop"(Http *http) noexcept nogil
cdef void drop(Worker *worker) noexcept nogil
