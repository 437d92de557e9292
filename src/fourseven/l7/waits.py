"""What a session waits for, and until when: its one timer, and what its end means.

A session that can go no further says what it waits for (records.Waiting). Each kind of waiting has
a time of its own, which begins when the kind changes or something moves. A body is judged by its
rate, so that a slow but honest client is served and one that trickles is not.

Laws: every wait has an end. The timer is put off far more often than it fires (worker.tools).
"""

import cython
from cython.cimports.fourseven.l7.answer import stream_refuse
from cython.cimports.fourseven.l7.http2 import http2_timer
from cython.cimports.fourseven.l7.records import (
    BODY_WINDOW_MS,
    LINGER_MS,
    REGISTER_MS,
    SESSION_EXCHANGE,
    SESSION_GATE,
    SESSION_HEAD,
    SESSION_HTTP2,
    SESSION_LINGER,
    SESSION_PREFIX,
    SESSION_TUNNEL,
    WAIT_BODY,
    WAIT_CLIENT,
    WAIT_CLOSE,
    WAIT_GATE,
    WAIT_HEAD,
    WAIT_NOTHING,
    WAIT_REQUEST,
    WAIT_SERVER,
    WAIT_TUNNEL,
    Session,
    coded_unsent,
    session_of_timer,
    session_unsent,
    upstream_unsent,
)
from cython.cimports.fourseven.l7.session import (
    session_close,
    session_run,
)
from cython.cimports.fourseven.l7.stream import (
    stream_clear,
)
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.worker.tools import (
    timer_put_off,
    timer_set,
    watch,
)
from cython.cimports.fourseven.worker.worker import REASON_BODY_TIME, REASON_HEAD_TIME, Worker
from cython.cimports.libc.stdint import uint8_t, uint64_t


def settle(worker, session):
    """Before it sleeps: what does it wait for, until when, and must epoll tell of its socket?"""
    waiting: uint8_t
    if session.outward:
        return  # `trunk` has its times, and epoll knows it
    waiting = waits_for(worker, session)
    if waiting != session.waiting:
        session.waiting = waiting
        wait_begin(worker, session)
    if waiting != WAIT_SERVER and not session.source.registered:
        if watch(worker, cython.address(session.source)) != 0:
            count(cython.address(worker.counters.memory_refused), 1)
            session_close(worker, session)


def wait_begin(worker, session):
    if session.waiting == WAIT_NOTHING:
        return
    if session.waiting == WAIT_BODY:
        session.window_start_ms = worker.now_ms
        session.window_bytes = 0
        timer_set(worker, cython.address(session.timer), body_due_ms(session))
        return
    timer_put_off(
        worker,
        cython.address(session.timer),
        worker.now_ms + patience_ms(session, session.waiting),
    )


def body_due_ms(session):
    """When the body is looked at: at the end of its rate window, or of its whole time."""
    due_ms: uint64_t = session.window_start_ms + BODY_WINDOW_MS
    if session.body_due_ms != 0 and session.body_due_ms < due_ms:
        return session.body_due_ms
    return due_ms


def waits_for(worker, session):
    if session.state == SESSION_EXCHANGE:
        if session_unsent(session) or client_blocks(session):
            return WAIT_CLIENT
        if body_awaited(session):
            return WAIT_BODY
        return WAIT_NOTHING if session.source.registered else WAIT_SERVER
    if session.state == SESSION_TUNNEL:
        return WAIT_TUNNEL
    if session.state == SESSION_GATE:
        return WAIT_GATE
    if session.state == SESSION_HTTP2:
        return http2_waits_for(session)
    if session.lane is not cython.NULL and session.state == SESSION_HEAD:
        return WAIT_CLIENT  # the last of its answer has no room yet
    if session.state == SESSION_LINGER:
        return WAIT_CLOSE
    if session.state == SESSION_PREFIX:
        return WAIT_BODY
    if session_unsent(session):
        return WAIT_CLIENT
    if session.in_.buffer is not cython.NULL or session.requests == 0:
        return WAIT_HEAD
    return WAIT_REQUEST


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def http2_waits_for(session: cython.pointer[cython.const[Session]]) -> uint8_t:
    if session_unsent(session):
        return WAIT_CLIENT
    if session.http2.building.lane is not cython.NULL or not session.http2.greeted:
        return WAIT_HEAD
    return WAIT_REQUEST if session.http2.lane_count == 0 else WAIT_NOTHING


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def client_blocks(session: cython.pointer[cython.const[Session]]) -> cython.bint:
    """A piece of the response is ready and the client's socket was full."""
    if session.stream.upstream is cython.NULL or not session.stream.response_begun:
        return False
    if session.stream.shape is not cython.NULL:
        if session.stream.shape.stiff & 1:
            return False  # it is we who hold it back
        if coded_unsent(session.stream.shape):
            return True
    if session.stream.upstream.in_.ready > 0:
        return True
    return session.stream.upstream.pipe is not cython.NULL and session.stream.upstream.pipe.held > 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def body_awaited(session: cython.pointer[cython.const[Session]]) -> cython.bint:
    """The request's body is not complete, and the server would take more of it."""
    if session.stream.request.done or session.stream.upstream is cython.NULL:
        return False
    return not upstream_unsent(session.stream.upstream) and session.in_.ready == 0


