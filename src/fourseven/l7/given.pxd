from libc.stdint cimport uint8_t, uint16_t

from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Span
from fourseven.worker.worker cimport Worker

cpdef enum:
    GIVEN_LINES_MAX = 3072      # with what gates say it fits a head
    GIVEN_BODY_MAX = 61440      # with its head it fits OUT_CAPACITY

# Ends the request with this status, these whole header lines and this body.
cdef void answer_given "fourseven_answer_given"(
    Worker *worker, Session *session, uint16_t status, uint8_t reason, const Span *lines, const Span *body
) noexcept nogil
