"""Connections to servers: connect, reuse, read, write, and the pool between requests.

The pool is one list for each server and worker, most recent first: the connection that is warm in
the caches is used again, and the surplus of a past peak grows old and is closed. A pooled
connection is watched: a server that closes it, or speaks unasked, takes it out of the pool.

A non-blocking connect on the same host is often complete when it returns, so we write at once and
only wait if the socket says so: a new connection then costs no turn of the loop.

A connection that began with a PROXY header speaks of one client. It is kept in a list of that
client's session instead, and closed with it.

Laws: a connection goes back only after a whole exchange, with nothing unread and nothing unsent
(an answer that nobody asked for would be taken for the next one's: response splitting). Its slot's
`generation` must still be the one it was made for.
"""

import cython
from cython.cimports.fourseven.l7.aside import aside_late
from cython.cimports.fourseven.l7.call import call_drop, call_end, call_read, call_send, call_take
from cython.cimports.fourseven.l7.connect import (
    COUNTED_BACKEND,
    COUNTED_SERVER,
    connect_new,
    connection_uncounted,
)
from cython.cimports.fourseven.l7.hedge import HEDGE_ARMED, hedge_due
from cython.cimports.fourseven.l7.records import (
    SESSION_ASIDE,
    SESSION_EXCHANGE,
    Http,
    Session,
    Stream,
    Upstream,
    carrier_of,
    coded_unsent,
    due_ms,
    http_of,
    session_unsent,
    slot_of,
    upstream_of_dead,
    upstream_of_timer,
    upstream_unsent,
)
from cython.cimports.fourseven.l7.retry import FAILED_CONNECT_TIME, FAILED_TIME, stream_failed
from cython.cimports.fourseven.l7.session import (
    READ_BROKEN,
    READ_END,
    READ_LATER,
    READ_NO_MEMORY,
    session_run,
)
from cython.cimports.fourseven.l7.splice import pipe_release
from cython.cimports.fourseven.l7.upstream import HTTP_1, HTTP_1_SIZE
from cython.cimports.fourseven.native.atomics import count, load_relaxed_u32
from cython.cimports.fourseven.native.linux import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    MSG_NOSIGNAL,
    MSG_PEEK,
    SHUT_WR,
    recv,
    send,
    shutdown,
)
from cython.cimports.fourseven.protocols.http1 import HeadLimits, read_response
from cython.cimports.fourseven.snapshot.layout import SLOTS_MAX
from cython.cimports.fourseven.tls.outward import TlsOutward, outward_identity
from cython.cimports.fourseven.worker.introduce import introduce
from cython.cimports.fourseven.worker.secure import (
    HANDSHAKE_DONE,
    HANDSHAKE_LATER,
    secure_connect,
    secure_drop,
    secure_empty,
    secure_finish,
    secure_flush,
    secure_handshake,
    secure_quiet,
    secure_read,
    secure_resumed,
    secure_send,
)
from cython.cimports.fourseven.worker.tools import (
    buffer_free,
    buffer_large,
    bury,
    timer_clear,
    timer_put_off,
    timer_set,
    unwatch,
)
from cython.cimports.fourseven.worker.worker import BUFFER_LARGE, Buffer
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy

# ---- take and release ----


def upstream_take(worker, session):
    stream: cython.pointer[Stream] = session.stream
    upstream: cython.pointer[Upstream] = cython.NULL
    outward: cython.pointer[TlsOutward] = cython.cast(
        cython.pointer[TlsOutward], stream.backend.tls
    )
    identity: uint64_t = 0
    if outward is not cython.NULL:
        identity = outward_identity(outward, stream.slot)
    stream.ours = 0
    if stream.backend.http2:
        return call_take(worker, session, identity)
    if not stream.stale and stream.backend.proxy_protocol:
        upstream = take_kept(worker, session, identity)
    elif not stream.stale:
        upstream = take_idle(worker, stream.slot, identity)
    if upstream is cython.NULL:
        upstream = connect_new(worker, stream)
        if upstream is not cython.NULL and outward is not cython.NULL:
            upstream.identity = identity
            upstream.tls = secure_connect(
                worker,
                upstream.source.fd,
                outward,
                stream.slot,
                cython.cast(cython.pointer[cython.const[cython.uchar]], HTTP_1),
                HTTP_1_SIZE,
            )
            if upstream.tls is cython.NULL:
                upstream_drop(worker, upstream)
                stream.ours = 1
                return cython.NULL
    if upstream is not cython.NULL:
        upstream_begin(worker, session, upstream)
    return upstream


