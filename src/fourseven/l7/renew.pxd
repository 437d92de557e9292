from libc.stdint cimport int32_t, uint32_t

from fourseven.l7.records cimport Session
from fourseven.snapshot.layout cimport Listener, Snapshot
from fourseven.worker.worker cimport Worker

# Lets a stream that waits for a server go on by the worker's snapshot, if its route and its backend
# are still there; else it keeps the one that it has.
cdef void stream_renew "fourseven_stream_renew"(Worker *worker, Session *session) noexcept nogil

# ---- of renew.py alone ----
cdef int32_t same_route(const Listener *listener, uint32_t stable) noexcept nogil
cdef int32_t same_backend(const Snapshot *snapshot, uint32_t number) noexcept nogil
