"""A client's connection: its socket, its buffers, its one timer.

A session is a small state machine (records.SessionState) that runs as far as it can without
waiting, then says what it waits for (records.Waiting) and sleeps. Only this file reads and writes
the client's socket; the phases of a request are in `stream`, bodies in `forward`.

What makes it quick: a new connection is read at once, for the kernel hands it over only when bytes
have come (TCP_DEFER_ACCEPT); it is registered with epoll only when it must wait for its client;
and between requests it holds no buffer.

Laws: edge-triggered, so `readable` stays set until a read comes back short (and no FIN was told),
or says EAGAIN. A closed session's memory lives until the batch is over. Our last words before a
close must reach the client: when it may still be sending, we linger (RFC 9112 9.6), since closing a
socket with unread bytes sends a reset that destroys what we said.
"""

import cython
from cython.cimports.fourseven.l7.aside import aside_step
from cython.cimports.fourseven.l7.gates import gate_step
from cython.cimports.fourseven.l7.http2 import http2_drop, http2_preface, http2_step
from cython.cimports.fourseven.l7.lane import (
    LANE_ROOM_MIN,
    lane_close,
    lane_read,
)
from cython.cimports.fourseven.l7.lane_answer import lane_end, lane_finish, lane_send
from cython.cimports.fourseven.l7.records import (
    LINGER_BYTES_MAX,
    SESSION_ASIDE,
    SESSION_CLOSED,
    SESSION_EXCHANGE,
    SESSION_GATE,
    SESSION_HANDSHAKE,
    SESSION_HEAD,
    SESSION_HTTP2,
    SESSION_LINGER,
    SESSION_PREFIX,
    SESSION_TUNNEL,
    TURNS_MAX,
    WAIT_CLIENT,
    WAIT_NOTHING,
    Http,
    Session,
    http_of,
    session_of_dead,
    session_unsent,
)
from cython.cimports.fourseven.l7.response import exchange_step
from cython.cimports.fourseven.l7.session import (
    READ_BROKEN,
    READ_END,
    READ_LATER,
    READ_NO_MEMORY,
)
from cython.cimports.fourseven.l7.stream import (
    stream_abort,
    stream_begin,
    stream_prefix,
    stream_rest,
)
from cython.cimports.fourseven.l7.tls import (
    tls_flush,
    tls_left,
    tls_open,
    tls_read,
    tls_send,
    tls_step,
)
from cython.cimports.fourseven.l7.trunk import trunk_handshake
from cython.cimports.fourseven.l7.tunnel import tunnel_step
from cython.cimports.fourseven.l7.upstream import upstream_drop
from cython.cimports.fourseven.l7.waits import session_timer, settle
from cython.cimports.fourseven.native.atomics import count, fetch_add_i64
from cython.cimports.fourseven.native.linux import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLRDHUP,
    MSG_NOSIGNAL,
    SHUT_WR,
    close,
    recv,
    send,
    shutdown,
)
from cython.cimports.fourseven.snapshot.layout import PROTOCOL_HTTP2
from cython.cimports.fourseven.worker.secure import secure_drop, secure_finish
from cython.cimports.fourseven.worker.tools import (
    buffer_free,
    buffer_large,
    buffer_small,
    bury,
    run_again,
    timer_clear,
    unwatch,
)
from cython.cimports.fourseven.worker.worker import Buffer
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memcpy, memmove, memset

# ---- open and close ----


def session_open(worker, listener, fd, peer, arrived):
    http: cython.pointer[Http] = http_of(worker)
    session: cython.pointer[Session] = session_new(worker)
    if session is cython.NULL:
        close(fd)
        free(arrived)
        fetch_add_i64(cython.address(listener.state.sessions), -1)
        return
    session.source.fd = fd
    session.source.ready = session_ready
    session.dead.bury = session_bury
    session.timer.fire = session_timer
    session.listener = listener
    session.readable = 1
    session.peer = peer[0]
    session.arrived = arrived
    session.next = http.sessions
    session.link = cython.address(http.sessions)
    if session.next is not cython.NULL:
        session.next.link = cython.address(session.next)
    http.sessions = session
    count(cython.address(worker.counters.sessions_opened), 1)
    if listener.plan.tls is not cython.NULL:
        session.state = SESSION_HANDSHAKE
        session.broken = not tls_open(worker, session)
    session_run(worker, session)