def upstream_begin(worker, session, upstream):
    stream: cython.pointer[Stream] = session.stream
    upstream.session = session
    upstream.response_timeout_ms = stream.backend.response_timeout_ms
    upstream.read_timeout_ms = stream.backend.read_timeout_ms
    upstream.idle_timeout_ms = stream.backend.idle_timeout_ms
    upstream.idle_max = stream.backend.idle_max
    upstream.try_due_ms = 0
    if stream.backend.resilience is not cython.NULL and stream.backend.resilience.try_timeout_ms:
        upstream.try_due_ms = worker.now_ms + stream.backend.resilience.try_timeout_ms
    if upstream.connecting:
        timer_set(
            worker,
            cython.address(upstream.timer),
            due_ms(upstream, worker.now_ms + stream.backend.connect_timeout_ms),
        )
    else:
        timer_put_off(
            worker,
            cython.address(upstream.timer),
            due_ms(upstream, worker.now_ms + upstream.response_timeout_ms),
        )


def slot_generation(worker, slot):
    """Control moves it on when it gives the number to another server."""
    return load_relaxed_u32(cython.address(slot_of(worker, slot).generation))


def take_idle(worker, slot, identity):
    http: cython.pointer[Http] = http_of(worker)
    upstream: cython.pointer[Upstream] = http.idle[slot]
    while upstream is not cython.NULL:
        leave_pool(worker, upstream)
        if upstream.generation == slot_generation(worker, slot) and upstream.identity == identity:
            upstream.reused = 1
            return upstream
        upstream_drop(worker, upstream)
        upstream = http.idle[slot]
    return upstream


def take_kept(worker, session, identity):
    """Of the connections that speak of this client, one to the server that was picked."""
    upstream: cython.pointer[Upstream] = carrier_of(session).kept
    after: cython.pointer[Upstream]
    slot: uint32_t = session.stream.slot
    version: uint32_t = session.stream.backend.proxy_protocol
    while upstream is not cython.NULL:
        after = upstream.next
        if upstream.slot == slot:
            leave_pool(worker, upstream)
            if (
                upstream.generation == slot_generation(worker, slot)
                and upstream.identity == identity
                and upstream.proxy == version
            ):
                upstream.reused = 1
                return upstream
            upstream_drop(worker, upstream)
        upstream = after
    return upstream


def leave_pool(worker, upstream):
    upstream.link[0] = upstream.next
    if upstream.next is not cython.NULL:
        upstream.next.link = upstream.link
    upstream.next = cython.NULL
    upstream.link = cython.NULL
    upstream.pooled = 0
    http_of(worker).idle_count[upstream.slot] -= 1
    if upstream.counted:
        http_of(worker).idle_counted[slot_of(worker, upstream.slot).backend] -= 1
    count(cython.address(worker.counters.upstream_idle), cython.cast(uint64_t, -1))


