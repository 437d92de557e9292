"""Connections of HTTP/2 to servers (trunks): few, shared by all the clients of a worker.

A trunk is a session like a client's (`http2`), but for its direction. It is found by its slot among
those that have room; when none has, another one is opened. Nothing of a request is sent before the
server has told its limits (SETTINGS): so none is refused for a limit that we did not know, and a
server that does not speak HTTP/2 has got no request when we learn of it.

Laws: a trunk belongs to one server of one generation of the file and to one identity of TLS. One
that has heard GOAWAY, that is silent while a request times out, or whose server is gone from the
file takes no new stream, and ends with its last one. It has one timer: until the server has spoken,
then for rest without streams. Its loss is told to each of its streams (`call`), never to a client.

What it does not do: PINGs of its own. Servers of gRPC take those for an attack; what a silent
server costs is bounded by the times of each request.
"""

import cython
from cython.cimports.fourseven.l4.choose import exhausted
from cython.cimports.fourseven.l7.call import call_begins, call_move
from cython.cimports.fourseven.l7.connect import open_socket
from cython.cimports.fourseven.l7.http2 import http2_connect, http2_output, http2_soon
from cython.cimports.fourseven.l7.records import (
    SESSION_HANDSHAKE,
    SESSION_HTTP2,
    Http,
    Http2,
    Lane,
    Session,
    Stream,
    http_of,
    session_of_timer,
)
from cython.cimports.fourseven.l7.session import (
    session_bury,
    session_close,
    session_flush,
    session_new,
    session_ready,
    session_run,
)
from cython.cimports.fourseven.l7.tls import speaks_http2
from cython.cimports.fourseven.l7.trunk import (
    CALLS_MAX,
    CONNECT_SHARE,
    HTTP_2,
    HTTP_2_SIZE,
    TRUNK_REQUESTS_MAX,
)
from cython.cimports.fourseven.l7.upstream import slot_generation
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.linux import close
from cython.cimports.fourseven.native.nghttp2 import (
    NGHTTP2_NO_ERROR,
    NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
    nghttp2_session,
    nghttp2_session_get_remote_settings,
    nghttp2_session_terminate_session,
)
from cython.cimports.fourseven.tls.outward import TlsOutward
from cython.cimports.fourseven.worker.secure import (
    HANDSHAKE_DONE,
    HANDSHAKE_LATER,
    TLS_PROTOCOL,
    secure_connect,
    secure_empty,
    secure_handshake,
    secure_resumed,
)
from cython.cimports.fourseven.worker.tools import timer_put_off, timer_set, watch
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t

# ---- find or open ----


def trunk_take(worker, session, identity):
    http2: cython.pointer[Http2] = find(worker, session.stream.slot, identity)
    if http2 is cython.NULL:
        http2 = trunk_new(worker, session, identity)
    return http2


def find(worker, slot, identity):
    http2: cython.pointer[Http2] = http_of(worker).roomy[slot]
    after: cython.pointer[Http2]
    while http2 is not cython.NULL:
        after = http2.next
        if http2.generation == slot_generation(worker, slot) and http2.identity == identity:
            return http2
        trunk_retire(http2)
        http2 = after
    return http2


def trunk_new(worker, asker, identity):
    """It connects for the stream of this session: its server, its backend's times."""
    http: cython.pointer[Http] = http_of(worker)
    stream: cython.pointer[Stream] = asker.stream
    session: cython.pointer[Session]
    http2: cython.pointer[Http2]
    wait_ms: uint64_t = cython.cast(uint64_t, stream.backend.connect_timeout_ms) * CONNECT_SHARE
    fd: int32_t = open_socket(worker, stream.slot)
    if fd < 0:
        stream.ours = exhausted(-fd)
        return cython.NULL
    stream.ours = 1
    session = session_new(worker)
    if session is cython.NULL:
        close(fd)
        return cython.NULL
    session.source.fd = fd
    session.source.ready = session_ready
    session.dead.bury = session_bury
    session.timer.fire = trunk_timer
    session.listener = cython.address(http.nowhere)
    session.outward = 1
    session.next = http.trunks
    session.link = cython.address(http.trunks)
    if session.next is not cython.NULL:
        session.next.link = cython.address(session.next)
    http.trunks = session
    if (
        http2_connect(worker, session) < 0
        or watch(worker, cython.address(session.source)) != 0
        or not secure(worker, session, asker, identity)
    ):
        session_close(worker, session)
        return cython.NULL
    http2 = session.http2
    http2.slot = stream.slot
    http2.generation = slot_generation(worker, stream.slot)
    http2.identity = identity
    http2.idle_timeout_ms = stream.backend.idle_timeout_ms
    timer_set(worker, cython.address(session.timer), worker.now_ms + wait_ms)
    count(cython.address(worker.slot_counters[stream.slot].connects), 1)
    count(cython.address(worker.counters.http2_trunks), 1)
    trunk_changed(http2)
    http2_soon(http2)
    stream.ours = 0
    return http2


