"""A request to a server over HTTP/2: a stream (call) of a connection that others share (`trunk`).

The engine speaks HTTP/1.1 to an Upstream. Here that text becomes fields and frames, and what comes
back is text again, which the engine's own strict reader judges: chunked where no length was told,
so that trailers, and with them the status of gRPC, pass. The stream is a lane like a client's, with
its directions turned round.

Backpressure: what the engine sends is offered to the library, which takes what the server's windows
and the socket's buffer allow. What comes is kept, one window of it at the most, until the engine
reads it, and only then the window opens again; so a slow client stops its own stream and no other.

Laws: a stream that the server has refused unseen (REFUSED_STREAM, or above the last one of GOAWAY)
counts as not sent, so it may be repeated whatever its method. What came whole before the connection
was lost is still read. A client that leaves resets its stream and nothing else.
"""

import cython
from cython.cimports.fourseven.l7.call import FIELDS_OWN
from cython.cimports.fourseven.l7.connect import upstream_new
from cython.cimports.fourseven.l7.grpc import is_grpc
from cython.cimports.fourseven.l7.http2 import FRAME_HEAD, ROOM_MIN, http2_ready, http2_room
from cython.cimports.fourseven.l7.lane import (
    inner_of,
    lane_join,
    lane_leave,
    lane_new,
    lane_part,
    lane_take,
)
from cython.cimports.fourseven.l7.lane_answer import (
    FIELDS_OUT_MAX,
    lane_over,
    lane_say,
    on_give,
    one_field,
    put_field,
)
from cython.cimports.fourseven.l7.records import (
    ANSWER_DONE,
    ANSWER_LENGTH,
    ANSWER_OPEN,
    BLOCKED_SOCKET,
    Http2,
    Lane,
    Upstream,
    due_ms,
)
from cython.cimports.fourseven.l7.retry import (
    FAILED_ANSWER,
    FAILED_CONNECT,
    FAILED_CONNECT_TIME,
    FAILED_REFUSED,
    FAILED_RESET,
    FAILED_TIME,
    FAILED_TLS,
)
from cython.cimports.fourseven.l7.session import (
    READ_BROKEN,
    READ_END,
    READ_LATER,
    session_bury,
    session_run,
)
from cython.cimports.fourseven.l7.trunk import trunk_changed, trunk_retire, trunk_take
from cython.cimports.fourseven.l7.upstream import (
    upstream_begin,
    upstream_bury,
    upstream_timer,
)
from cython.cimports.fourseven.l7.websocket import websocket_accept
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.nghttp2 import (
    NGHTTP2_CANCEL,
    NGHTTP2_ENHANCE_YOUR_CALM,
    NGHTTP2_REFUSED_STREAM,
    NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL,
    nghttp2_data_provider,
    nghttp2_nv,
    nghttp2_session_get_remote_settings,
    nghttp2_submit_request,
)
from cython.cimports.fourseven.worker.secure import TLS_TIME
from cython.cimports.fourseven.worker.tools import buffer_free, bury, timer_clear, timer_put_off
from cython.cimports.fourseven.worker.worker import Buffer
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import memchr, memcmp, memcpy
from cython.cimports.posix.strings import strncasecmp

# ---- take and drop ----


def call_take(worker, session, identity):
    http2: cython.pointer[Http2] = trunk_take(worker, session, identity)
    upstream: cython.pointer[Upstream]
    lane: cython.pointer[Lane]
    if http2 is cython.NULL:
        return cython.NULL
    session.stream.ours = 1
    upstream = upstream_new(worker)
    if upstream is cython.NULL:
        return upstream
    upstream.source.fd = -1
    upstream.timer.fire = upstream_timer
    upstream.dead.bury = upstream_bury
    lane = lane_new(worker)
    if lane is cython.NULL:
        bury(worker, cython.address(upstream.dead))
        return cython.NULL
    session.stream.ours = 0
    lane.upstream = upstream
    upstream.slot = session.stream.slot
    upstream.generation = http2.generation
    upstream.lane = lane
    upstream.connecting = not http2.greeted
    upstream.reused = http2.greeted
    lane_join(http2, lane)
    upstream_begin(worker, session, upstream)
    if session.lane is not cython.NULL and session.lane.grpc:
        # Its messages come when they come: it may rest like a tunnel.
        upstream.read_timeout_ms = session.stream.listener.tunnel_timeout_ms
    count(cython.address(worker.counters.http2_calls), 1)
    trunk_changed(http2)
    return upstream


