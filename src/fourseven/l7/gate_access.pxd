from libc.stdint cimport int32_t, uint8_t

from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Span
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

cdef int32_t access_ask "fourseven_access_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
cdef bint ranges_hold(const Span *ranges, const uint8_t *address) noexcept nogil
