from libc.stdint cimport uint32_t, uint64_t

from fourseven.l7.aside cimport Aside
from fourseven.l7.records cimport Session, Stream, Upstream
from fourseven.snapshot.layout cimport BackendState, Resilience
from fourseven.worker.worker cimport Worker

cpdef enum Hedge:           # Stream.hedge
    HEDGE_NONE = 0
    HEDGE_ARMED = 1         # the timer of its connection is the hedge's
    HEDGE_OUT = 2           # a second server is asked: the aside in Stream.gate_own

cpdef enum:
    HEDGE_STEPS = 32        # a learnt time moves by a part of this with each answer

# The request has been sent: when its connection's timer is due, for a hedge or else for the answer.
cdef uint64_t hedge_arm "fourseven_hedge_arm"(
    Worker *worker, Session *session, uint64_t answer_due_ms
) noexcept nogil
# That timer has fired.
cdef void hedge_due "fourseven_hedge_due"(
    Worker *worker, Session *session, Upstream *upstream
) noexcept nogil
# The first try has failed while the hedge is out: the hedge is the try from now on.
cdef void hedge_takes_over "fourseven_hedge_takes_over"(Worker *worker, Session *session) noexcept nogil
# The stream's own server has answered: no other one is needed.
cdef void hedge_answered "fourseven_hedge_answered"(Worker *worker, Session *session) noexcept nogil
# The stream is over.
cdef void hedge_end "fourseven_hedge_end"(Worker *worker, Session *session) noexcept nogil

cdef bint hedgeable(const Stream *stream) noexcept nogil
cdef Aside *second_try(Worker *worker, Session *session) noexcept nogil
cdef void hedge_told(Worker *worker, Aside *aside) noexcept nogil
cdef void too_slow(Worker *worker, Stream *stream) noexcept nogil
cdef bint wanted(const Stream *stream, uint32_t status) noexcept nogil
cdef void learn(BackendState *state, const Resilience *rules, uint64_t took_ns) noexcept nogil
cdef void remember(Stream *stream, uint32_t slot) noexcept nogil
