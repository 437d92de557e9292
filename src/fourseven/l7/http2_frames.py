"""What libnghttp2 calls: frames that came, and frames that go out.

Each function is told of one thing, and notes it in the connection (records.Http2) and in the lane
that it is about; the lane is run when the library has returned. What a frame costs is in one table.

Laws: the library is not called from here, but for what it permits (submit, consume, look up). A
function returns 0, or CALLBACK_FAILURE with `fault` set: the connection ends with that code.
"""

import cython
from cython.cimports.fourseven.l7.call import call_closed
from cython.cimports.fourseven.l7.http2 import (
    DEBT_ANSWER,
    DEBT_FAULT,
    DEBT_MAX_SERVER,
    DEBT_RESET,
    FRAME_HEAD,
    http2_charge,
    http2_drain,
    http2_ready,
    http2_room,
    http2_wake,
)
from cython.cimports.fourseven.l7.http2_head import (
    answer_end,
    head_begin,
    head_end,
    head_field,
    head_forget,
    tail_begin,
    tail_end,
)
from cython.cimports.fourseven.l7.lane import lane_data, lane_open
from cython.cimports.fourseven.l7.records import (
    BLOCKED_WINDOW,
    SESSION_CLOSED,
    Http2,
    Lane,
)
from cython.cimports.fourseven.l7.trunk import trunk_greeted, trunk_retire
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.nghttp2 import (
    NGHTTP2_CONTINUATION,
    NGHTTP2_DATA,
    NGHTTP2_ENHANCE_YOUR_CALM,
    NGHTTP2_ERR_CALLBACK_FAILURE,
    NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE,
    NGHTTP2_ERR_WOULDBLOCK,
    NGHTTP2_FLAG_ACK,
    NGHTTP2_FLAG_END_STREAM,
    NGHTTP2_GOAWAY,
    NGHTTP2_HCAT_REQUEST,
    NGHTTP2_HEADERS,
    NGHTTP2_INTERNAL_ERROR,
    NGHTTP2_NO_ERROR,
    NGHTTP2_PING,
    NGHTTP2_PRIORITY,
    NGHTTP2_PROTOCOL_ERROR,
    NGHTTP2_RST_STREAM,
    NGHTTP2_SETTINGS,
    NGHTTP2_WINDOW_UPDATE,
    nghttp2_session,
    nghttp2_session_callbacks_set_on_begin_frame_callback,
    nghttp2_session_callbacks_set_on_begin_headers_callback,
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback,
    nghttp2_session_callbacks_set_on_frame_recv_callback,
    nghttp2_session_callbacks_set_on_frame_send_callback,
    nghttp2_session_callbacks_set_on_header_callback2,
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback,
    nghttp2_session_callbacks_set_on_stream_close_callback,
    nghttp2_session_callbacks_set_send_callback,
    nghttp2_session_callbacks_set_send_data_callback,
    nghttp2_session_consume,
    nghttp2_session_get_stream_user_data,
)
from cython.cimports.fourseven.worker.worker import Buffer
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.string import memcpy, memset

# What a frame costs by its type, 0 (DATA) to 9 (CONTINUATION); see on_begin_frame for the rest.
COSTS = cython.declare(cython.int[10])


def frames_prepare(callbacks):
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send)
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data)
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame)
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame)
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame)
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close)
    memset(COSTS, 0, cython.sizeof(COSTS))
    COSTS[cython.cast(cython.int, NGHTTP2_PRIORITY)] = 2
    COSTS[cython.cast(cython.int, NGHTTP2_SETTINGS)] = 10
    COSTS[cython.cast(cython.int, NGHTTP2_PING)] = 2
    COSTS[cython.cast(cython.int, NGHTTP2_GOAWAY)] = 10
    COSTS[cython.cast(cython.int, NGHTTP2_WINDOW_UPDATE)] = 1
    COSTS[cython.cast(cython.int, NGHTTP2_CONTINUATION)] = 5
    return 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def spend(http2: cython.pointer[Http2], points: int32_t) -> cython.int:
    """What a callback returns after a fault: 0, or the end of the connection."""
    if not http2_charge(http2, points):
        return 0
    http2.fault = NGHTTP2_ENHANCE_YOUR_CALM
    return NGHTTP2_ERR_CALLBACK_FAILURE


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def lane_of(http2: cython.pointer[Http2], id: int32_t) -> cython.pointer[Lane]:
    return cython.cast(
        cython.pointer[Lane],
        nghttp2_session_get_stream_user_data(
            cython.cast(cython.pointer[nghttp2_session], http2.inner), id
        ),
    )


