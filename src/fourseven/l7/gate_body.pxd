from libc.stdint cimport int32_t

from fourseven.l7.records cimport Session
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

cpdef enum:                 # the numbers of its plan; 0: no limit
    BODY_REQUEST = 0
    BODY_RESPONSE = 1

cdef int32_t body_ask "fourseven_body_ask"(Worker *worker, Session *session, const Gate *gate) noexcept nogil
