from libc.stdint cimport int32_t, uint64_t

from fourseven.l7.records cimport Session
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

# The numbers of its plan; shares are in millionths.
cpdef enum:
    FAULT_DELAY_MS = 0
    FAULT_DELAY_SHARE = 1
    FAULT_STATUS = 2
    FAULT_ABORT_SHARE = 3

cpdef enum:             # of stream.gate_note
    FAULT_ABORTS = 1

cdef int32_t fault_ask "fourseven_fault_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
cdef bint falls(Worker *worker, const Gate *gate, uint64_t salt, uint64_t share) noexcept nogil