def upstream_release(worker, upstream):
    if upstream.lane is not cython.NULL:
        call_drop(worker, upstream)
        return
    http: cython.pointer[Http] = http_of(worker)
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    unread: cython.bint = buffer is not cython.NULL and upstream.in_.raw < buffer.end
    most: uint32_t = upstream.idle_max
    if load_relaxed_u32(cython.address(slot_of(worker, upstream.slot).connections_max)):
        # Of few connections no worker may keep so many that another one finds none.
        most = min(
            most, load_relaxed_u32(cython.address(slot_of(worker, upstream.slot).idle_share))
        )
    full: cython.bint = http.idle_count[upstream.slot] >= most
    if upstream.counted:
        full = full or backend_idles(worker, upstream)
    if (
        not upstream.keep_alive
        or unread
        or full
        or upstream.hup
        or upstream_unsent(upstream)
        or upstream.in_.ready > 0
        or more_came(upstream)
    ):
        upstream_drop(worker, upstream)
        return
    pool = cython.address(http.idle[upstream.slot])
    if upstream.proxy:
        pool = cython.address(carrier_of(upstream.session).kept)
    buffer_free(worker, buffer)
    upstream.in_.buffer = cython.NULL
    upstream.session = cython.NULL
    upstream.scanned = 0
    upstream.pooled = 1
    upstream.next = pool[0]
    upstream.link = pool
    if upstream.next is not cython.NULL:
        upstream.next.link = cython.address(upstream.next)
    pool[0] = upstream
    http.idle_count[upstream.slot] += 1
    if upstream.counted:
        http.idle_counted[slot_of(worker, upstream.slot).backend] += 1
    count(cython.address(worker.counters.upstream_idle), 1)
    timer_put_off(worker, cython.address(upstream.timer), worker.now_ms + upstream.idle_timeout_ms)


def backend_idles(worker, upstream):
    """Has this worker all the idle connections that a limited backend lets it keep?"""
    number: uint32_t = slot_of(worker, upstream.slot).backend
    share: uint32_t = load_relaxed_u32(cython.address(worker.shared.backends[number].idle_share))
    return http_of(worker).idle_counted[number] >= share


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def more_came(upstream: cython.pointer[Upstream]) -> cython.bint:
    """Is something unread in the socket? A pipe, and a read that fills its room, don't look.

    Its edge has been told already, so in the pool nobody would hear of it.
    """
    byte: cython.char = 0
    if not upstream.readable:
        return False
    upstream.readable = 0
    if upstream.tls is not cython.NULL:
        return not secure_quiet(upstream.tls)
    if recv(upstream.source.fd, cython.address(byte), 1, MSG_PEEK) >= 0:
        return True
    return errno != EAGAIN


def upstream_drop(worker, upstream):
    if upstream.lane is not cython.NULL:
        call_drop(worker, upstream)
        return
    if upstream.source.fd < 0:
        return
    if upstream.pooled:
        leave_pool(worker, upstream)
    pipe_release(worker, upstream)
    if upstream.tls is not cython.NULL:
        secure_finish(upstream.tls)
    connection_uncounted(
        worker, upstream.slot, COUNTED_SERVER | (COUNTED_BACKEND if upstream.counted else 0)
    )
    unwatch(worker, cython.address(upstream.source))
    timer_clear(worker, cython.address(upstream.timer))
    buffer_free(worker, upstream.in_.buffer)
    buffer_free(worker, upstream.out)
    upstream.in_.buffer = cython.NULL
    upstream.out = cython.NULL
    upstream.session = cython.NULL
    bury(worker, cython.address(upstream.dead))


def upstream_bury(worker, dead):
    upstream: cython.pointer[Upstream] = upstream_of_dead(dead)
    http: cython.pointer[Http] = http_of(worker)
    secure_drop(upstream.tls)
    upstream.next = http.free_upstreams
    http.free_upstreams = upstream


def upstream_drop_idle(worker):
    at: cython.int
    http: cython.pointer[Http] = http_of(worker)
    for at in range(SLOTS_MAX):
        while http.idle[at] is not cython.NULL:
            upstream_drop(worker, http.idle[at])


# ---- events ----


def upstream_ready(worker, source, events):
    upstream: cython.pointer[Upstream] = cython.cast(cython.pointer[Upstream], source)
    heard: uint32_t = events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)
    if heard:
        upstream.readable = 1
    if events & (EPOLLRDHUP | EPOLLHUP):
        upstream.hup = 1
    if upstream.tls is not cython.NULL:
        upstream.readable = 1  # a read may have waited for room to write
    elif events & EPOLLOUT and not events & (EPOLLERR | EPOLLHUP):
        connected(worker, upstream)
    if upstream.session is not cython.NULL:
        session_run(worker, upstream.session)
    elif heard and (upstream.hup or more_came(upstream)):
        upstream_drop(worker, upstream)  # closed while idle, or it spoke unasked


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def connected(worker: cython.pointer[Worker], upstream: cython.pointer[Upstream]) -> cython.void:
    if upstream.connecting:
        upstream.connecting = 0
        if upstream.session is not cython.NULL:
            upstream.session.stream.connected_ns = worker.now_ns
        timer_put_off(
            worker,
            cython.address(upstream.timer),
            due_ms(upstream, worker.now_ms + upstream.response_timeout_ms),
        )


