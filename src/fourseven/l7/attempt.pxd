from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.heads cimport HeadContext
from fourseven.l7.records cimport Session, Stream, Upstream
from fourseven.protocols.message cimport Request
from fourseven.snapshot.layout cimport Backend, Listener, Route, Slot
from fourseven.worker.worker cimport Buffer, Worker

cdef void try_server(Worker *worker, Session *session) noexcept nogil
cdef void leave_server(Worker *worker, Stream *stream) noexcept nogil
cdef bint in_turn(Worker *worker, Session *session) noexcept nogil
cdef void without_server(Worker *worker, Session *session, int32_t why) noexcept nogil
cdef void refuse(Worker *worker, Session *session, uint8_t reason) noexcept nogil
cdef void send_request(Worker *worker, Session *session) noexcept nogil
cdef void drop_expect(Request *request) noexcept nogil
