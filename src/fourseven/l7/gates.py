"""Gates: filters that look at a request on its way, and may answer it or hold it up.

A route has them in the order of the file, and they are asked before its backend is chosen or its
action answers: is the client allowed, has it asked too often, is there room. A gate says pass,
answered, or wait; one that waits is asked again when its time is up or `gate_open` was called. Then
the head is read anew, as for another try at a server.

A new gate is one file (l7/gate_*.py) with its functions, a number in snapshot.layout.GateKind, one
line in `gates_prepare`, and a filter that lowers to a plan.GatePlan.

Laws: a gate touches its own state and this request, nothing else. What it keeps over a snapshot
stands behind a GateState, whose `users` counts the streams that still point there. Every wait has
an end.
"""

import cython
from cython.cimports.fourseven.l7.answer import stream_refuse
from cython.cimports.fourseven.l7.gate_access import access_ask
from cython.cimports.fourseven.l7.gate_adaptive import adaptive_ask, adaptive_end
from cython.cimports.fourseven.l7.gate_bandwidth import bandwidth_ask
from cython.cimports.fourseven.l7.gate_basic import basic_ask, basic_left
from cython.cimports.fourseven.l7.gate_body import body_ask
from cython.cimports.fourseven.l7.gate_compress import compress_ask
from cython.cimports.fourseven.l7.gate_concurrency import concurrency_ask, concurrency_end
from cython.cimports.fourseven.l7.gate_cors import cors_ask
from cython.cimports.fourseven.l7.gate_fault import fault_ask
from cython.cimports.fourseven.l7.gate_forward import forward_ask, forward_left
from cython.cimports.fourseven.l7.gate_mirror import mirror_ask
from cython.cimports.fourseven.l7.gate_rate import rate_ask
from cython.cimports.fourseven.l7.gate_token import token_ask, token_prepare
from cython.cimports.fourseven.l7.gates import (
    GATE_PASS,
    GATE_WAIT,
    Gate,
    GateForm,
    Held,
)
from cython.cimports.fourseven.l7.output import Output, put, put_span, put_text
from cython.cimports.fourseven.l7.passwords import passwords_prepare
from cython.cimports.fourseven.l7.records import (
    HELD_MAX,
    SESSION_GATE,
    SESSION_HEAD,
    WAIT_NOTHING,
    Stream,
)
from cython.cimports.fourseven.l7.renew import stream_renew
from cython.cimports.fourseven.l7.stream import stream_go_on, stream_reread
from cython.cimports.fourseven.l7.verified import verified_prepare
from cython.cimports.fourseven.native.atomics import fetch_add_i64
from cython.cimports.fourseven.snapshot.layout import (
    GATE_ACCESS,
    GATE_ADAPTIVE,
    GATE_BANDWIDTH,
    GATE_BASIC,
    GATE_BODY,
    GATE_COMPRESS,
    GATE_CONCURRENCY,
    GATE_CORS,
    GATE_FAULT,
    GATE_FORWARD,
    GATE_MIRROR,
    GATE_RATE,
    GATE_TOKEN,
)
from cython.cimports.fourseven.worker.tools import buffer_small, run_again
from cython.cimports.fourseven.worker.worker import REASON_RELOADED, Buffer
from cython.cimports.libc.stdint import int32_t, uint32_t

KINDS_MAX = cython.declare(cython.int, 64)
GATES = cython.declare(GateForm[64])


def gates_prepare():
    """The functions of each kind."""
    GATES[cython.cast(cython.int, GATE_ACCESS)].ask = access_ask
    GATES[cython.cast(cython.int, GATE_CORS)].ask = cors_ask
    GATES[cython.cast(cython.int, GATE_BASIC)].ask = basic_ask
    GATES[cython.cast(cython.int, GATE_BASIC)].left = basic_left
    GATES[cython.cast(cython.int, GATE_TOKEN)].ask = token_ask
    GATES[cython.cast(cython.int, GATE_FORWARD)].ask = forward_ask
    GATES[cython.cast(cython.int, GATE_FORWARD)].left = forward_left
    token_prepare()
    passwords_prepare()
    verified_prepare()
    GATES[cython.cast(cython.int, GATE_RATE)].ask = rate_ask
    GATES[cython.cast(cython.int, GATE_CONCURRENCY)].ask = concurrency_ask
    GATES[cython.cast(cython.int, GATE_CONCURRENCY)].end = concurrency_end
    GATES[cython.cast(cython.int, GATE_ADAPTIVE)].ask = adaptive_ask
    GATES[cython.cast(cython.int, GATE_ADAPTIVE)].end = adaptive_end
    GATES[cython.cast(cython.int, GATE_FAULT)].ask = fault_ask
    GATES[cython.cast(cython.int, GATE_BODY)].ask = body_ask
    GATES[cython.cast(cython.int, GATE_MIRROR)].ask = mirror_ask
    GATES[cython.cast(cython.int, GATE_COMPRESS)].ask = compress_ask
    GATES[cython.cast(cython.int, GATE_BANDWIDTH)].ask = bandwidth_ask