def call_drop(worker, upstream):
    lane: cython.pointer[Lane] = upstream.lane
    upstream.lane = cython.NULL
    lane_leave(worker, lane, NGHTTP2_CANCEL)
    buffer_free(worker, lane.session.in_.buffer)
    lane.session.in_.buffer = cython.NULL
    lane.upstream = cython.NULL
    lane.session.lane = lane
    lane.session.dead.bury = session_bury
    bury(worker, cython.address(lane.session.dead))
    timer_clear(worker, cython.address(upstream.timer))
    buffer_free(worker, upstream.in_.buffer)
    buffer_free(worker, upstream.out)
    upstream.in_.buffer = cython.NULL
    upstream.out = cython.NULL
    upstream.session = cython.NULL
    bury(worker, cython.address(upstream.dead))


# ---- what its connection tells it ----


def call_run(worker, lane):
    upstream: cython.pointer[Upstream] = lane.upstream
    if lane.over and not lane.sent_end:
        call_end(lane)
    upstream.readable = 1
    if upstream.session is not cython.NULL:
        session_run(worker, upstream.session)


def call_begins(lane):
    upstream: cython.pointer[Upstream] = lane.upstream
    worker = lane.carrier.worker
    upstream.connecting = 0
    timer_put_off(
        worker,
        cython.address(upstream.timer),
        due_ms(upstream, worker.now_ms + upstream.response_timeout_ms),
    )
    http2_ready(lane.carrier, lane)


def call_move(lane, may):
    http2: cython.pointer[Http2] = lane.carrier
    other: cython.pointer[Http2] = cython.NULL
    if may and lane.upstream.session is not cython.NULL:
        other = trunk_take(http2.worker, lane.upstream.session, http2.identity)
    if other is cython.NULL:
        lane.closed = 1
        http2_ready(http2, lane)
        return
    lane_part(lane, NGHTTP2_CANCEL)
    lane_join(other, lane)
    trunk_changed(other)
    if other.greeted:
        call_begins(lane)


def call_closed(lane, code):
    lane.code = code
    lane.upstream.reused = code == NGHTTP2_REFUSED_STREAM and not lane.headed
    if lane.upstream.reused:  # as with a pooled connection that is closed: once more
        if lane.upstream.session is not cython.NULL:
            lane.upstream.session.stream.sent = 0
    http2_ready(lane.carrier, lane)


def call_lost(worker, lane):
    http2: cython.pointer[Http2] = lane.carrier
    if http2.session.tls is not cython.NULL and http2.session.tls.said:
        lane.tls_fault = http2.session.tls.fault
    # Where the socket is whole it is the library that gave up: the server broke the rules.
    lane.wrong |= http2.fault != 0 or not http2.session.broken
    lane_part(lane, NGHTTP2_CANCEL)
    lane.closed = 1
    call_run(worker, lane)


