"""The plane that serves HTTP listeners: what a worker calls (worker.Plane).

A connection that the listener's limit does not admit gets a 503 at once, not silence: its client
may then try another address. When descriptors run out, the listener rests for a moment, since a
socket that stays ready would otherwise turn the loop into a spin.
"""

import cython
from cython.cimports.fourseven.l7.aside import aside_close, aside_of
from cython.cimports.fourseven.l7.gates import gates_prepare
from cython.cimports.fourseven.l7.http import Plane
from cython.cimports.fourseven.l7.http2 import http2_drain
from cython.cimports.fourseven.l7.queue import queues_look
from cython.cimports.fourseven.l7.records import (
    ACCEPTS_MAX,
    SESSION_EXCHANGE,
    Http,
    Http2,
    Lane,
    Queue,
    Session,
    Stream,
    Upstream,
    http_of,
)
from cython.cimports.fourseven.l7.session import session_close, session_idle, session_open
from cython.cimports.fourseven.l7.shape import shapes_drop
from cython.cimports.fourseven.l7.splice import pipes_drop
from cython.cimports.fourseven.l7.upstream import upstream_drop_idle
from cython.cimports.fourseven.native.atomics import count, fetch_add_i64
from cython.cimports.fourseven.native.linux import (
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    accept4,
    close,
    recv,
    send,
    sockaddr,
    sockaddr_storage,
    socklen_t,
)
from cython.cimports.fourseven.protocols.message import Address
from cython.cimports.fourseven.snapshot.layout import BACKENDS_MAX, MODE_HTTP, SLOTS_MAX
from cython.cimports.fourseven.worker.arrival import arrival_open
from cython.cimports.fourseven.worker.local import to_address
from cython.cimports.fourseven.worker.tools import rest
from cython.cimports.libc.errno import EAGAIN, ECONNABORTED, EINTR, ENOMEM, errno
from cython.cimports.libc.stdint import int32_t, int64_t, uint32_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import strlen

PLANE = cython.declare(Plane)


def http_plane():
    gates_prepare()
    PLANE.start = start
    PLANE.open = open
    PLANE.accept = accept
    PLANE.take = take
    PLANE.shut = shut
    PLANE.drain = drain
    PLANE.busy = busy
    PLANE.stop = stop
    PLANE.woken = queues_look
    PLANE.drop = drop
    return cython.address(PLANE)


def start(worker):
    http: cython.pointer[Http] = cython.cast(cython.pointer[Http], calloc(1, cython.sizeof(Http)))
    if http is cython.NULL:
        return ENOMEM
    worker.plane_state[cython.cast(cython.int, MODE_HTTP)] = http
    http.idle = cython.cast(
        cython.pointer[cython.pointer[Upstream]], calloc(SLOTS_MAX, cython.sizeof(cython.p_void))
    )
    http.idle_count = cython.cast(cython.pointer[uint32_t], calloc(SLOTS_MAX, 4))
    http.idle_counted = cython.cast(cython.pointer[uint32_t], calloc(BACKENDS_MAX, 4))
    http.roomy = cython.cast(
        cython.pointer[cython.pointer[Http2]], calloc(SLOTS_MAX, cython.sizeof(cython.p_void))
    )
    http.queues = cython.cast(cython.pointer[Queue], calloc(BACKENDS_MAX, cython.sizeof(Queue)))
    if (
        http.idle is cython.NULL
        or http.idle_count is cython.NULL
        or http.roomy is cython.NULL
        or (http.idle_counted is cython.NULL)
    ):
        return ENOMEM
    if http.queues is cython.NULL:
        return ENOMEM
    http.nowhere.worker = worker
    http.nowhere.counters = cython.address(http.nowhere_counters)
    http.nowhere.state = cython.address(http.nowhere_state)
    return 0


def open(worker, listener):
    return 0


def accept(worker, listener):
    _turn: cython.int
    for _turn in range(ACCEPTS_MAX):
        if not accept_one(worker, listener):
            return


