"""The queue before a backend whose servers are all at their limit.

Each worker has one for each backend, in the order of arrival, in three lines: high, normal, low.
How many may wait is counted over all workers, exactly. When a request leaves a server, the first in
the line of this worker goes on; if nobody waits here, a worker is woken where somebody does. Only
the first of a line may look for a server, and a newcomer never passes those who wait in its worker;
between workers there is no order, but none waits longer than POLL_MS beside a free server.

Who waits for one server in particular (persistence, fallback: wait) stands in no line: it looks
every POLL_MS.

Laws: a stream stands in a line at most once, and leaves it before anything else ends it. A wait has
an end. What waits holds no server.
"""

import cython
from cython.cimports.fourseven.l7.gates import gate_open
from cython.cimports.fourseven.l7.queue import (
    POLL_MS,
    TURN_LATER,
    TURN_NOW,
    TURN_OVER,
    Queue,
)
from cython.cimports.fourseven.l7.records import (
    PRIORITIES,
    SESSION_GATE,
    WAIT_NOTHING,
    Http,
    Stream,
    http_of,
)
from cython.cimports.fourseven.matching.records import FIELD_HEADER
from cython.cimports.fourseven.matching.table import field_value
from cython.cimports.fourseven.native.atomics import (
    count,
    fetch_add_i64,
    fetch_and,
    fetch_or,
    load_relaxed,
)
from cython.cimports.fourseven.native.linux import eventfd_write
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.layout import BackendState, Resilience
from cython.cimports.fourseven.worker.worker import (
    REASON_NONE,
    REASON_PERSISTED_DOWN,
    REASON_QUEUE_FULL,
)
from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memcmp

# ---- in and out ----


def queue_wait(worker, session):
    stream: cython.pointer[Stream] = session.stream
    counters = cython.address(worker.backend_counters[stream.backend_number])
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    state: cython.pointer[BackendState] = stream.backend.state
    queue: cython.pointer[Queue]
    if not stream.queued:
        if fetch_add_i64(cython.address(state.waiting), 1) >= rules.queue_max:
            fetch_add_i64(cython.address(state.waiting), -1)
            count(cython.address(counters.queue_full), 1)
            return REASON_QUEUE_FULL
        count(cython.address(counters.queued), 1)
        stream.queued = 1
        stream.queue_state = state
        stream.queue_until_ms = worker.now_ms + rules.queue_wait_ms
        stream.priority = priority_of(worker, session)
        queue = cython.address(http_of(worker).queues[stream.backend_number])
        stream.queue_next = cython.NULL
        stream.queue_before = queue.last[stream.priority]
        if stream.queue_before is not cython.NULL:
            stream.queue_before.stream.queue_next = session
        else:
            queue.first[stream.priority] = session
        queue.last[stream.priority] = session
        queue.size += 1
        if queue.size == 1:
            fetch_or(cython.address(state.waiters), cython.cast(uint64_t, 1) << worker.index)
            queue.next = http_of(worker).waited_for
            queue.link = cython.address(http_of(worker).waited_for)
            if queue.next is not cython.NULL:
                queue.next.link = cython.address(queue.next)
            http_of(worker).waited_for = queue
    hold(worker, session, stream.queue_until_ms)
    return REASON_NONE


def await_server(worker, session):
    stream: cython.pointer[Stream] = session.stream
    if stream.queue_until_ms == 0:
        stream.queue_until_ms = worker.now_ms + stream.backend.persistence.wait_ms
    if worker.now_ms >= stream.queue_until_ms:
        waited(worker, stream)
        return REASON_PERSISTED_DOWN
    hold(worker, session, stream.queue_until_ms)
    return REASON_NONE


def waited(worker, stream):
    """The wait counts as time in queues, beside that at the gates; before the first try alone."""
    if not stream.tries:
        stream.gated_ns = worker.now_ns


