from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.heads cimport HeadContext
from fourseven.l7.records cimport Session, Stream, Upstream
from fourseven.protocols.message cimport Request
from fourseven.snapshot.layout cimport Backend, Listener, Route
from fourseven.worker.worker cimport Buffer, Worker

# Ends the request with an answer of our own, and the connection with it. `reason` is a worker.Reason.
cdef void stream_refuse "fourseven_stream_refuse"(
    Worker *worker, Session *session, uint16_t status, uint8_t reason
) noexcept nogil
cdef void answer(Worker *worker, Session *session, uint16_t status, uint8_t reason) noexcept nogil
cdef void answer_action(Worker *worker, Session *session) noexcept nogil
cdef void after_answer(Worker *worker, Session *session) noexcept nogil
cdef bint body_at_hand(Session *session) noexcept nogil
cdef void stream_context(Worker *worker, Session *session, HeadContext *context) noexcept nogil
cdef uint16_t terminal_status(const Route *route) noexcept nogil