# ---- output: called by the library within http2_output ----


def on_send(inner, at, size, flags, data):
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    buffer: cython.pointer[Buffer]
    if not http2_room(http2, size):
        if http2.session.broken:
            return NGHTTP2_ERR_CALLBACK_FAILURE
        return NGHTTP2_ERR_WOULDBLOCK
    buffer = http2.session.out
    memcpy(buffer.at + buffer.end, at, size)
    buffer.end += cython.cast(uint32_t, size)
    return size


def on_send_data(inner, frame, head, size, source, data):
    """The room was there when the lane said how much it gives, and nothing came between."""
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    lane: cython.pointer[Lane] = lane_of(http2, frame.hd.stream_id)
    buffer: cython.pointer[Buffer]
    if not http2_room(http2, FRAME_HEAD + size):
        return NGHTTP2_ERR_CALLBACK_FAILURE
    buffer = http2.session.out
    memcpy(buffer.at + buffer.end, head, FRAME_HEAD)
    buffer.end += cython.cast(uint32_t, FRAME_HEAD)
    if size == 0:
        return 0
    if lane is cython.NULL or size > lane.give_size:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    memcpy(buffer.at + buffer.end, lane.give, size)
    buffer.end += cython.cast(uint32_t, size)
    lane.give += size
    lane.give_size -= cython.cast(uint32_t, size)
    http2_charge(http2, -1)
    return 0


def on_frame_sent(inner, frame, data):
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    lane: cython.pointer[Lane]
    if frame.hd.type == NGHTTP2_RST_STREAM:
        count(cython.address(http2.worker.counters.http2_resets), 1)
        if http2.outward:
            return 0  # clients that leave, mostly
        if frame.rst_stream.error_code not in (NGHTTP2_NO_ERROR, NGHTTP2_INTERNAL_ERROR):
            http2_charge(http2, DEBT_FAULT)  # the next frame that comes meets the spent budget
        return 0
    if frame.hd.flags & NGHTTP2_FLAG_END_STREAM and (
        frame.hd.type == NGHTTP2_DATA or frame.hd.type == NGHTTP2_HEADERS
    ):
        lane = lane_of(http2, frame.hd.stream_id)
        http2_charge(http2, -DEBT_ANSWER)
        if lane is not cython.NULL:
            lane.sent_end = 1
    return 0


def on_stream_close(inner, id, code, data):
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    lane: cython.pointer[Lane] = lane_of(http2, id)
    if lane is cython.NULL:
        return 0
    lane.closed = 1
    if http2.building.lane == lane:
        head_forget(cython.address(http2.building))
    if http2.outward:
        call_closed(lane, code)
        http2_wake(http2, BLOCKED_WINDOW)  # the library may begin a stream that had no place
    elif not lane.sent_end:
        lane.session.broken = 1
        http2_ready(http2, lane)
    return 0


# ---- input: called by the library within `feed` ----


def on_begin_frame(inner, head, data):
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    points: cython.int
    http2.greeted |= not http2.outward
    if head.type == NGHTTP2_PRIORITY and head.stream_id == 0:
        http2.fault = NGHTTP2_PROTOCOL_ERROR  # the library, which ignores priorities, lets it pass
        return NGHTTP2_ERR_CALLBACK_FAILURE
    if head.type == NGHTTP2_HEADERS and not http2.outward and passed_over(http2, head.stream_id):
        http2.fault = NGHTTP2_PROTOCOL_ERROR  # to the library it is one that is closed
        return NGHTTP2_ERR_CALLBACK_FAILURE
    if head.type > NGHTTP2_CONTINUATION:
        points = 2
    elif head.flags & NGHTTP2_FLAG_ACK and (
        head.type == NGHTTP2_SETTINGS or head.type == NGHTTP2_PING
    ):
        points = 1
    elif head.type == NGHTTP2_DATA and not head.flags & NGHTTP2_FLAG_END_STREAM:
        points = 5 if head.length == 0 else -1
        if lane_of(http2, head.stream_id) is cython.NULL:
            points = 2  # late: its stream has been reset, or was over
    else:
        points = COSTS[head.type]
    return spend(http2, points)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def passed_over(http2: cython.pointer[Http2], id: int32_t) -> cython.bint:
    """Notes a new stream. Is it one below the newest that never was? By beginning a higher one, a
    client has given up those between (RFC 9113 5.1.1); the latest gap is remembered."""
    due: int32_t = http2.newest + 2 if http2.newest > 0 else 1
    if id <= http2.newest:
        return http2.passed[0] <= id <= http2.passed[1]
    if id > due:
        http2.passed[0] = due
        http2.passed[1] = id - 1
    http2.newest = id
    return False


