"""A stream of HTTP/2 as the engine sees it: a client of HTTP/1.1 with one request.

What the engine reads is text of HTTP/1.1: the head that `http2_head` wrote, then the body, chunked
if its length was not told. What it writes is an answer of HTTP/1.1, read here and said in frames:
the head as fields, the body without its chunks, the trailers as fields again.

Backpressure is the same as at a socket. Towards the client: `lane_send` takes what the windows and
the socket's buffer allow, and says how much that was; the lane is run again when there is more
room. From the client: data is kept until the engine reads it, and only then the window opens again.

Laws: an answer that the engine does not finish ends in a reset, never in a clean end. After a whole
answer to an unfinished request, the client is told to stop with NO_ERROR (RFC 9113 8.1). Windows of
data that nobody will read are given back to the connection.
"""

import cython
from cython.cimports.fourseven.l7.answer import stream_refuse
from cython.cimports.fourseven.l7.http2 import (
    DEBT_LARGE_HEAD,
    http2_charge,
    http2_drain,
    http2_ready,
    http2_soon,
)
from cython.cimports.fourseven.l7.lane import LANE_ROOM_MIN, inner_of
from cython.cimports.fourseven.l7.records import (
    BLOCKED_NOT,
    WAIT_NOTHING,
    Http,
    Http2,
    Lane,
    Session,
    http_of,
)
from cython.cimports.fourseven.l7.session import (
    READ_END,
    READ_LATER,
    session_bury,
    session_ready,
)
from cython.cimports.fourseven.l7.stream import stream_clear
from cython.cimports.fourseven.l7.trunk import trunk_changed
from cython.cimports.fourseven.l7.waits import session_timer
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.nghttp2 import (
    NGHTTP2_FLAG_NONE,
    NGHTTP2_INTERNAL_ERROR,
    NGHTTP2_NO_ERROR,
    NGHTTP2_REFUSED_STREAM,
    nghttp2_session_consume,
    nghttp2_session_consume_connection,
    nghttp2_session_set_stream_user_data,
    nghttp2_submit_rst_stream,
)
from cython.cimports.fourseven.worker.tools import buffer_free, buffer_large, buffer_small
from cython.cimports.fourseven.worker.worker import REASON_FAULT, Buffer
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.stdlib import malloc
from cython.cimports.libc.string import memcpy, memmove, memset

# ---- begin and end ----


def lane_new(worker):
    http: cython.pointer[Http] = http_of(worker)
    lane: cython.pointer[Lane] = http.free_lanes
    if lane is not cython.NULL:
        http.free_lanes = lane.next
    else:
        lane = cython.cast(cython.pointer[Lane], malloc(cython.sizeof(Lane)))
        if lane is cython.NULL:
            count(cython.address(worker.counters.memory_refused), 1)
            return lane
    memset(lane, 0, cython.sizeof(Lane))
    lane.session.stream = cython.address(http.resting)
    return lane


def lane_join(http2, lane):
    lane.carrier = http2
    lane_append(http2, lane)
    http2.lane_count += 1
    http2.requests += 1
    http2.session.waiting = WAIT_NOTHING  # whatever it waits for next, its time begins anew


def lane_open(http2, id):
    carrier: cython.pointer[Session] = http2.session
    lane: cython.pointer[Lane] = lane_new(http2.worker)
    if lane is cython.NULL:
        return lane
    lane_join(http2, lane)
    lane.session.source.fd = -1
    lane.session.source.registered = 1  # there is nothing to watch
    lane.session.source.ready = session_ready
    lane.session.dead.bury = session_bury
    lane.session.timer.fire = session_timer
    lane.session.listener = carrier.listener
    lane.session.peer = carrier.peer
    lane.session.readable = 1
    lane.session.lane = lane
    lane.id = id
    nghttp2_session_set_stream_user_data(inner_of(lane), id, lane)
    count(cython.address(http2.worker.counters.http2_streams), 1)
    if carrier.listener.plan is cython.NULL or http2.worker.draining:
        http2_drain(http2.worker, carrier, carrier.listener.plan is cython.NULL)
    elif carrier.listener.plan.requests_max and (
        http2.requests >= carrier.listener.plan.requests_max
    ):
        http2_drain(http2.worker, carrier, False)
    return lane


def lane_append(http2, lane):
    lane.next = cython.NULL
    lane.link = http2.lanes_end
    http2.lanes_end[0] = lane
    http2.lanes_end = cython.address(lane.next)


def lane_detach(http2, lane):
    lane.link[0] = lane.next
    if lane.next is not cython.NULL:
        lane.next.link = lane.link
    else:
        http2.lanes_end = lane.link


def lane_close(worker, session):
    lane: cython.pointer[Lane] = session.lane
    code: uint32_t = NGHTTP2_NO_ERROR if lane.sent_end else NGHTTP2_INTERNAL_ERROR
    if lane.code and not lane.sent_end:
        code = lane.code  # as its server said
    if session.listener.plan is cython.NULL and session.stream.started_ns == 0:
        code = NGHTTP2_REFUSED_STREAM  # not looked at: it may be repeated elsewhere
    lane_leave(worker, lane, code)


def lane_leave(worker, lane, code):
    if lane.carrier is not cython.NULL:
        lane_part(lane, code)
    buffer_free(worker, lane.body)
    buffer_free(worker, lane.tail)
    buffer_free(worker, lane.trailers)
    lane.body = cython.NULL
    lane.tail = cython.NULL
    lane.trailers = cython.NULL