def upstream_timer(worker, timer):
    upstream: cython.pointer[Upstream] = upstream_of_timer(timer)
    session: cython.pointer[Session] = upstream.session
    if session is cython.NULL:
        upstream_drop(worker, upstream)
        return
    if session.state == SESSION_ASIDE:
        aside_late(worker, session)
        return
    if upstream.connecting:
        stream_failed(worker, session, FAILED_CONNECT_TIME)
    elif session.stream.hedge == HEDGE_ARMED:
        hedge_due(worker, session, upstream)
        return
    elif session.state == SESSION_EXCHANGE and server_owes(session):
        stream_failed(worker, session, FAILED_TIME)
    else:  # the client is the slow one, and its own timer watches it
        timer_set(worker, timer, worker.now_ms + upstream.read_timeout_ms)
        return
    session_run(worker, session)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def server_owes(session: cython.pointer[cython.const[Session]]) -> cython.bint:
    """Is it the server that we wait for: to take the request, or to go on with its answer?"""
    upstream: cython.pointer[cython.const[Upstream]] = session.stream.upstream
    if session.stream.shape is not cython.NULL:
        if session.stream.shape.stiff or coded_unsent(session.stream.shape):
            return False  # it is we who hold a body back, or the client
    if upstream_unsent(upstream) or session.in_.ready > 0:
        return True
    if session_unsent(session) or upstream.in_.ready > 0:
        return False
    if upstream.pipe is not cython.NULL and upstream.pipe.held > 0:
        return False
    return session.stream.request.done or session.stream.response_begun


# ---- reading and writing ----


def upstream_read(worker, upstream):
    size: cython.Py_ssize_t
    room: cython.size_t
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    if buffer is cython.NULL:
        buffer = buffer_large(worker)
        if buffer is cython.NULL:
            return READ_NO_MEMORY
        upstream.in_.buffer = buffer
        upstream.in_.at = 0
        upstream.in_.raw = 0
    room = buffer.capacity - buffer.end
    if upstream.lane is not cython.NULL:
        size = call_read(worker, upstream, buffer.at + buffer.end, room)
        if size > 0:
            buffer.end += cython.cast(uint32_t, size)
        return cython.cast(int32_t, size)
    if upstream.tls is not cython.NULL:
        return read_secure(worker, upstream)
    size = recv(upstream.source.fd, buffer.at + buffer.end, room, 0)
    if size > 0:
        buffer.end += cython.cast(uint32_t, size)
        if cython.cast(cython.size_t, size) < room:
            upstream.readable = upstream.hup
        count(
            cython.address(worker.slot_counters[upstream.slot].bytes_from),
            cython.cast(uint64_t, size),
        )
        return cython.cast(int32_t, size)
    if size == 0:
        upstream.fin = 1
        upstream.readable = 0
        upstream.keep_alive = 0
        return READ_END
    if errno == EAGAIN:
        upstream.readable = 0
        return READ_LATER
    if errno == EINTR:
        return READ_LATER
    return READ_BROKEN


def server_head(upstream, method_id, response):
    """Bytes of the head at the beginning of what came, 0: it is not whole, below 0: it is none."""
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    limits = cython.declare(HeadLimits)
    size: int32_t
    limits.head_max = BUFFER_LARGE - 4096
    limits.headers_max = 256
    limits.target_max = 0
    limits.relax = 0
    size = read_response(
        buffer.at + buffer.start,
        buffer.end - buffer.start,
        cython.address(upstream.scanned),
        cython.address(limits),
        method_id,
        response,
    )
    if size > 0:
        upstream.scanned = 0
    return size


