from libc.stdint cimport uint8_t

from fourseven.l7.records cimport Session
from fourseven.worker.worker cimport Worker

# The chosen backend cannot serve, for this reason: does the route's fallback take the request? Then
# it is the stream's backend, and the next try is its first.
cdef bint fallback_takes "fourseven_fallback_takes"(
    Worker *worker, Session *session, uint8_t reason
) noexcept nogil
