"""A connection of HTTP/2: its frames, its lanes, its fault budget, its end.

libnghttp2 reads and writes the frames (RFC 9113, HPACK, flow control). Each stream is a lane
(`lane`): a session without a socket, to which the engine speaks as to a client of HTTP/1.1. So a
request of HTTP/2 goes through the very phases, limits and readers that one of HTTP/1.1 does, and
there is nothing that only one of them refuses.

Output is pulled by the library and pushed by the engine; both meet in one call: the lane offers its
bytes, the library is asked to send, and takes of them what the windows and the socket's buffer
allow. No byte of a body is kept between; what is not taken stops the reading of the server. Frames
of all lanes gather in one buffer, which is written at the end of the turn.

The fault budget: what costs us more than it costs a client (resets, floods of small frames, streams
that we had to reset) costs points; answers, bytes of bodies and time earn them back. A spent budget
ends the connection with ENHANCE_YOUR_CALM. It stands against Rapid Reset (CVE-2023-44487),
MadeYouReset (CVE-2025-8671), floods of PING, SETTINGS, PRIORITY, WINDOW_UPDATE, CONTINUATION and
empty DATA, whatever their mixture.

Laws: the library is never called from within its own callbacks, but for what it permits there
(submit, consume). Lanes run after it has returned. What a connection can make us keep is bounded:
by CONNECTION_WINDOW, by the count of streams, by one head at a time, and by one output buffer.

What it does not do: server push, priorities (RFC 9218 lets a server ignore them), h2c by Upgrade.
"""

import cython
from cython.cimports.fourseven.l7.call import call_lost, call_run
from cython.cimports.fourseven.l7.http2 import (
    CONNECTION_WINDOW,
    DEBT_MAX,
    DEBT_MAX_SERVER,
    DEBT_RATE,
    GOAWAY_SIZE,
    PREFACE_SIZE,
)
from cython.cimports.fourseven.l7.http2_frames import frames_prepare
from cython.cimports.fourseven.l7.http2_head import (
    head_forget,
)
from cython.cimports.fourseven.l7.lane import lane_refuse
from cython.cimports.fourseven.l7.records import (
    BLOCKED_NOT,
    BLOCKED_SOCKET,
    SESSION_HTTP2,
    WAIT_CLIENT,
    WAIT_HEAD,
    WAIT_NOTHING,
    Http,
    Http2,
    Lane,
    Session,
    http_of,
    session_unsent,
)
from cython.cimports.fourseven.l7.session import (
    READ_LATER,
    end,
    session_close,
    session_flush,
    session_receive,
    session_run,
)
from cython.cimports.fourseven.l7.trunk import TRUNK_WINDOW, trunk_leave
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.nghttp2 import (
    NGHTTP2_ENHANCE_YOUR_CALM,
    NGHTTP2_ERR_FLOODED,
    NGHTTP2_ERR_NOMEM,
    NGHTTP2_ERR_TOO_MANY_CONTINUATIONS,
    NGHTTP2_FLAG_NONE,
    NGHTTP2_GOAWAY,
    NGHTTP2_INTERNAL_ERROR,
    NGHTTP2_NO_ERROR,
    NGHTTP2_PROTOCOL_ERROR,
    NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL,
    NGHTTP2_SETTINGS_ENABLE_PUSH,
    NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
    NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
    NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES,
    nghttp2_option,
    nghttp2_option_new,
    nghttp2_option_set_no_auto_window_update,
    nghttp2_option_set_no_closed_streams,
    nghttp2_session,
    nghttp2_session_callbacks,
    nghttp2_session_callbacks_new,
    nghttp2_session_client_new2,
    nghttp2_session_del,
    nghttp2_session_get_last_proc_stream_id,
    nghttp2_session_mem_recv,
    nghttp2_session_send,
    nghttp2_session_server_new2,
    nghttp2_session_set_local_window_size,
    nghttp2_session_terminate_session,
    nghttp2_session_want_read,
    nghttp2_session_want_write,
    nghttp2_settings_entry,
    nghttp2_submit_goaway,
    nghttp2_submit_ping,
    nghttp2_submit_settings,
    nghttp2_submit_shutdown_notice,
)
from cython.cimports.fourseven.snapshot.layout import Listener
from cython.cimports.fourseven.worker.tools import buffer_free, buffer_large, run_late
from cython.cimports.fourseven.worker.worker import Buffer
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcmp, memmove, memset