def session_new(worker):
    http: cython.pointer[Http] = http_of(worker)
    session: cython.pointer[Session] = http.free_sessions
    if session is not cython.NULL:
        http.free_sessions = session.next
    else:
        session = cython.cast(cython.pointer[Session], malloc(cython.sizeof(Session)))
        if session is cython.NULL:
            count(cython.address(worker.counters.memory_refused), 1)
            return session
    memset(session, 0, cython.sizeof(Session))
    session.stream = cython.address(http.resting)
    return session


def session_close(worker, session):
    if session.state == SESSION_CLOSED:
        return
    if session.state in (SESSION_EXCHANGE, SESSION_TUNNEL, SESSION_GATE, SESSION_PREFIX):
        stream_abort(worker, session)
    elif session.state == SESSION_HANDSHAKE and not session.outward:
        tls_left(worker, session)
    elif session.tls is not cython.NULL and not session.broken:
        secure_finish(session.tls)
    if session.http2 is not cython.NULL:
        http2_drop(worker, session)
    session.state = SESSION_CLOSED
    while session.kept is not cython.NULL:
        upstream_drop(worker, session.kept)
    unwatch(worker, cython.address(session.source))
    timer_clear(worker, cython.address(session.timer))
    buffer_free(worker, session.in_.buffer)
    buffer_free(worker, session.out)
    session.in_.buffer = cython.NULL
    session.out = cython.NULL
    if session.lane is not cython.NULL:
        lane_close(worker, session)
    else:
        session.link[0] = session.next
        if session.next is not cython.NULL:
            session.next.link = session.link
        if not session.outward:
            fetch_add_i64(cython.address(session.listener.state.sessions), -1)
            count(cython.address(worker.counters.sessions_closed), 1)
    bury(worker, cython.address(session.dead))


def session_bury(worker, dead):
    session: cython.pointer[Session] = session_of_dead(dead)
    http: cython.pointer[Http] = http_of(worker)
    stream_rest(worker, session)
    if session.lane is not cython.NULL:
        session.lane.next = http.free_lanes
        http.free_lanes = session.lane
        return
    free(session.arrived)
    secure_drop(session.tls)
    session.next = http.free_sessions
    http.free_sessions = session


# ---- running ----


def session_ready(worker, source, events):
    session: cython.pointer[Session] = cython.cast(cython.pointer[Session], source)
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        session.readable = 1
    if events & (EPOLLRDHUP | EPOLLHUP):
        session.hup = 1
    if session.tls is not cython.NULL and events:
        session.readable = 1  # a read may have waited for room to write: a key update's answer
    if session.state == SESSION_TUNNEL:
        events &= ~EPOLLHUP  # both halves may be closed, and bytes still unread
    if session.outward and session.state == SESSION_HTTP2:
        events = 0  # a server that resets may have answered whole before: its bytes are read first
    if events & (EPOLLHUP | EPOLLERR) and session.state != SESSION_HEAD:
        session.broken = 1
    session_run(worker, session)


def session_run(worker, session):
    turns: cython.int = 0
    while step(worker, session):
        turns += 1
        if turns == TURNS_MAX:
            run_again(worker, cython.address(session.source))
            break
    if session.state != SESSION_CLOSED:
        settle(worker, session)


def step(worker, session):
    """One step; true when another may follow at once."""
    if session.broken:
        session_close(worker, session)
        return False
    if session.state == SESSION_EXCHANGE:
        return exchange_step(worker, session)
    if session.state == SESSION_HEAD:
        return head_step(worker, session)
    if session.state == SESSION_HTTP2:
        return http2_step(worker, session)
    if session.state == SESSION_TUNNEL:
        return tunnel_step(worker, session)
    if session.state == SESSION_GATE:
        return gate_step(worker, session)
    if session.state == SESSION_PREFIX:
        return prefix_step(worker, session)
    if session.state == SESSION_LINGER:
        return linger_step(worker, session)
    if session.state == SESSION_ASIDE:
        return aside_step(worker, session)
    if session.state == SESSION_HANDSHAKE:
        if session.outward:
            return trunk_handshake(worker, session)
        return tls_step(worker, session)
    return False


