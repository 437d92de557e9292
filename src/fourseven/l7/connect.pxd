from libc.stdint cimport int32_t, uint32_t

from fourseven.l7.records cimport Stream, Upstream
from fourseven.worker.worker cimport Worker

# A new connection to the stream's server; NULL: `ours` and `crowded` say why there is none.
cdef Upstream *connect_new "fourseven_connect_new"(Worker *worker, Stream *stream) noexcept nogil
# A zeroed record; NULL when there is no memory.
cdef Upstream *upstream_new(Worker *worker) noexcept nogil
# A socket on its way to the server; below 0: less its errno.
cdef int32_t open_socket(Worker *worker, uint32_t slot) noexcept nogil
cdef bint count_connection(Worker *worker, Stream *stream) noexcept nogil