def lane_part(lane, code):
    http2: cython.pointer[Http2] = lane.carrier
    if not http2.over and not lane.closed and lane.id != 0:
        nghttp2_session_set_stream_user_data(inner_of(lane), lane.id, cython.NULL)
        if not lane.sent_end or not lane.remote_end:
            nghttp2_submit_rst_stream(inner_of(lane), NGHTTP2_FLAG_NONE, lane.id, code)
    if not http2.over and lane.body is not cython.NULL:
        nghttp2_session_consume_connection(inner_of(lane), lane.body.end - lane.body.start)
    lane_detach(http2, lane)
    leave_ready(http2, lane)
    lane.blocked = BLOCKED_NOT
    if http2.building.lane == lane:
        http2.building.lane = cython.NULL
    http2.lane_count -= 1
    if http2.outward:
        lane.carrier = cython.NULL
        trunk_changed(http2)
    if not http2.over:
        http2_soon(http2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave_ready(http2: cython.pointer[Http2], lane: cython.pointer[Lane]) -> cython.void:
    link: cython.pointer[cython.pointer[Lane]] = cython.address(http2.ready)
    if not lane.queued:
        return
    while link[0] is not cython.NULL and link[0] != lane:
        link = cython.address(link[0].next_ready)
    if link[0] == lane:
        link[0] = lane.next_ready
        if lane.next_ready is cython.NULL:
            http2.ready_end = link
    lane.queued = 0


def lane_refuse(worker, lane):
    session: cython.pointer[Session] = cython.address(lane.session)
    status: cython.int = lane.refuse
    lane.refuse = 0
    http2_charge(lane.carrier, DEBT_LARGE_HEAD)  # the next frame meets a spent budget
    count(cython.address(worker.counters.requests), 1)
    count(cython.address(session.listener.counters.requests), 1)
    if stream_clear(worker, session):
        stream_refuse(worker, session, status, REASON_FAULT)


# ---- from the client ----


def lane_data(lane, at, size):
    worker = lane.carrier.worker
    buffer: cython.pointer[Buffer] = lane.body
    larger: cython.pointer[Buffer]
    if buffer is cython.NULL:
        buffer = buffer_small(worker) if size <= 4096 else buffer_large(worker)
        lane.body = buffer
        if buffer is cython.NULL:
            return False
    if buffer.capacity - buffer.end < size and buffer.start > 0:
        memmove(buffer.at, buffer.at + buffer.start, buffer.end - buffer.start)
        buffer.end -= buffer.start
        buffer.start = 0
    if buffer.capacity - buffer.end < size:
        larger = cython.NULL if buffer.large else buffer_large(worker)
        if larger is cython.NULL or larger.capacity - buffer.end < size:
            buffer_free(worker, larger)
            return False  # the window is smaller than the buffer: no honest library comes here
        memcpy(larger.at, buffer.at, buffer.end)
        larger.end = buffer.end
        buffer_free(worker, buffer)
        buffer = larger
        lane.body = larger
    memcpy(buffer.at + buffer.end, at, size)
    buffer.end += size
    lane.session.readable = 1
    http2_ready(lane.carrier, lane)
    return True


def lane_read(worker, session, to, room):
    size: int32_t = lane_take(worker, session.lane, to, room)
    if size <= 0:
        session.readable = 0
        session.fin |= size == READ_END
    return size


def lane_take(worker, lane, to, room):
    tail: cython.pointer[Buffer] = lane.tail
    size: uint32_t
    if lane.body is not cython.NULL:
        return read_body(worker, lane, to, room)
    if lane.tailed and tail.start < tail.end:
        size = cython.cast(uint32_t, min(room, cython.cast(cython.size_t, tail.end - tail.start)))
        memcpy(to, tail.at + tail.start, size)
        tail.start += size
        return size
    if lane.remote_end and not lane.chunked:
        return READ_END
    return READ_LATER


def read_body(worker, lane, to, room):
    buffer: cython.pointer[Buffer] = lane.body
    size: uint32_t = buffer.end - buffer.start
    head: uint32_t = 0
    digits: uint32_t = 1
    at: uint32_t
    digit: uint32_t
    if lane.chunked:
        if room < LANE_ROOM_MIN:
            return READ_LATER  # the engine sees to more room before it asks (session.make_room)
        if size > room - 16:
            size = cython.cast(uint32_t, room - 16)
        while size >> (4 * digits):
            digits += 1
        for at in range(digits):
            digit = (size >> (4 * (digits - 1 - at))) & 15
            to[at] = cython.cast(cython.char, digit + (48 if digit < 10 else 87))
        memcpy(to + digits, b"\r\n", 2)
        head = digits + 2
    elif size > room:
        size = cython.cast(uint32_t, room)
    memcpy(to + head, buffer.at + buffer.start, size)
    if lane.chunked:
        memcpy(to + head + size, b"\r\n", 2)
        head += 2
    buffer.start += size
    if buffer.start == buffer.end:
        buffer_free(worker, buffer)
        lane.body = cython.NULL
    if lane.carrier is cython.NULL:
        return head + size
    if lane.closed:
        nghttp2_session_consume_connection(inner_of(lane), size)
    else:
        nghttp2_session_consume(inner_of(lane), lane.id, size)
    http2_soon(lane.carrier)
    return head + size