def head_step(worker, session):
    buffer: cython.pointer[Buffer] = session.in_.buffer
    flushed: int32_t = session_flush(worker, session)
    if flushed <= 0:
        session.broken |= flushed < 0
        return flushed < 0
    if session.lane is not cython.NULL and session.requests > 0:
        return lane_finish(worker, session)
    if session.closing:
        end(worker, session)
        return session.state == SESSION_LINGER
    if buffer is not cython.NULL and buffer.start < buffer.end:
        if session.requests == 0 and buffer.at[buffer.start] == 80:  # P: perhaps PRI
            if begins_http2(worker, session):
                return session.state == SESSION_HTTP2 or read_more(worker, session)
        if stream_begin(worker, session):
            return True
    elif session.listener.plan is cython.NULL or worker.draining:
        session_close(worker, session)
        return False
    return read_more(worker, session)


def begins_http2(worker, session):
    """Is it the preface of HTTP/2, or may it become that?"""
    plan = session.listener.plan
    if (
        plan is cython.NULL
        or not plan.protocols & PROTOCOL_HTTP2
        or session.lane is not cython.NULL
    ):
        return False
    return http2_preface(worker, session) >= 0


def prefix_step(worker, session):
    if stream_prefix(worker, session):
        return True
    return read_more(worker, session)


def read_more(worker, session):
    """Reads towards a head or a prefix; its end there is the end of the session."""
    size: int32_t
    if not session.readable:
        return False
    size = session_read(worker, session)
    if size == READ_LATER:
        release_empty(worker, session)
        return False
    if size <= 0:
        session_close(worker, session)
        return False
    return True


def release_empty(worker, session):
    """Without bytes there is no buffer; with one, `waits_for` would see a head that has begun."""
    buffer: cython.pointer[Buffer] = session.in_.buffer
    if buffer is not cython.NULL and buffer.start == buffer.end:
        buffer_free(worker, buffer)
        session.in_.buffer = cython.NULL


def linger_step(worker, session):
    http: cython.pointer[Http] = http_of(worker)
    size: cython.Py_ssize_t
    if not session.readable:
        return False
    size = recv(session.source.fd, cython.address(http.out[0]), cython.sizeof(http.out), 0)
    if size < 0 and (errno == EAGAIN or errno == EINTR):
        session.readable = errno == EINTR
        return session.readable
    if size > 0:
        session.discarded += cython.cast(uint32_t, size)
    if size <= 0 or session.discarded > LINGER_BYTES_MAX:
        session_close(worker, session)
        return False
    return True


def session_next(worker, session):
    """The answer is complete; `closing` says whether the connection is too."""
    session.state = SESSION_HEAD
    session.waiting = WAIT_NOTHING  # whatever it waits for next, its time begins anew
    session.scanned = 0
    session.requests += 1
    if not session.stream.keep_alive:
        session.closing = 1
    if session.lane is cython.NULL:  # a lane's one request may still have its answer read
        stream_rest(worker, session)
    release_empty(worker, session)


def end(worker, session):
    """All is said. A client that may still be sending gets time to read it."""
    if not session.lingering or session.fin:
        session_close(worker, session)
        return
    session_finish(session)
    buffer_free(worker, session.in_.buffer)
    session.in_.buffer = cython.NULL
    session.state = SESSION_LINGER
    session.readable = 1


def session_finish(session):
    """We say no more; the client may."""
    if session.lane is not cython.NULL:
        lane_end(session)
        return
    if session.tls is not cython.NULL:
        secure_finish(session.tls)
    shutdown(session.source.fd, SHUT_WR)


# ---- reading and writing ----


def session_read(worker, session):
    size: cython.Py_ssize_t
    room: cython.size_t
    buffer: cython.pointer[Buffer]
    if not make_room(worker, session):
        return READ_NO_MEMORY
    buffer = session.in_.buffer
    room = buffer.capacity - buffer.end
    size = session_receive(worker, session, buffer.at + buffer.end, room)
    if size > 0:
        buffer.end += cython.cast(uint32_t, size)
        session.window_bytes += size
    return cython.cast(int32_t, size)


