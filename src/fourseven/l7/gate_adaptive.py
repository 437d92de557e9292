"""The gate of adaptive concurrency: a limit for all requests of a route, that follows the latency.

Each request that a server answered leaves a sample: from this gate to the head of the answer. At
the end of a window one worker takes the samples of all and asks balancing.gradient for the next
limit.

Laws: nobody enters above the limit of the moment, whichever worker asks. A client that left tells
nothing of the service; a try that failed or timed out counts with the time that it took. Sums are
taken without a lock, so a sample may fall into the next window; none is lost.
"""

import cython
from cython.cimports.fourseven.balancing.gradient import long_latency, next_limit
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.gate_adaptive import (
    ADAPTIVE_MAX,
    ADAPTIVE_MIN,
    ADAPTIVE_SAMPLES_MIN,
    ADAPTIVE_START,
    ADAPTIVE_TOLERANCE,
    ADAPTIVE_WINDOW_MS,
    Adaptive,
)
from cython.cimports.fourseven.l7.gates import GATE_ANSWERED, GATE_PASS, gate_hold
from cython.cimports.fourseven.l7.records import Stream
from cython.cimports.fourseven.native.atomics import (
    fetch_add,
    load_relaxed,
    store_relaxed,
    store_release_u32,
    swap_if,
    swap_if_u32,
)
from cython.cimports.fourseven.worker.tools import monotonic_ns
from cython.cimports.fourseven.worker.worker import REASON_ADAPTIVE, REASON_CLIENT_LEFT
from cython.cimports.libc.stdint import uint64_t

ALL_ONES = cython.declare(uint64_t, 0xFFFFFFFFFFFFFFFF)
NS_PER_MS = cython.declare(uint64_t, 1000000)


def adaptive_ask(worker, session, gate):
    state: cython.pointer[Adaptive] = cython.cast(cython.pointer[Adaptive], gate.state)
    limit: uint64_t = load_relaxed(cython.address(state.limit))
    if limit == 0:
        limit = gate.numbers[ADAPTIVE_START]
        swap_if(cython.address(state.limit), 0, limit)
    store_relaxed(cython.address(state.low), gate.numbers[ADAPTIVE_MIN])
    store_relaxed(cython.address(state.high), gate.numbers[ADAPTIVE_MAX])
    store_relaxed(cython.address(state.window_ns), gate.numbers[ADAPTIVE_WINDOW_MS] * NS_PER_MS)
    store_relaxed(cython.address(state.tolerance), gate.numbers[ADAPTIVE_TOLERANCE])
    if adaptive_enter(state, limit):
        if gate_hold(worker, session, gate, 0):
            return GATE_PASS
        fetch_add(cython.address(state.in_flight), ALL_ONES)
    answer(worker, session, 503, REASON_ADAPTIVE)
    return GATE_ANSWERED


def adaptive_enter(state, most):
    before: uint64_t
    peak: uint64_t
    while True:
        before = load_relaxed(cython.address(state.in_flight))
        if before >= most:
            store_relaxed(cython.address(state.peak), before)
            return False
        if swap_if(cython.address(state.in_flight), before, before + 1):
            break
    peak = load_relaxed(cython.address(state.peak))
    if before + 1 > peak:
        swap_if(cython.address(state.peak), peak, before + 1)
    return True


def adaptive_end(worker, session, held):
    state: cython.pointer[Adaptive] = cython.cast(cython.pointer[Adaptive], held.state)
    stream: cython.pointer[Stream] = session.stream
    now_ns: uint64_t
    ended_ns: uint64_t
    fetch_add(cython.address(state.in_flight), ALL_ONES)
    if not stream.backed or (stream.reason == REASON_CLIENT_LEFT and stream.first_ns == 0):
        return
    now_ns = monotonic_ns()
    ended_ns = stream.first_ns if stream.first_ns > held.since_ns else now_ns
    fetch_add(cython.address(state.sum_ns), ended_ns - held.since_ns)
    fetch_add(cython.address(state.samples), 1)
    if now_ns >= load_relaxed(cython.address(state.window_end_ns)):
        adaptive_window(state, now_ns)


def adaptive_window(state, now_ns):
    """The window is over: whoever sees it first counts it."""
    sum_ns: uint64_t
    samples: uint64_t
    short_ns: cython.double
    tolerance: cython.double
    if not swap_if_u32(cython.address(state.lock), 0, 1):
        return
    samples = load_relaxed(cython.address(state.samples))
    sum_ns = load_relaxed(cython.address(state.sum_ns))
    if state.window_end_ns <= now_ns:
        if samples >= ADAPTIVE_SAMPLES_MIN and state.window_end_ns != 0:
            short_ns = cython.cast(cython.double, sum_ns) / cython.cast(cython.double, samples)
            tolerance = cython.cast(cython.double, state.tolerance) / 100.0
            state.long_ns = long_latency(state.long_ns, short_ns, state.windows, tolerance)
            state.windows += 1.0
            if state.exact < 1.0:
                state.exact = cython.cast(cython.double, state.limit)
            state.exact = next_limit(
                state.exact,
                short_ns,
                state.long_ns,
                cython.cast(cython.double, load_relaxed(cython.address(state.peak))),
                tolerance,
                cython.cast(cython.double, state.low),
                cython.cast(cython.double, state.high),
            )
            store_relaxed(cython.address(state.limit), cython.cast(uint64_t, state.exact))
            fetch_add(cython.address(state.sum_ns), ~sum_ns + 1)
            fetch_add(cython.address(state.samples), ~samples + 1)
            store_relaxed(cython.address(state.peak), load_relaxed(cython.address(state.in_flight)))
        store_relaxed(cython.address(state.window_end_ns), now_ns + state.window_ns)
    store_release_u32(cython.address(state.lock), 0)
