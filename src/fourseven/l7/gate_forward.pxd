from libc.stdint cimport int32_t

from fourseven.l7.aside cimport Aside
from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Header
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

cpdef enum:
    ASKED_LINES_MAX = 6144  # of an answer that is handed on; with its body it fits the worker's room

cdef int32_t forward_ask "fourseven_forward_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
cdef void forward_left "fourseven_forward_left"(Worker *worker, Session *session) noexcept nogil

cdef int32_t failed(Worker *worker, Session *session, const Gate *gate) noexcept nogil
cdef Aside *begin(Worker *worker, Session *session, const Gate *gate) noexcept nogil
cdef void forward_told(Worker *worker, Aside *aside) noexcept nogil
cdef bint told_to_service(const Gate *gate, const Header *header) noexcept nogil
cdef void tell(Worker *worker, Session *session, const Gate *gate, const Aside *aside) noexcept nogil
cdef void hand_on(Worker *worker, Session *session, const Aside *aside) noexcept nogil
cdef bint passes(const Header *header) noexcept nogil