def gates_pass(worker, session):
    stream: cython.pointer[Stream] = session.stream
    gate: cython.pointer[cython.const[Gate]]
    result: int32_t
    while stream.gate < stream.route.gate_count:
        gate = cython.address(stream.route.gates[stream.gate])
        result = GATES[gate.kind & 63].ask(worker, session, gate)
        if result == GATE_WAIT:
            stream.gate_ready = 0
            session.state = SESSION_GATE
            session.waiting = WAIT_NOTHING  # its time begins anew
            return False
        if result != GATE_PASS:
            return False
        leave_wait(worker, session)
        stream.gate += 1
    if not stream.gated_ns:
        stream.gated_ns = worker.now_ns
    return True


def gate_step(worker, session):
    stream: cython.pointer[Stream] = session.stream
    if not stream.gate_ready:
        return False
    session.state = SESSION_HEAD
    if not stream_reread(worker, session):
        stream_refuse(worker, session, 503, REASON_RELOADED)
        return True
    stream_renew(worker, session)
    if gates_pass(worker, session):
        stream_go_on(worker, session)
    return session.state != SESSION_GATE


def gates_leave(worker, session):
    stream: cython.pointer[Stream] = session.stream
    held: cython.pointer[Held]
    at: uint32_t
    leave_wait(worker, session)
    for at in range(stream.held_count):
        held = cython.address(stream.held[at])
        if GATES[held.kind & 63].end is not cython.NULL:
            GATES[held.kind & 63].end(worker, session, held)
        if held.state is not cython.NULL:
            fetch_add_i64(cython.address(held.state.users), -1)
    stream.held_count = 0


def leave_wait(worker, session):
    """The gate that held it up is done with it."""
    stream: cython.pointer[Stream] = session.stream
    kind: uint32_t
    if stream.gate_step == 0:
        return
    stream.gate_step = 0
    if stream.route is not cython.NULL and stream.gate < stream.route.gate_count:
        kind = stream.route.gates[stream.gate].kind & 63
        if GATES[kind].left is not cython.NULL:
            GATES[kind].left(worker, session)


def gate_open(worker, session):
    session.stream.gate_ready = 1
    run_again(worker, cython.address(session.source))


def gate_hold(worker, session, gate, note):
    stream: cython.pointer[Stream] = session.stream
    held: cython.pointer[Held]
    if stream.held_count == HELD_MAX:
        return False
    held = cython.address(stream.held[stream.held_count])
    stream.held_count += 1
    held.kind = gate.kind
    held.state = gate.state
    held.since_ns = worker.now_ns
    held.note = note
    if held.state is not cython.NULL:
        fetch_add_i64(cython.address(held.state.users), 1)
    return True


def gate_say(worker, session, name, value, size):
    if session.stream.said is cython.NULL:
        session.stream.said = buffer_small(worker)
    return put_line(session.stream.said, name, value, size)


def gate_tell(worker, session, name, value, size):
    if session.stream.told is cython.NULL:
        session.stream.told = buffer_small(worker)
    return put_line(session.stream.told, name, value, size)


def gate_tell_span(worker, session, name, value):
    """The name comes from the file: its text has no end but its size."""
    text = cython.declare(cython.char[132])
    to: Output = Output(at=cython.address(text[0]), size=0, capacity=131, full=0)
    put_span(cython.address(to), name)
    text[to.size] = 0
    return not to.full and gate_tell(worker, session, to.at, value.at, value.size)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_line(
    buffer: cython.pointer[Buffer],
    name: cython.p_const_char,
    value: cython.p_const_char,
    size: uint32_t,
) -> cython.bint:
    """A whole line, or nothing."""
    to = cython.declare(Output)
    if buffer is cython.NULL:
        return False
    to = Output(at=buffer.at, size=buffer.end, capacity=buffer.capacity, full=0)
    put_text(cython.address(to), name)
    put_text(cython.address(to), b": ")
    put(cython.address(to), value, size)
    put_text(cython.address(to), b"\r\n")
    if to.full:
        return False
    buffer.end = to.size
    return True