def call_failure(worker, session, failure):
    lane: cython.pointer[Lane] = session.stream.upstream.lane
    upstream: cython.pointer[Upstream] = session.stream.upstream
    http2: cython.pointer[Http2] = lane.carrier
    session.stream.tls_fault = lane.tls_fault
    if session.lane is not cython.NULL and (
        lane.code == NGHTTP2_CANCEL or lane.code == NGHTTP2_ENHANCE_YOUR_CALM
    ):
        session.lane.code = lane.code  # what a client may know of a broken answer
    if failure == FAILED_CONNECT_TIME and http2 is not cython.NULL:
        if http2.session.tls is not cython.NULL and http2.session.tls.said:
            session.stream.tls_fault = TLS_TIME
    elif failure == FAILED_TIME and http2 is not cython.NULL:
        if worker.now_ms - http2.heard_ms >= upstream.response_timeout_ms:
            trunk_retire(http2)  # perhaps nobody is there any more
    elif failure == FAILED_CONNECT and lane.tls_fault:
        return FAILED_TLS
    elif failure == FAILED_RESET and lane.wrong:
        return FAILED_ANSWER
    elif failure == FAILED_RESET and lane.code == NGHTTP2_REFUSED_STREAM and upstream.reused:
        if not session.stream.stale:
            return FAILED_REFUSED
    return failure


# ---- bytes ----


def call_send(worker, upstream, at, size):
    lane: cython.pointer[Lane] = upstream.lane
    taken: int32_t
    if lane.carrier is cython.NULL or lane.carrier.over:
        return -1
    if not lane.carrier.greeted:
        return 0
    taken = lane_say(lane, at, size)
    if taken > 0:
        upstream.session.stream.sent = 1
        count(
            cython.address(worker.slot_counters[upstream.slot].bytes_to),
            cython.cast(uint64_t, taken),
        )
    if taken >= 0 and lane.answer == ANSWER_DONE and not lane.over:
        call_end(lane)
    return taken


def call_end(lane):
    if lane.carrier is cython.NULL or lane.closed:
        return
    lane_over(lane)
    if not lane.sent_end and not http2_room(lane.carrier, FRAME_HEAD + ROOM_MIN):
        lane.blocked = BLOCKED_SOCKET
        lane.carrier.room_wanted = 1


def call_read(worker, upstream, to, room):
    """The head first, then the body and its end."""
    lane: cython.pointer[Lane] = upstream.lane
    head: cython.pointer[Buffer] = lane.session.in_.buffer
    size: int32_t = READ_LATER
    if lane.refuse:
        lane.wrong = 1  # a head, or trailers, beyond all limits
        return READ_BROKEN
    if head is not cython.NULL and http_building(lane):
        head = cython.NULL
    elif head is not cython.NULL:
        size = cython.cast(int32_t, min(room, cython.cast(cython.size_t, head.end - head.start)))
        memcpy(to, head.at + head.start, size)
        head.start += size
        if head.start == head.end:
            buffer_free(worker, head)
            lane.session.in_.buffer = cython.NULL
    elif lane.headed:
        size = lane_take(worker, lane, to, room)
    if size > 0:
        count(
            cython.address(worker.slot_counters[upstream.slot].bytes_from),
            cython.cast(uint64_t, size),
        )
        return size
    upstream.readable = 0
    if size == READ_END:
        upstream.fin = 1
        return READ_END
    if lane.closed and not (lane.headed and lane.remote_end):
        return READ_BROKEN
    return READ_LATER


def http_building(lane):
    return lane.carrier is not cython.NULL and lane.carrier.building.lane == lane


# ---- a request's head ----


def call_head(lane, at, size):
    fields = cython.declare(nghttp2_nv[FIELDS_OUT_MAX])
    provider = cython.declare(nghttp2_data_provider)
    first: cython.pointer[nghttp2_nv] = cython.address(fields[0])
    found: int32_t
    lane.answer = ANSWER_DONE
    lane.answer_left = 0
    found = request_fields(lane, at, size, fields)
    if found < 0:
        return -1
    if lane.connect:
        lane.answer = ANSWER_OPEN
    else:
        first += 1  # the first one is :protocol
        found -= 1
    if lane.answer == ANSWER_LENGTH and lane.answer_left == 0:
        lane.answer = ANSWER_DONE
    provider.source.ptr = cython.NULL
    provider.read_callback = on_give
    lane.id = nghttp2_submit_request(
        inner_of(lane),
        cython.NULL,
        first,
        found,
        cython.NULL if lane.answer == ANSWER_DONE else cython.address(provider),
        lane,
    )
    if lane.id < 0:
        lane.id = 0
        return -1
    lane.over = lane.answer == ANSWER_DONE
    return lane.used