def read_secure(worker, upstream):
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    size: int32_t
    if upstream.connecting:
        return READ_LATER  # the handshake reads, and it is the sender that goes on with it
    size = secure_read(upstream.tls, buffer.at + buffer.end, buffer.capacity - buffer.end)
    if size > 0:
        buffer.end += size
        upstream.readable = upstream.hup or not secure_empty(upstream.tls)
        count(
            cython.address(worker.slot_counters[upstream.slot].bytes_from),
            cython.cast(uint64_t, size),
        )
        return size
    upstream.readable = 0
    if size == READ_END:
        upstream.fin = 1
        upstream.keep_alive = 0
    return size


def introduced(upstream):
    """The PROXY header goes before everything else, TLS too; as a send of nothing."""
    carrier: cython.pointer[Session] = carrier_of(upstream.session)
    said: int32_t = introduce(
        upstream.source.fd,
        upstream.unintroduced,
        cython.address(carrier.peer),
        carrier.source.fd,
        carrier.arrived,
        cython.NULL if carrier.tls is cython.NULL else carrier.tls.ssl,
    )
    if said > 0:
        upstream.unintroduced = 0
    return said


def upstream_send(worker, upstream, at, size):
    sent: cython.Py_ssize_t
    if upstream.lane is not cython.NULL:
        return call_send(worker, upstream, at, size)
    if upstream.unintroduced:
        sent = introduced(upstream)
        if sent <= 0:
            return cython.cast(int32_t, sent)
    if upstream.tls is not cython.NULL:
        sent = send_secure(worker, upstream, at, size)
        if sent <= 0:
            return cython.cast(int32_t, sent)
    else:
        sent = send(upstream.source.fd, at, size, MSG_NOSIGNAL)
    if sent >= 0:
        connected(worker, upstream)
        upstream.session.stream.sent = 1
        count(
            cython.address(worker.slot_counters[upstream.slot].bytes_to),
            cython.cast(uint64_t, sent),
        )
        return cython.cast(int32_t, sent)
    return 0 if errno == EAGAIN or errno == EINTR else -1


def send_secure(worker, upstream, at, size):
    """The handshake first; 0 until it is done, so what is to be sent waits."""
    result: int32_t
    counters = cython.address(worker.slot_counters[upstream.slot])
    if upstream.connecting:
        result = secure_handshake(upstream.tls)
        if result != HANDSHAKE_DONE:
            return 0 if result == HANDSHAKE_LATER else -1
        connected(worker, upstream)
        count(cython.address(counters.tls_handshakes), 1)
        if secure_resumed(upstream.tls):
            count(cython.address(counters.tls_resumed), 1)
    return secure_send(upstream.tls, at, size)


def upstream_write(worker, upstream, at, size):
    sent: int32_t = upstream_send(worker, upstream, at, size)
    buffer: cython.pointer[Buffer]
    if sent < 0:
        return -1
    if cython.cast(uint32_t, sent) == size:
        return 0
    buffer = buffer_large(worker)
    if buffer is cython.NULL or size - sent > buffer.capacity:
        buffer_free(worker, buffer)
        return -1
    memcpy(buffer.at, at + sent, size - sent)
    buffer.end = size - sent
    upstream.out = buffer
    return 0


def upstream_flush(worker, upstream):
    buffer: cython.pointer[Buffer] = upstream.out
    sent: int32_t
    while buffer is not cython.NULL and buffer.start < buffer.end:
        sent = upstream_send(worker, upstream, buffer.at + buffer.start, buffer.end - buffer.start)
        if sent <= 0:
            return sent
        buffer.start += sent
    if buffer is not cython.NULL:
        buffer_free(worker, buffer)
        upstream.out = cython.NULL
    return 1 if upstream.tls is cython.NULL else secure_flush(upstream.tls)


def upstream_finish(upstream):
    if upstream.lane is not cython.NULL:
        call_end(upstream.lane)
        return
    if upstream.tls is not cython.NULL:
        secure_finish(upstream.tls)
    shutdown(upstream.source.fd, SHUT_WR)
