from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.l7.records cimport Stream, Upstream
from fourseven.snapshot.layout cimport Backend
from fourseven.worker.worker cimport Worker

cdef enum Counted:          # bits: where a connection counts
    COUNTED_SERVER = 1
    COUNTED_BACKEND = 2     # only while the backend has a limit

# A new connection to the stream's server; NULL: `ours` and `crowded` say why there is none.
cdef Upstream *connect_new "fourseven_connect_new"(Worker *worker, Stream *stream) noexcept nogil
# A zeroed record; NULL when there is no memory.
cdef Upstream *upstream_new(Worker *worker) noexcept nogil
# A socket on its way to the server; below 0: less its errno.
cdef int32_t open_socket(Worker *worker, uint32_t slot) noexcept nogil
# Counts a connection that is yet to be made: bits of Counted; 0: a limit says no, and
# stream.seen_full which.
cdef uint8_t connection_counted "fourseven_connection_counted"(
    Worker *worker, Stream *stream, uint32_t slot
) noexcept nogil
# Takes a count back.
cdef void connection_uncounted(Worker *worker, uint32_t slot, uint32_t counted) noexcept nogil
cdef bint count_at_backend(Worker *worker, const Backend *backend) noexcept nogil
cdef bint give_up_idle(Worker *worker, const Backend *backend) noexcept nogil
