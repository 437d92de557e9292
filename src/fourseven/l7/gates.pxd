from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.l7.records cimport Held, Session
from fourseven.protocols.message cimport Span
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

cpdef enum GateResult:
    GATE_PASS = 0       # on to the next one
    GATE_ANSWERED = 1   # it has answered the request (l7.answer): nothing of it may be touched any more
    GATE_WAIT = 2       # it has set stream.gate_due_ms, and is asked again then or at `gate_open`

# Asked with the head in worker.request. It may look at the request, add lines (`gate_say`,
# `gate_tell`), hold the request for its end (`gate_hold`), answer it, or wait.
ctypedef int32_t (*gate_pass_fn)(Worker *worker, Session *session, const Gate *gate) noexcept nogil
# The request that it held is over; stream.status and .reason say how. May be NULL.
ctypedef void (*gate_end_fn)(Worker *worker, Session *session, const Held *held) noexcept nogil
# It waits no longer (passed, answered, or the client left): frees stream.gate_own. May be NULL.
ctypedef void (*gate_left_fn)(Worker *worker, Session *session) noexcept nogil

cdef struct GateForm:
    gate_pass_fn ask
    gate_end_fn end
    gate_left_fn left

# What the plane calls.
cdef void gates_prepare() noexcept nogil
# Asks the gates of stream.route from stream.gate on; true when all have let it pass.
cdef bint gates_pass "fourseven_gates_pass"(Worker *worker, Session *session) noexcept nogil
# SESSION_GATE: goes on if what was waited for has come; true when another step may follow.
cdef bint gate_step "fourseven_gate_step"(Worker *worker, Session *session) noexcept nogil
cdef void gates_leave "fourseven_gates_leave"(Worker *worker, Session *session) noexcept nogil

# What gates call.
# The request that waits at a gate goes on in this or the next turn.
cdef void gate_open "fourseven_gate_open"(Worker *worker, Session *session) noexcept nogil
# `end` will be called; false when the stream holds too many already (the compiler sees to that).
cdef bint gate_hold "fourseven_gate_hold"(
    Worker *worker, Session *session, const Gate *gate, uint64_t note
) noexcept nogil
# A line for the answer's head, or for the request's. False where it does not fit.
cdef bint gate_say "fourseven_gate_say"(
    Worker *worker, Session *session, const char *name, const char *value, uint32_t size
) noexcept nogil
cdef bint gate_tell "fourseven_gate_tell"(
    Worker *worker, Session *session, const char *name, const char *value, uint32_t size
) noexcept nogil

cdef bint gate_tell_span "fourseven_gate_tell_span"(
    Worker *worker, Session *session, const Span *name, const Span *value
) noexcept nogil

cdef void leave_wait(Worker *worker, Session *session) noexcept nogil