def accept_one(worker, listener):
    """False when none is waiting, or none can be taken now."""
    name = cython.declare(sockaddr_storage)
    size: socklen_t = cython.sizeof(sockaddr_storage)
    client = cython.declare(Address)
    before: int64_t
    limit: uint32_t = listener.plan.connections_max
    fd: int32_t = accept4(
        listener.source.fd,
        cython.cast(cython.pointer[sockaddr], cython.address(name)),
        cython.address(size),
        SOCK_NONBLOCK | SOCK_CLOEXEC,
    )
    if fd < 0:
        if errno == EAGAIN:
            return False
        if errno == EINTR or errno == ECONNABORTED:
            return True
        count(cython.address(worker.counters.accept_errors), 1)
        rest(worker, listener)
        return False
    before = fetch_add_i64(cython.address(listener.state.sessions), 1)
    if limit and before >= limit:
        refuse(worker, listener, fd)
        return True
    count(cython.address(worker.counters.accepted), 1)
    count(cython.address(listener.counters.accepted), 1)
    to_address(cython.address(name), cython.address(client))
    if listener.plan.arrival:
        arrival_open(worker, listener, fd, cython.address(client))
    else:
        session_open(worker, listener, fd, cython.address(client), cython.NULL)
    return True


def take(worker, listener, fd, arrived):
    session_open(worker, listener, fd, cython.address(arrived.client), arrived)


def refuse(worker, listener, fd):
    """Over the limit; the answer fits any socket's buffer, and if not, the close says it too.

    What the client has said is read first: unread, it would turn the close into a reset, which
    takes back the answer.
    """
    http: cython.pointer[Http] = http_of(worker)
    answer: cython.p_const_char = (
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
        b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    )
    fetch_add_i64(cython.address(listener.state.sessions), -1)
    count(cython.address(listener.counters.refused_limit), 1)
    recv(fd, cython.address(http.out[0]), cython.sizeof(http.out), MSG_DONTWAIT)
    if listener.plan.tls is cython.NULL:  # without keys a close is all that can be said
        send(fd, answer, strlen(answer), MSG_NOSIGNAL | MSG_DONTWAIT)
    close(fd)


def shut(worker, listener):
    """The file no longer names it: idle sessions close, the others after their answer."""
    session: cython.pointer[Session] = http_of(worker).sessions
    after: cython.pointer[Session]
    while session is not cython.NULL:
        after = session.next
        if session.listener == listener and session_idle(session):
            session_close(worker, session)
        elif session.listener == listener and session.http2 is not cython.NULL:
            http2_drain(worker, session, not worker.draining)
        session = after


def drain(worker):
    session: cython.pointer[Session] = http_of(worker).sessions
    after: cython.pointer[Session]
    while session is not cython.NULL:
        after = session.next
        if session_idle(session):
            session_close(worker, session)
        elif session.http2 is not cython.NULL:
            http2_drain(worker, session, False)
        elif session.state == SESSION_EXCHANGE and not session.stream.response_begun:
            session.stream.keep_alive = 0  # its answer can still say so
            session.lingering = 1  # until then it may ask for more
        session = after


def busy(worker):
    return worker.counters.sessions_opened - worker.counters.sessions_closed


def stop(worker):
    http: cython.pointer[Http] = http_of(worker)
    if http is cython.NULL or http.roomy is cython.NULL:
        return
    while http.sessions is not cython.NULL:
        session_close(worker, http.sessions)
    while http.asides is not cython.NULL:
        aside_close(worker, aside_of(http.asides))
    while http.trunks is not cython.NULL:
        session_close(worker, http.trunks)
    upstream_drop_idle(worker)
    pipes_drop(http)


def spares_drop(http):
    """Records that wait for their next use, to the system."""
    session: cython.pointer[Session]
    lane: cython.pointer[Lane]
    stream: cython.pointer[Stream]
    upstream: cython.pointer[Upstream]
    while http.free_sessions is not cython.NULL:
        session = http.free_sessions
        http.free_sessions = session.next
        free(session)
    while http.free_lanes is not cython.NULL:
        lane = http.free_lanes
        http.free_lanes = lane.next
        free(lane)
    while http.free_streams is not cython.NULL:
        stream = http.free_streams
        http.free_streams = stream.next_free
        free(stream)
    while http.free_upstreams is not cython.NULL:
        upstream = http.free_upstreams
        http.free_upstreams = upstream.next
        free(upstream)
    shapes_drop(http)


def drop(worker):
    http: cython.pointer[Http] = http_of(worker)
    if http is cython.NULL:
        return
    spares_drop(http)
    free(http.idle)
    free(http.idle_count)
    free(http.idle_counted)
    free(http.queues)
    free(http.roomy)
    free(http)
    worker.plane_state[cython.cast(cython.int, MODE_HTTP)] = cython.NULL
