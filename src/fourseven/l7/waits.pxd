from libc.stdint cimport uint8_t, uint64_t

from fourseven.l7.records cimport Session
from fourseven.worker.worker cimport Timer, Worker

# Before a session sleeps: sets its timer by what it waits for, and has epoll watch its socket.
cdef void settle "fourseven_session_settle"(Worker *worker, Session *session) noexcept nogil
# Of the session's timer.
cdef void session_timer "fourseven_session_timer"(Worker *worker, Timer *timer) noexcept nogil

cdef uint8_t waits_for(Worker *worker, const Session *session) noexcept nogil
cdef void wait_begin(Worker *worker, Session *session) noexcept nogil
cdef uint64_t body_due_ms(const Session *session) noexcept nogil
cdef uint64_t patience_ms(const Session *session, uint8_t waiting) noexcept nogil
cdef void body_timer(Worker *worker, Session *session) noexcept nogil
