"""Hedging: a request that is not answered in time is sent to a second server too.

The slowest answers of a service mostly have nothing to do with the request: a pause, a queue, a
lost packet. Where a first server has not begun to answer after the time that most answers take, a
second one has probably answered before it (Dean and Barroso, The Tail at Scale, 2013). The first
answer wins, and the other try is cancelled: its connection is closed, or its stream reset.

The hedge is an aside until its answer's head has come; then its connection, its place at its server
and what it has read become the stream's, as if it had been the only try. So beyond this file nobody
knows of two servers.

The delay is a time, or follows the answers: pN is the time that N percent of them stay below. It
is learnt from each answer by a small step up or down (Ma, Muthukrishnan and Sandler, Frugal
Streaming, 2013), which needs one word and to know only whether an answer took longer: that is known
of a cancelled one as well.

Laws: only what may be repeated and is still whole is sent twice, at most once in a request's life
at a time, and only by leave of the retry budget; it counts among the tries, and at its server like
any request. Nobody is hedged while others wait for a server. An answer that is worth another try
never wins against a server that may still answer. A first try that fails is replaced by its hedge.
"""

import cython
from cython.cimports.fourseven.balancing.ewma import ewma_update
from cython.cimports.fourseven.l7.aside import (
    ASIDE_DONE,
    WANTS_HEAD,
    Aside,
    aside_close,
    aside_go,
    aside_new,
)
from cython.cimports.fourseven.l7.attempt import leave_server
from cython.cimports.fourseven.l7.breaker import breaker_said
from cython.cimports.fourseven.l7.copied import copyable, request_copied
from cython.cimports.fourseven.l7.hedge import HEDGE_ARMED, HEDGE_NONE, HEDGE_OUT, HEDGE_STEPS
from cython.cimports.fourseven.l7.records import Stream, Upstream, due_ms, slot_of
from cython.cimports.fourseven.l7.retry import budget_grants, repeatable
from cython.cimports.fourseven.l7.stream import stream_reread
from cython.cimports.fourseven.native.atomics import (
    count,
    load_i64,
    load_relaxed,
    store_relaxed,
)
from cython.cimports.fourseven.snapshot.layout import TRIED_MAX, Resilience
from cython.cimports.fourseven.worker.judged import server_did
from cython.cimports.fourseven.worker.tools import run_again, timer_set
from cython.cimports.libc.stdint import uint32_t, uint64_t

NS_PER_MS = cython.declare(uint64_t, 1000000)
LEARNT_MIN_NS = cython.declare(uint64_t, 100000)  # the steps of less would be nothing


def hedge_arm(worker, session, answer_due_ms):
    stream: cython.pointer[Stream] = session.stream
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    after_ms: uint64_t = rules.hedge_ms
    if rules.hedge_percent:
        after_ms = load_relaxed(cython.address(stream.backend_state.hedge_ns))
        if after_ms:
            after_ms = after_ms // NS_PER_MS + 1
    if after_ms == 0 or stream.hedge != HEDGE_NONE or not hedgeable(stream):
        return answer_due_ms
    if worker.now_ms + after_ms >= answer_due_ms:
        return answer_due_ms
    stream.hedge = HEDGE_ARMED
    return worker.now_ms + after_ms


def hedgeable(stream):
    if not stream.replayable or not stream.request.done or stream.upgrade:
        return False
    return stream.tries < stream.backend.retries and repeatable(stream)


