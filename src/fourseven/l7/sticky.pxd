from libc.stdint cimport uint64_t

from fourseven.l7.records cimport Session
from fourseven.worker.worker cimport Worker

# The draw among the route's backends, the same for the same client.
cdef uint64_t sticky_draw "fourseven_sticky_draw"(Worker *worker, Session *session) noexcept nogil
cdef uint64_t give_cookie(Worker *worker, Session *session) noexcept nogil