def session_receive(worker, session, to, room):
    size: cython.Py_ssize_t
    if session.lane is not cython.NULL:
        return lane_read(worker, session, to, room)
    if session.tls is not cython.NULL:
        return tls_read(session, to, cython.cast(uint32_t, room))
    size = recv(session.source.fd, to, room, 0)
    if size > 0:
        if cython.cast(cython.size_t, size) < room:
            session.readable = session.hup
        count(cython.address(session.listener.counters.bytes_in), cython.cast(uint64_t, size))
        return cython.cast(int32_t, size)
    if size == 0:
        session.fin = 1
        session.readable = 0
        return READ_END
    if errno == EAGAIN:
        session.readable = 0
        return READ_LATER
    if errno == EINTR:
        return READ_LATER
    session.broken = 1
    return READ_BROKEN


def make_room(worker, session):
    """A buffer with room behind its end; small at first, large when the small one is full."""
    buffer: cython.pointer[Buffer] = session.in_.buffer
    larger: cython.pointer[Buffer]
    wanted: uint32_t = 1 if session.lane is cython.NULL else LANE_ROOM_MIN
    if buffer is cython.NULL:
        session.in_.buffer = buffer_small(worker)
        return session.in_.buffer is not cython.NULL
    if buffer.capacity - buffer.end >= wanted:
        return True
    if buffer.start > 0:
        memmove(buffer.at, buffer.at + buffer.start, buffer.end - buffer.start)
        session.in_.at -= buffer.start
        session.in_.raw -= buffer.start
        buffer.end -= buffer.start
        buffer.start = 0
        return True
    if buffer.large:
        return False
    larger = buffer_large(worker)
    if larger is cython.NULL:
        return False
    memcpy(larger.at, buffer.at, buffer.end)
    larger.end = buffer.end
    session.in_.buffer = larger
    buffer_free(worker, buffer)
    return True


def session_send(worker, session, at, size):
    sent: cython.Py_ssize_t
    if session.lane is not cython.NULL:
        return lane_send(worker, session, at, size)
    if session.tls is not cython.NULL:
        sent = tls_send(session, at, size)
        if sent <= 0:
            return cython.cast(int32_t, sent)
    else:
        sent = send(session.source.fd, at, size, MSG_NOSIGNAL)
    if sent >= 0:
        if session.waiting == WAIT_CLIENT:
            session.waiting = WAIT_NOTHING  # it took something: its time begins anew
        count(cython.address(session.listener.counters.bytes_out), cython.cast(uint64_t, sent))
        session.stream.bytes_out += cython.cast(uint64_t, sent)
        return cython.cast(int32_t, sent)
    if errno == EAGAIN or errno == EINTR:
        return 0
    session.broken = 1
    return -1


def session_write(worker, session, at, size):
    sent: int32_t = 0
    buffer: cython.pointer[Buffer] = session.out
    if buffer is cython.NULL:
        sent = session_send(worker, session, at, size)
        if sent < 0:
            return -1
        if cython.cast(uint32_t, sent) == size:
            return 0
        buffer = buffer_large(worker)
        if buffer is cython.NULL:
            session.broken = 1
            return -1
        session.out = buffer
    if size - sent > buffer.capacity - buffer.end:
        session.broken = (
            1  # the callers flush before they write more: unreachable, but never overrun
        )
        return -1
    memcpy(buffer.at + buffer.end, at + sent, size - sent)
    buffer.end += size - sent
    return 0


def session_flush(worker, session):
    buffer: cython.pointer[Buffer] = session.out
    sent: int32_t
    while buffer is not cython.NULL and buffer.start < buffer.end:
        sent = session_send(worker, session, buffer.at + buffer.start, buffer.end - buffer.start)
        if sent <= 0:
            return sent
        buffer.start += sent
    if buffer is not cython.NULL:
        buffer_free(worker, buffer)
        session.out = cython.NULL
    return 1 if session.tls is cython.NULL else tls_flush(session)


def session_idle(session):
    if session.state == SESSION_LINGER:
        return True
    if session.state != SESSION_HEAD or session_unsent(session):
        return False
    return session.in_.buffer is cython.NULL or session.in_.buffer.start == session.in_.buffer.end