def hedge_due(worker, session, upstream):
    stream: cython.pointer[Stream] = session.stream
    aside: cython.pointer[Aside]
    stream.hedge = HEDGE_NONE
    timer_set(
        worker,
        cython.address(upstream.timer),
        due_ms(upstream, stream.sent_ns // NS_PER_MS + upstream.response_timeout_ms),
    )
    if not copyable(session) or not hedgeable(stream):
        return
    if upstream.in_.buffer is not cython.NULL and upstream.in_.buffer.end > 0:
        return  # the answer has begun
    if load_i64(cython.address(stream.backend_state.waiting)) > 0:
        return
    if not budget_grants(worker, stream) or not stream_reread(worker, session):
        return
    aside = second_try(worker, session)
    if aside is cython.NULL:
        return
    stream.gate_own = aside
    stream.hedge = HEDGE_OUT
    stream.tries += 1
    count(cython.address(worker.backend_counters[stream.backend_number].hedges), 1)
    if stream.backend.resilience.hedge_percent:
        learn(stream.backend_state, stream.backend.resilience, worker.now_ns - stream.sent_ns)


def second_try(worker, session):
    """On its way to a server that has not been tried; NULL: there is none."""
    stream: cython.pointer[Stream] = session.stream
    other: cython.pointer[Stream]
    aside: cython.pointer[Aside] = cython.NULL
    at: uint32_t
    request = request_copied(worker, session, stream.backend, cython.NULL)
    if request is cython.NULL:
        return aside
    aside = aside_new(worker, session, stream.backend, request)
    if aside is cython.NULL:
        return aside
    other = aside.session.stream
    for at in range(stream.tried_count):
        remember(other, stream.tried[at])
    remember(other, stream.slot)
    aside.wants = WANTS_HEAD
    aside.told = hedge_told
    if not aside_go(worker, aside):
        return cython.NULL
    return aside


def remember(stream, slot):
    if stream.tried_count < TRIED_MAX:
        stream.tried[stream.tried_count] = slot
        stream.tried_count += 1


def hedge_told(worker, aside):
    """Its answer's head has come before that of the first server; or it has failed."""
    session = aside.asker
    stream: cython.pointer[Stream] = session.stream
    status: uint32_t = aside.response.status
    if aside.result == ASIDE_DONE and wanted(stream, status):
        count(cython.address(worker.backend_counters[stream.backend_number].hedges_won), 1)
        too_slow(worker, stream)
        hedge_takes_over(worker, session)
        run_again(worker, cython.address(session.source))
        return
    if aside.result == ASIDE_DONE:
        server_did(worker, aside.session.stream.slot, status < 500)
        breaker_said(worker, aside.session.stream, status < 500)
    remember(stream, aside.session.stream.slot)
    hedge_end(worker, session)


def too_slow(worker, stream):
    """The first server is judged by the time that it has had, or one that is always overtaken would
    look as quick as the few answers that it gave in time."""
    took_ns: uint64_t
    if stream.sent_ns == 0:
        return
    took_ns = worker.now_ns - stream.sent_ns
    counters = cython.address(worker.slot_counters[stream.slot])
    ewma_update(slot_of(worker, stream.slot), took_ns, worker.now_ns)
    count(cython.address(counters.tries), 1)
    count(cython.address(counters.latency_ns), took_ns)


def wanted(stream, status):
    """No: a further try would be worth more than this answer."""
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    at: uint32_t
    for at in range(rules.status_count):
        if rules.statuses[at] == status:
            return False
    return True


def hedge_takes_over(worker, session):
    stream: cython.pointer[Stream] = session.stream
    aside: cython.pointer[Aside] = cython.cast(cython.pointer[Aside], stream.gate_own)
    other: cython.pointer[Stream] = aside.session.stream
    upstream: cython.pointer[Upstream] = other.upstream
    stream.gate_own = cython.NULL
    stream.hedge = HEDGE_NONE
    remember(stream, stream.slot)
    leave_server(worker, stream)
    stream.slot = other.slot
    stream.backend_state = other.backend_state
    stream.in_flight = 1
    stream.probe = other.probe
    stream.reserved = other.reserved
    stream.stale = other.stale
    stream.sent = other.sent
    stream.picked_ns = other.picked_ns
    stream.connected_ns = other.connected_ns
    stream.sent_ns = other.sent_ns
    stream.tls_fault = 0
    stream.upstream = upstream
    upstream.session = session
    if stream.sent_ns == 0:  # what is left of it is sent as any other
        upstream.out = aside.request
        aside.request = cython.NULL
    other.upstream = cython.NULL
    other.in_flight = 0
    other.probe = 0
    other.reserved = 0
    aside_close(worker, aside)


def hedge_answered(worker, session):
    stream: cython.pointer[Stream] = session.stream
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    if rules.hedge_percent and stream.hedge != HEDGE_OUT and stream.sent_ns:
        learn(stream.backend_state, rules, worker.now_ns - stream.sent_ns)
    hedge_end(worker, session)


def hedge_end(worker, session):
    stream: cython.pointer[Stream] = session.stream
    if stream.hedge == HEDGE_OUT:
        aside_close(worker, cython.cast(cython.pointer[Aside], stream.gate_own))
        stream.gate_own = cython.NULL
    stream.hedge = HEDGE_NONE


def learn(state, rules, took_ns):
    """Answers above and below hold the balance where `hedge_percent` of them are below."""
    before: uint64_t = load_relaxed(cython.address(state.hedge_ns))
    after: uint64_t = took_ns
    if before:
        if took_ns > before:
            after = before + before * rules.hedge_percent // (100 * HEDGE_STEPS)
        else:
            after = before - before * (100 - rules.hedge_percent) // (100 * HEDGE_STEPS)
    if after < LEARNT_MIN_NS:
        after = LEARNT_MIN_NS
    store_relaxed(cython.address(state.hedge_ns), after)