def request_fields(lane, at, size, fields):
    """The request line and Host as pseudo fields, the other lines as they are."""
    secure: cython.bint = lane.carrier.session.tls is not cython.NULL
    stop: cython.p_char = cython.cast(cython.p_char, memchr(at, 10, size))
    space: cython.p_char = cython.cast(cython.p_char, memchr(at, 32, size))
    if stop is cython.NULL or space is cython.NULL or stop - space < 11:
        return -1
    put_field(cython.address(fields[0]), b":protocol", 9, b"websocket", 9)
    put_field(cython.address(fields[1]), b":method", 7, at, cython.cast(uint32_t, space - at))
    put_field(cython.address(fields[2]), b":scheme", 7, b"https" if secure else b"http", 4 + secure)
    put_field(
        cython.address(fields[3]), b":path", 5, space + 1, cython.cast(uint32_t, stop - space - 11)
    )
    put_field(cython.address(fields[4]), b":authority", 10, b"", 0)
    lane.asks_head = space - at == 4 and memcmp(at, b"HEAD", 4) == 0
    return header_fields(lane, at, cython.cast(uint32_t, stop - at) + 1, size, fields)


def header_fields(lane, at, position, size, fields):
    found: int32_t = FIELDS_OWN
    key: int32_t = 0
    websocket: cython.bint = False
    field: cython.pointer[nghttp2_nv]
    line: cython.p_char
    colon: cython.p_char
    stop: cython.p_char
    while position < size:
        line = at + position
        stop = cython.cast(cython.p_char, memchr(line, 10, size - position))
        if stop is cython.NULL or stop == line:
            return -1
        position = cython.cast(uint32_t, stop - at) + 1
        if line[0] == 13:
            lane.used = position
            return shake(lane, fields, found, key) if websocket and key > 0 else found
        stop -= 1
        colon = cython.cast(cython.p_char, memchr(line, 58, stop - line))
        if colon is cython.NULL or found + 2 > FIELDS_OUT_MAX:
            return -1
        field = cython.address(fields[found])
        if not one_field(lane, line, colon, stop, field):
            websocket |= stop - line == 18 and strncasecmp(line, b"upgrade: websocket", 18) == 0
        elif field.namelen == 4 and memcmp(line, b"host", 4) == 0:
            fields[4].value = field.value
            fields[4].valuelen = field.valuelen
        else:
            found += 1
            if field.namelen == 17 and memcmp(line, b"sec-websocket-key", 17) == 0:
                key = found - 1
            found += trailers_wanted(field)
    return -1


def trailers_wanted(field):
    """Behind gRPC's content type, the field that its servers ask for; how many fields that is."""
    if field.namelen != 12 or memcmp(field.name, b"content-type", 12) != 0:
        return 0
    if not is_grpc(cython.cast(cython.p_const_char, field.value), field.valuelen):
        return 0
    put_field(field + 1, b"te", 2, b"trailers", 8)
    return 1


def shake(lane, fields, found, key):
    """An Upgrade to WebSocket is an extended CONNECT (RFC 8441), where the server knows it.

    Where it does not, the Upgrade is left out, as any server may ignore one (RFC 9110 7.8).
    """
    knows: uint32_t = nghttp2_session_get_remote_settings(
        inner_of(lane), NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL
    )
    text: cython.p_const_char = cython.cast(cython.p_const_char, fields[key].value)
    size: uint32_t = cython.cast(uint32_t, fields[key].valuelen)
    if not knows or not websocket_accept(text, size, lane.accept):
        return found
    lane.connect = 1
    put_field(cython.address(fields[1]), b":method", 7, b"CONNECT", 7)
    fields[key] = fields[found - 1]
    return found - 1