CALLBACKS = cython.declare(cython.pointer[nghttp2_session_callbacks], cython.NULL)
OPTIONS = cython.declare(cython.pointer[nghttp2_option], cython.NULL)

# ---- begin and end ----


def http2_prepare():
    global CALLBACKS, OPTIONS
    if OPTIONS is not cython.NULL:
        return 0
    if nghttp2_session_callbacks_new(cython.address(CALLBACKS)) != 0:
        raise MemoryError
    frames_prepare(CALLBACKS)
    if nghttp2_option_new(cython.address(OPTIONS)) != 0:
        raise MemoryError
    nghttp2_option_set_no_auto_window_update(OPTIONS, 1)  # windows open as servers take the bytes
    nghttp2_option_set_no_closed_streams(OPTIONS, 1)
    return 0


def http2_open(worker, session):
    settings = cython.declare(nghttp2_settings_entry[4])
    plan: cython.pointer[cython.const[Listener]] = session.listener.plan
    inner: cython.pointer[nghttp2_session] = carry(worker, session)
    if inner is cython.NULL:
        return -1
    settings[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
    settings[0].value = 128 if plan is cython.NULL else plan.streams_max
    settings[1].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
    settings[1].value = 32768 if plan is cython.NULL else plan.head_max
    settings[2].settings_id = NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
    settings[2].value = 1
    settings[3].settings_id = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
    settings[3].value = 1  # no tree of priorities, which has been an attack
    nghttp2_submit_settings(inner, NGHTTP2_FLAG_NONE, settings, 4)
    nghttp2_session_set_local_window_size(inner, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW)
    if worker.draining:
        http2_drain(worker, session, False)
    count(cython.address(worker.counters.http2_sessions), 1)
    return 0


def http2_connect(worker, session):
    settings = cython.declare(nghttp2_settings_entry[1])
    inner: cython.pointer[nghttp2_session] = carry(worker, session)
    if inner is cython.NULL:
        return -1
    settings[0].settings_id = NGHTTP2_SETTINGS_ENABLE_PUSH
    settings[0].value = 0
    nghttp2_submit_settings(inner, NGHTTP2_FLAG_NONE, settings, 1)
    nghttp2_session_set_local_window_size(inner, NGHTTP2_FLAG_NONE, 0, TRUNK_WINDOW)
    return 0


def carry(worker, session):
    """The library's session for this one, in its direction; NULL when there is no memory."""
    inner: cython.pointer[nghttp2_session] = cython.NULL
    failed: cython.int
    http2: cython.pointer[Http2] = cython.cast(
        cython.pointer[Http2], calloc(1, cython.sizeof(Http2))
    )
    if http2 is cython.NULL:
        return inner
    if session.outward:
        failed = nghttp2_session_client_new2(cython.address(inner), CALLBACKS, http2, OPTIONS)
    else:
        failed = nghttp2_session_server_new2(cython.address(inner), CALLBACKS, http2, OPTIONS)
    if failed:
        free(http2)
        return cython.NULL
    http2.inner = inner
    http2.session = session
    http2.worker = worker
    http2.lanes_end = cython.address(http2.lanes)
    http2.ready_end = cython.address(http2.ready)
    http2.debt_ms = worker.now_ms
    http2.outward = session.outward
    session.http2 = http2
    session.state = SESSION_HTTP2
    session.waiting = WAIT_NOTHING
    return inner


def http2_preface(worker, session):
    buffer: cython.pointer[Buffer] = session.in_.buffer
    preface: cython.p_const_char = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    size: uint32_t = buffer.end - buffer.start
    whole: uint32_t = PREFACE_SIZE
    if memcmp(buffer.at + buffer.start, preface, min(size, whole)) != 0:
        return -1
    if size < whole:
        return 0
    if http2_open(worker, session) < 0:
        session.broken = 1
        return 1
    session.in_.buffer = cython.NULL
    feed(worker, session, buffer.at + buffer.start, size)
    buffer_free(worker, buffer)
    return 1


def http2_drop(worker, session):
    http2: cython.pointer[Http2] = session.http2
    http2.over = 1
    head_forget(cython.address(http2.building))
    trunk_leave(http2)
    while http2.lanes is not cython.NULL:
        if http2.outward:
            call_lost(worker, http2.lanes)
        else:
            session_close(worker, cython.address(http2.lanes.session))
    nghttp2_session_del(cython.cast(cython.pointer[nghttp2_session], http2.inner))
    session.http2 = cython.NULL
    free(http2)


def http2_drain(worker, session, now):
    """Two steps, so that no request is lost that is on its way (RFC 9113 6.8).

    `now`: in one, for nobody could serve it; the client is told that it may repeat it elsewhere.
    """
    http2: cython.pointer[Http2] = session.http2
    inner: cython.pointer[nghttp2_session] = cython.cast(
        cython.pointer[nghttp2_session], http2.inner
    )
    if http2.over or http2.draining > now:
        return
    http2.draining = 1 + now
    if now:
        nghttp2_submit_goaway(
            inner,
            NGHTTP2_FLAG_NONE,
            nghttp2_session_get_last_proc_stream_id(inner),
            NGHTTP2_NO_ERROR,
            cython.NULL,
            0,
        )
    else:
        nghttp2_submit_shutdown_notice(inner)
        nghttp2_submit_ping(inner, NGHTTP2_FLAG_NONE, cython.NULL)  # answered: all before has come
    http2_soon(http2)


# ---- one step ----


def http2_step(worker, session):
    http2: cython.pointer[Http2] = session.http2
    moved: cython.bint = session.readable and not http2.over
    http2.running = 1
    if moved:
        read_step(worker, session)
    if not session.broken and not http2.over:
        moved |= run_ready(worker, http2)
        flush(worker, session)
        moved |= http2.ready is not cython.NULL
    http2.running = 0
    if session.broken:
        return True
    if http2.over or is_over(http2):
        finish(worker, session)
        return False
    return moved


def read_step(worker, session):
    """One read of the socket, into the worker's room; the library takes all of it."""
    http: cython.pointer[Http] = http_of(worker)
    size: int32_t = session_receive(
        worker, session, cython.address(http.out[0]), cython.sizeof(http.out)
    )
    if size > 0:
        session.http2.heard_ms = worker.now_ms
        feed(worker, session, cython.address(http.out[0]), size)
    elif size != READ_LATER:
        session.broken = 1  # the end, in whatever way: nobody is there to read an answer


def feed(worker, session, at, size):
    http2: cython.pointer[Http2] = session.http2
    result: cython.Py_ssize_t = nghttp2_session_mem_recv(
        cython.cast(cython.pointer[nghttp2_session], http2.inner),
        cython.cast(cython.pointer[cython.const[cython.uchar]], at),
        size,
    )
    if result >= 0:
        return
    if http2.fault == 0:
        http2.fault = NGHTTP2_PROTOCOL_ERROR
        if result == NGHTTP2_ERR_NOMEM:
            http2.fault = NGHTTP2_INTERNAL_ERROR
        elif result == NGHTTP2_ERR_FLOODED or result == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
            http2.fault = NGHTTP2_ENHANCE_YOUR_CALM
    if http2.fault == NGHTTP2_ENHANCE_YOUR_CALM:
        count(cython.address(worker.counters.http2_calmed), 1)
    http2.over = 1


def run_ready(worker, http2):
    """Runs those that had something to do when we began."""
    left: uint32_t = http2.lane_count
    lane: cython.pointer[Lane]
    moved: cython.bint = False
    while left > 0 and http2.ready is not cython.NULL and not http2.session.broken:
        left -= 1
        lane = http2.ready
        http2.ready = lane.next_ready
        if http2.ready is cython.NULL:
            http2.ready_end = cython.address(http2.ready)
        lane.queued = 0
        moved = True
        if http2.outward:
            call_run(worker, lane)
            continue
        if lane.refuse:
            lane_refuse(worker, lane)
        session_run(worker, cython.address(lane.session))
    return moved


def flush(worker, session):
    http2: cython.pointer[Http2] = session.http2
    flushed: int32_t
    if http2.outward and session.hup and session.readable:
        return  # a server that has left: what it said is read first, for a failed write ends us
    http2_output(http2)
    flushed = session_flush(worker, session)
    if flushed < 0:
        session.broken = 1
    elif flushed == 1 and http2.room_wanted:
        http2.room_wanted = 0
        http2_wake(http2, BLOCKED_SOCKET)


def is_over(http2):
    inner: cython.pointer[nghttp2_session] = cython.cast(
        cython.pointer[nghttp2_session], http2.inner
    )
    if session_unsent(http2.session):
        return False
    if http2.draining == 2 and http2.lane_count == 0:
        return True
    return not nghttp2_session_want_read(inner) and not nghttp2_session_want_write(inner)


def finish(worker, session):
    """All is said, or nothing more is to be said to this client."""
    http2: cython.pointer[Http2] = session.http2
    if http2.over and (http2.greeted or not http2.outward):
        say_fault(worker, session)
    http2_drop(worker, session)
    session.lingering = 1  # what it still sends would turn our close into a reset
    session_flush(worker, session)
    if session.broken or session.outward:
        session_close(worker, session)
    else:
        end(worker, session)


def say_fault(worker, session):
    """GOAWAY in our own hand: the library is not to be asked after it failed."""
    http2: cython.pointer[Http2] = session.http2
    buffer: cython.pointer[Buffer]
    at: cython.pointer[cython.uchar]
    shift: cython.int
    last: uint32_t = cython.cast(
        uint32_t,
        nghttp2_session_get_last_proc_stream_id(
            cython.cast(cython.pointer[nghttp2_session], http2.inner)
        ),
    )
    if not http2_room(http2, GOAWAY_SIZE):
        return
    buffer = session.out
    at = cython.cast(cython.pointer[cython.uchar], buffer.at + buffer.end)
    memset(at, 0, GOAWAY_SIZE)
    at[2] = 8
    at[3] = NGHTTP2_GOAWAY
    for shift in range(4):
        at[9 + shift] = (last >> (24 - 8 * shift)) & 255
        at[13 + shift] = (http2.fault >> (24 - 8 * shift)) & 255
    buffer.end += GOAWAY_SIZE


def http2_timer(worker, session):
    http2: cython.pointer[Http2] = session.http2
    if session.waiting == WAIT_CLIENT:
        count(cython.address(worker.counters.timeouts_send), 1)
        session_close(worker, session)
        return
    if session.waiting == WAIT_HEAD:
        count(cython.address(worker.counters.timeouts_head), 1)
    else:
        count(cython.address(worker.counters.timeouts_idle), 1)
    nghttp2_session_terminate_session(
        cython.cast(cython.pointer[nghttp2_session], http2.inner), NGHTTP2_NO_ERROR
    )
    session_run(worker, session)


# ---- lanes ----


def http2_ready(http2, lane):
    if lane.queued:
        return
    lane.queued = 1
    lane.next_ready = cython.NULL
    http2.ready_end[0] = lane
    http2.ready_end = cython.address(lane.next_ready)
    http2_soon(http2)


def http2_soon(http2):
    if not http2.running:
        run_late(http2.worker, cython.address(http2.session.source))


def http2_wake(http2, reason):
    lane: cython.pointer[Lane] = http2.lanes
    while lane is not cython.NULL:
        if lane.blocked == reason:
            lane.blocked = BLOCKED_NOT
            http2_ready(http2, lane)
        lane = lane.next


def http2_charge(http2, points):
    """Time has forgiven some of the debt before new points are added."""
    now_ms: uint64_t = http2.worker.now_ms
    forgiven: uint64_t = (now_ms - http2.debt_ms) * DEBT_RATE // 1000
    if forgiven > 0:
        http2.debt -= cython.cast(uint32_t, min(forgiven, cython.cast(uint64_t, http2.debt)))
        http2.debt_ms = now_ms
    if points < 0:
        http2.debt -= min(http2.debt, cython.cast(uint32_t, -points))
        return False
    http2.debt += cython.cast(uint32_t, points)
    return http2.debt > (DEBT_MAX_SERVER if http2.outward else DEBT_MAX)


# ---- output ----


def http2_output(http2):
    if http2.over or http2.session.broken:
        return
    if nghttp2_session_send(cython.cast(cython.pointer[nghttp2_session], http2.inner)) != 0:
        http2.session.broken = 1


def http2_room(http2, wanted):
    session: cython.pointer[Session] = http2.session
    buffer: cython.pointer[Buffer] = session.out
    if session.broken:
        return False
    if buffer is not cython.NULL and buffer.capacity - buffer.end < wanted:
        if session_flush(http2.worker, session) < 0:
            session.broken = 1
            return False
        buffer = session.out
    if buffer is cython.NULL:
        session.out = buffer_large(http2.worker)
        buffer = session.out
        if buffer is cython.NULL:
            session.broken = 1
            return False
    if buffer.capacity - buffer.end < wanted and buffer.start > 0:
        memmove(buffer.at, buffer.at + buffer.start, buffer.end - buffer.start)
        buffer.end -= buffer.start
        buffer.start = 0
    return buffer.capacity - buffer.end >= wanted