def hold(worker, session, until_ms):
    """As a gate holds a request: it is asked again soon."""
    session.stream.gate_ready = 0
    session.stream.gate_due_ms = min(until_ms, worker.now_ms + POLL_MS)
    session.state = SESSION_GATE
    session.waiting = WAIT_NOTHING


def queue_leave(worker, session):
    stream: cython.pointer[Stream] = session.stream
    http: cython.pointer[Http] = http_of(worker)
    queue: cython.pointer[Queue] = cython.address(http.queues[stream.backend_number])
    if not stream.queued:
        return
    stream.queued = 0
    waited(worker, stream)
    if stream.queue_before is not cython.NULL:
        stream.queue_before.stream.queue_next = stream.queue_next
    else:
        queue.first[stream.priority] = stream.queue_next
    if stream.queue_next is not cython.NULL:
        stream.queue_next.stream.queue_before = stream.queue_before
    else:
        queue.last[stream.priority] = stream.queue_before
    fetch_add_i64(cython.address(stream.queue_state.waiting), -1)
    queue.size -= 1
    if queue.size == 0:
        fetch_and(
            cython.address(stream.queue_state.waiters),
            ~(cython.cast(uint64_t, 1) << worker.index),
        )
        queue.link[0] = queue.next
        if queue.next is not cython.NULL:
            queue.next.link = queue.link
    else:
        wake_first(worker, queue)


# ---- whose turn ----


def queue_turn(worker, session):
    stream: cython.pointer[Stream] = session.stream
    queue: cython.pointer[Queue] = cython.address(http_of(worker).queues[stream.backend_number])
    at: uint32_t
    first: cython.bint = True
    for at in range(stream.priority):
        first = first and queue.first[at] is cython.NULL
    if stream.queued:
        first = first and queue.first[stream.priority] is session
        if not first and worker.now_ms < stream.queue_until_ms:
            hold(worker, session, stream.queue_until_ms)
            return TURN_LATER
        if worker.now_ms >= stream.queue_until_ms:
            counters = cython.address(worker.backend_counters[stream.backend_number])
            count(cython.address(counters.queue_timeouts), 1)
            return TURN_OVER
        return TURN_NOW
    return TURN_LATER if queue.size else TURN_NOW


def priority_of(worker, session):
    """0: high, 1: normal, 2: low."""
    rules: cython.pointer[cython.const[Resilience]] = session.stream.backend.resilience
    value = cython.declare(Span)
    if rules.queue_header.at is cython.NULL:
        return 1
    value = field_value(
        FIELD_HEADER, worker.request, cython.address(rules.queue_header), worker.scratch
    )
    if value.size == 4 and memcmp(value.at, b"high", 4) == 0:
        return 0
    if value.size == 3 and memcmp(value.at, b"low", 3) == 0:
        return 2
    return 1


def queue_wake(worker, backend):
    http: cython.pointer[Http] = http_of(worker)
    others: uint64_t
    at: uint32_t
    if wake_first(worker, cython.address(http.queues[backend])):
        return
    others = load_relaxed(cython.address(worker.shared.backends[backend].waiters))
    others &= ~(cython.cast(uint64_t, 1) << worker.index)
    for at in range(64):
        # From the next one on, so that no worker is always asked first.
        if (others >> ((worker.index + at) & 63)) & 1:
            eventfd_write(worker.shared.wake_fds[(worker.index + at) & 63], 1)
            return


def wake_first(worker, queue):
    at: uint32_t
    for at in range(cython.cast(uint32_t, PRIORITIES)):
        if queue.first[at] is not cython.NULL:
            gate_open(worker, queue.first[at])
            return True
    return False


def queues_look(worker):
    queue: cython.pointer[Queue]
    if http_of(worker) is cython.NULL:
        return
    queue = http_of(worker).waited_for
    while queue is not cython.NULL:
        wake_first(worker, queue)
        queue = queue.next