def patience_ms(session, waiting):
    stored: uint64_t = 10000  # of a listener that the file no longer names
    plan = session.listener.plan
    if waiting == WAIT_CLOSE:
        return LINGER_MS
    if waiting == WAIT_GATE:
        if session.stream.gate_due_ms <= session.listener.worker.now_ms:
            return 0
        return session.stream.gate_due_ms - session.listener.worker.now_ms
    if waiting == WAIT_SERVER:
        return REGISTER_MS
    if plan is cython.NULL:
        return stored
    if waiting == WAIT_REQUEST:
        return plan.idle_timeout_ms
    if waiting == WAIT_HEAD:
        return plan.head_timeout_ms
    if waiting == WAIT_CLIENT:
        return plan.send_timeout_ms
    return plan.tunnel_timeout_ms


def session_timer(worker, timer):
    session: cython.pointer[Session] = session_of_timer(timer)
    if session.waiting == WAIT_NOTHING:
        return
    if session.state == SESSION_HTTP2:
        http2_timer(worker, session)
        return
    if session.waiting == WAIT_GATE:
        session.stream.gate_ready = 1
        session_run(worker, session)
        return
    if session.waiting == WAIT_SERVER:
        settle_watched(worker, session)
        return
    if session.waiting == WAIT_BODY:
        body_timer(worker, session)
        return
    if session.waiting == WAIT_HEAD and session.in_.buffer is not cython.NULL:
        count(cython.address(worker.counters.timeouts_head), 1)
        if stream_clear(worker, session):
            stream_refuse(worker, session, 408, REASON_HEAD_TIME)
            session_run(worker, session)
        return
    if session.waiting == WAIT_CLIENT:
        count(cython.address(worker.counters.timeouts_send), 1)
    else:
        count(cython.address(worker.counters.timeouts_idle), 1)
    session_close(worker, session)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def settle_watched(worker: cython.pointer[Worker], session: cython.pointer[Session]) -> cython.void:
    session.waiting = WAIT_NOTHING
    if watch(worker, cython.address(session.source)) != 0:
        session_close(worker, session)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def may_rest(worker: cython.pointer[Worker], session: cython.pointer[Session]) -> cython.bint:
    """A call of gRPC: its messages come when they come. It rests like a tunnel, no longer."""
    if session.lane is cython.NULL or not session.lane.grpc:
        return False
    if session.stream.upstream is cython.NULL or session.stream.upstream.lane is cython.NULL:
        return False
    if session.stream.response_begun:
        return True  # its server has a time of its own (upstream.begin)
    rested_ms: uint64_t = worker.now_ms - session.window_start_ms
    return session.window_bytes > 0 or rested_ms < patience_ms(session, WAIT_TUNNEL)


def body_timer(worker, session):
    """A body that comes slower than the minimum rate, or takes longer than it may, ends in 408."""
    plan = session.listener.plan
    wanted: uint64_t = 1  # of a listener that the file no longer names: at least something
    if plan is not cython.NULL:
        wanted = cython.cast(uint64_t, plan.body_rate_min) * BODY_WINDOW_MS // 1000
    late: cython.bint = session.body_due_ms != 0 and worker.now_ms >= session.body_due_ms
    whole: cython.bint = worker.now_ms >= session.window_start_ms + BODY_WINDOW_MS
    if (late or whole) and may_rest(worker, session):
        if session.window_bytes > 0:
            session.window_start_ms = worker.now_ms
            session.window_bytes = 0
        timer_set(worker, cython.address(session.timer), worker.now_ms + BODY_WINDOW_MS)
        return
    if late or (whole and session.window_bytes < wanted):
        count(cython.address(worker.counters.timeouts_body), 1)
        stream_refuse(worker, session, 408, REASON_BODY_TIME)
        session_run(worker, session)
        return
    if whole:
        session.window_start_ms = worker.now_ms
        session.window_bytes = 0
    timer_set(worker, cython.address(session.timer), body_due_ms(session))