def secure(worker, session, asker, identity):
    """TLS where the backend wants it: a server that does not choose h2 is none of ours."""
    outward: cython.pointer[TlsOutward] = cython.cast(
        cython.pointer[TlsOutward], asker.stream.backend.tls
    )
    if outward is cython.NULL:
        return True
    session.state = SESSION_HANDSHAKE
    session.tls = secure_connect(
        worker,
        session.source.fd,
        outward,
        asker.stream.slot,
        cython.cast(cython.pointer[cython.const[cython.uchar]], HTTP_2),
        HTTP_2_SIZE,
    )
    return session.tls is not cython.NULL


def trunk_handshake(worker, session):
    counters = cython.address(worker.slot_counters[session.http2.slot])
    result: int32_t = secure_handshake(session.tls)
    if result == HANDSHAKE_LATER:
        session.readable = 0
        return False
    if result == HANDSHAKE_DONE:
        count(cython.address(counters.tls_handshakes), 1)
        if secure_resumed(session.tls):
            count(cython.address(counters.tls_resumed), 1)
        if speaks_http2(session):
            session.state = SESSION_HTTP2
            session.readable = session.hup or not secure_empty(session.tls)
            return True
        session.tls.fault = TLS_PROTOCOL
    session.broken = 1
    return True


# ---- room, and the end ----


def trunk_most(http2):
    if not http2.greeted:
        return CALLS_MAX
    return min(
        cython.cast(uint32_t, CALLS_MAX),
        nghttp2_session_get_remote_settings(
            cython.cast(cython.pointer[nghttp2_session], http2.inner),
            NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
        ),
    )


def trunk_changed(http2):
    worker = http2.worker
    pool = cython.address(http_of(worker).roomy[http2.slot])
    if http2.over:
        return
    room: cython.bint = (
        not http2.draining
        and not http2.session.broken
        and http2.requests < TRUNK_REQUESTS_MAX
        and http2.lane_count < trunk_most(http2)
    )
    if not room:
        trunk_leave(http2)
    elif not http2.listed:
        http2.listed = 1
        http2.next = pool[0]
        http2.link = pool
        if http2.next is not cython.NULL:
            http2.next.link = cython.address(http2.next)
        pool[0] = http2
    if http2.lane_count > 0 or not http2.greeted:
        return
    if not room or http2.generation != slot_generation(worker, http2.slot):
        http2.draining = 2
        trunk_leave(http2)
        http2_soon(http2)
        return
    timer_put_off(
        worker, cython.address(http2.session.timer), worker.now_ms + http2.idle_timeout_ms
    )


def trunk_leave(http2):
    if not http2.listed:
        return
    http2.listed = 0
    http2.link[0] = http2.next
    if http2.next is not cython.NULL:
        http2.next.link = http2.link


def trunk_retire(http2):
    http2.draining = 2
    trunk_changed(http2)
    if not http2.greeted and http2.lane_count == 0:
        http2_soon(http2)


def trunk_greeted(http2):
    lane: cython.pointer[Lane] = http2.lanes
    after: cython.pointer[Lane]
    most: uint32_t
    at: uint32_t = 0
    first: cython.bint = not http2.greeted
    http2.greeted = 1
    most = trunk_most(http2)
    trunk_changed(http2)
    while first and lane is not cython.NULL:
        after = lane.next
        at += 1
        if at <= most:
            call_begins(lane)
        else:
            call_move(lane, most > 0)
        lane = after


def trunk_timer(worker, timer):
    """The server has not spoken in time, or nobody has asked it for long."""
    session: cython.pointer[Session] = session_of_timer(timer)
    http2: cython.pointer[Http2] = session.http2
    if not http2.greeted:
        session.broken = 1
        session_run(worker, session)
        return
    if http2.lane_count > 0:
        return  # it begins anew when the last of them ends
    if session.out is cython.NULL:
        nghttp2_session_terminate_session(
            cython.cast(cython.pointer[nghttp2_session], http2.inner), NGHTTP2_NO_ERROR
        )
        http2_output(http2)
        session_flush(worker, session)
    session_close(worker, session)
