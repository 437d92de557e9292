from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l7.records cimport Http, Queue, Session, Stream
from fourseven.worker.worker cimport Worker

cpdef enum:
    POLL_MS = 50        # how often who waits looks again: a server may be freed by another worker

cpdef enum Turn:
    TURN_NOW = 0        # it may look for a server
    TURN_LATER = 1      # others are before it
    TURN_OVER = 2       # it has waited as long as it may

# The stream found no server that is free: it waits, or the Reason why it may not.
cdef uint8_t queue_wait "fourseven_queue_wait"(Worker *worker, Session *session) noexcept nogil
# It waits for one server alone, which no queue knows of. The Reason when its time is up.
cdef uint8_t await_server "fourseven_await_server"(Worker *worker, Session *session) noexcept nogil
# Is it the turn of one that waits in the queue?
cdef uint8_t queue_turn "fourseven_queue_turn"(Worker *worker, Session *session) noexcept nogil
# It waits no longer, whatever the reason; the next one is woken.
cdef void queue_leave "fourseven_queue_leave"(Worker *worker, Session *session) noexcept nogil
# A server of this backend has room: the first of this worker's queue goes on, or another worker's.
cdef void queue_wake "fourseven_queue_wake"(Worker *worker, uint32_t backend) noexcept nogil
# Another worker has room for somebody: the first of each queue looks.
cdef void queues_look(Worker *worker) noexcept nogil
# It has waited in a queue, or for one server alone, and its first try begins now, or never.
cdef void waited(const Worker *worker, Stream *stream) noexcept nogil

cdef void hold(Worker *worker, Session *session, uint64_t until_ms) noexcept nogil
cdef uint8_t priority_of(Worker *worker, const Session *session) noexcept nogil
cdef bint wake_first(Worker *worker, Queue *queue) noexcept nogil