def on_begin_headers(inner, frame, data):
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    lane: cython.pointer[Lane]
    if frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        lane = lane_of(http2, frame.hd.stream_id)
        if lane is not cython.NULL and http2.outward and not lane.headed:
            head_begin(http2, lane)
        elif lane is not cython.NULL:
            tail_begin(http2, lane)
        return 0
    lane = lane_open(http2, frame.hd.stream_id)
    if lane is cython.NULL:
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    head_begin(http2, lane)
    return 0


def on_header(inner, frame, name, value, flags, data):
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    if http2.building.lane is cython.NULL:
        return 0
    if head_field(http2, name, value) < 0:
        return spend(http2, DEBT_MAX_SERVER + 1)
    return 0


def on_data(inner, flags, id, at, size, data):
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    lane: cython.pointer[Lane] = lane_of(http2, id)
    if lane is cython.NULL or lane.session.state == SESSION_CLOSED:
        nghttp2_session_consume(inner, id, size)
    elif not lane_data(lane, cython.cast(cython.p_const_char, at), cython.cast(uint32_t, size)):
        nghttp2_session_consume(inner, id, size)
        lane.session.broken = 1
        lane.refuse |= http2.outward
        http2_ready(http2, lane)
    return 0


def on_frame(inner, frame, data):
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    lane: cython.pointer[Lane]
    settings: cython.bint
    if frame.hd.type == NGHTTP2_HEADERS or frame.hd.type == NGHTTP2_DATA:
        lane = lane_of(http2, frame.hd.stream_id)
        if lane is cython.NULL:
            return 0
        if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
            lane.remote_end = 1
            lane.session.readable = 1
        if frame.hd.type == NGHTTP2_DATA:
            if lane.remote_end:
                tail_end(http2, lane)
        elif http2.outward and not lane.headed:
            answer_end(http2, lane)
        elif frame.headers.cat == NGHTTP2_HCAT_REQUEST:
            head_end(http2, lane)
        else:
            tail_end(http2, lane)
        http2_ready(http2, lane)
        return 0
    if frame.hd.type == NGHTTP2_RST_STREAM:
        if http2.outward:
            return 0  # it ends a stream of ours, once
        lane = lane_of(http2, frame.hd.stream_id)
        return spend(http2, 1 if lane is cython.NULL or lane.sent_end else DEBT_RESET)
    if frame.hd.type == NGHTTP2_WINDOW_UPDATE or frame.hd.type == NGHTTP2_SETTINGS:
        http2_wake(http2, BLOCKED_WINDOW)
        settings = frame.hd.type == NGHTTP2_SETTINGS and not frame.hd.flags & NGHTTP2_FLAG_ACK
        if http2.outward and settings:
            trunk_greeted(http2)
    elif frame.hd.type == NGHTTP2_GOAWAY and http2.outward:
        trunk_retire(http2)
    elif frame.hd.type == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK:
        if http2.draining == 1:
            http2_drain(http2.worker, http2.session, True)
    return 0


def on_invalid_frame(inner, frame, error, data):
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    lane: cython.pointer[Lane]
    if http2.outward and frame.hd.stream_id != 0:
        lane = lane_of(http2, frame.hd.stream_id)
        if lane is not cython.NULL:
            lane.wrong = 1
    return spend(http2, DEBT_FAULT)
