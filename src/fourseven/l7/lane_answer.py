"""The answer of a lane: what the engine says as HTTP/1.1, in the frames of HTTP/2.

The head becomes fields, the body loses its chunks, trailers become fields again. A body is not
kept: `push` offers the engine's own bytes to the library, which takes what the windows and the
socket's buffer allow; what it leaves, the engine offers again when the lane is run.

Laws: an answer that the engine does not finish ends in a reset, never in a clean end. Where the
length is known its last byte ends the stream, so that no frame is spent on the end alone.
"""

import cython
from cython.cimports.fourseven.l7.call import call_head
from cython.cimports.fourseven.l7.http2 import (
    FRAME_HEAD,
    ROOM_MIN,
    http2_output,
    http2_room,
    http2_soon,
)
from cython.cimports.fourseven.l7.lane import inner_of, lane_append, lane_detach
from cython.cimports.fourseven.l7.lane_answer import FIELDS_OUT_MAX, TRAILERS_OUT_MAX
from cython.cimports.fourseven.l7.records import (
    ANSWER_CHUNK,
    ANSWER_CHUNK_END,
    ANSWER_DONE,
    ANSWER_HEAD,
    ANSWER_LENGTH,
    ANSWER_OPEN,
    ANSWER_SIZE,
    ANSWER_TRAILERS,
    BLOCKED_SOCKET,
    BLOCKED_WINDOW,
    WAIT_CLIENT,
    WAIT_NOTHING,
    Http2,
    Lane,
)
from cython.cimports.fourseven.l7.session import (
    session_close,
)
from cython.cimports.fourseven.native.nghttp2 import (
    NGHTTP2_DATA_FLAG_EOF,
    NGHTTP2_DATA_FLAG_NO_COPY,
    NGHTTP2_DATA_FLAG_NO_END_STREAM,
    NGHTTP2_ERR_DEFERRED,
    NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE,
    NGHTTP2_FLAG_NONE,
    NGHTTP2_NV_FLAG_NONE,
    nghttp2_data_provider,
    nghttp2_nv,
    nghttp2_session_get_remote_window_size,
    nghttp2_session_get_stream_remote_window_size,
    nghttp2_session_get_stream_user_data,
    nghttp2_session_resume_data,
    nghttp2_submit_headers,
    nghttp2_submit_response,
    nghttp2_submit_trailer,
)
from cython.cimports.fourseven.protocols.grammar import hex_value
from cython.cimports.fourseven.protocols.message import METHOD_HEAD
from cython.cimports.fourseven.worker.tools import buffer_large
from cython.cimports.fourseven.worker.worker import Buffer
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import memchr, memcmp, memcpy

# ---- to the client ----


def lane_send(worker, session, at, size):
    taken: int32_t = lane_say(session.lane, at, size)
    if taken < 0:
        session.broken = 1
    elif taken > 0 and session.waiting == WAIT_CLIENT:
        session.waiting = WAIT_NOTHING  # it took something: its time begins anew
    return taken


def lane_say(lane, at, size):
    taken: uint32_t = 0
    moved: int32_t = 0
    if lane.carrier.session.broken or (lane.closed and not lane.sent_end):
        return -1
    while taken < size:
        if lane.answer == ANSWER_HEAD and lane.upstream is not cython.NULL:
            moved = call_head(lane, cython.cast(cython.p_char, at) + taken, size - taken)
        elif lane.answer == ANSWER_HEAD:
            moved = answer_head(lane, cython.cast(cython.p_char, at) + taken, size - taken)
        elif lane.answer in (ANSWER_LENGTH, ANSWER_OPEN, ANSWER_CHUNK):
            moved = answer_body(lane, at + taken, size - taken)
        elif lane.answer == ANSWER_TRAILERS:
            moved = answer_trailers(lane, at + taken, size - taken)
        else:
            moved = answer_framing(lane, at + taken, size - taken)
        if moved < 0:
            http2_soon(lane.carrier)
            return -1
        if moved == 0:
            break
        taken += moved
    http2_soon(lane.carrier)
    return cython.cast(int32_t, taken)


def answer_body(lane, at, size):
    taken: int32_t
    if lane.answer != ANSWER_OPEN and size > lane.answer_left:
        size = cython.cast(uint32_t, lane.answer_left)
    taken = push(lane, at, size)
    if taken <= 0 or lane.answer == ANSWER_OPEN:
        return taken
    lane.answer_left -= taken
    if lane.answer_left == 0:
        lane.answer = ANSWER_CHUNK_END if lane.answer == ANSWER_CHUNK else ANSWER_DONE
    return taken


def answer_framing(lane, at, size):
    """Between the chunks: one byte at a time, for they are few and may be cut anywhere."""
    byte: cython.char = at[0]
    if lane.answer == ANSWER_SIZE:
        if byte == 13:
            return 1
        if byte != 10:
            lane.answer_left = lane.answer_left * 16 + cython.cast(uint64_t, hex_value(byte))
            return 1
        lane.answer = ANSWER_CHUNK if lane.answer_left > 0 else ANSWER_TRAILERS
        return 1
    if lane.answer == ANSWER_CHUNK_END:
        if byte == 10:
            lane.answer = ANSWER_SIZE
        return 1
    return -1  # bytes behind the end


def answer_trailers(lane, at, size):
    """Kept until they are complete: lines, then an empty one."""
    buffer: cython.pointer[Buffer] = lane.trailers
    end: cython.p_const_char = cython.cast(cython.p_const_char, memchr(at, 10, size))
    line: uint32_t = size if end is cython.NULL else cython.cast(uint32_t, end - at) + 1
    begun: cython.bint = buffer is not cython.NULL and buffer.at[buffer.end - 1] != 10
    if not begun and at[0] == 13:
        if line < 2:
            return 1
        lane.answer = ANSWER_DONE
        return line
    if not begun and at[0] == 10:
        lane.answer = ANSWER_DONE
        return 1
    if buffer is cython.NULL:
        buffer = buffer_large(lane.carrier.worker)
        lane.trailers = buffer
    if buffer is cython.NULL or buffer.end + line > TRAILERS_OUT_MAX:
        return -1
    memcpy(buffer.at + buffer.end, at, line)
    buffer.end += line
    return line


def lane_finish(worker, session):
    lane: cython.pointer[Lane] = session.lane
    if not lane.closed and not lane.sent_end:
        if lane.answer != ANSWER_DONE and lane.answer != ANSWER_OPEN:
            session_close(worker, session)  # not a whole answer
            return True
        lane_end(session)
        if lane.carrier.session.broken:
            session_close(worker, session)
            return True
        if not lane.sent_end:
            lane.blocked = BLOCKED_SOCKET
            lane.carrier.room_wanted = 1
            return False
    session_close(worker, session)
    return True


def lane_end(session):
    lane_over(session.lane)


def lane_over(lane):
    lane.over = 1
    if lane.closed or lane.carrier.over:
        return
    nghttp2_session_resume_data(inner_of(lane), lane.id)
    http2_output(lane.carrier)
    http2_soon(lane.carrier)


def push(lane, at, size):
    """Offers bytes to the library; how many it took. 0: the lane is run again at the next room."""
    http2: cython.pointer[Http2] = lane.carrier
    taken: uint32_t
    window: int32_t
    if lane.closed:
        return -1
    lane.give = at
    lane.give_size = size
    lane.last = lane.answer == ANSWER_LENGTH and size == lane.answer_left
    nghttp2_session_resume_data(inner_of(lane), lane.id)
    http2_output(http2)
    taken = size - lane.give_size
    lane.give = cython.NULL
    lane.give_size = 0
    if http2.session.broken or (lane.closed and not lane.sent_end):
        return -1
    if taken == size:
        return cython.cast(int32_t, taken)
    window = min(
        nghttp2_session_get_remote_window_size(inner_of(lane)),
        nghttp2_session_get_stream_remote_window_size(inner_of(lane), lane.id),
    )
    lane.blocked = BLOCKED_WINDOW if window <= 0 else BLOCKED_SOCKET
    if window <= 0 and not http2_room(http2, FRAME_HEAD + ROOM_MIN):
        lane.blocked = BLOCKED_SOCKET  # perhaps its head has not even gone, so it has no window yet
    if lane.blocked == BLOCKED_SOCKET:
        http2.room_wanted = 1
    lane_detach(http2, lane)
    lane_append(http2, lane)  # the others have their turn first
    return cython.cast(int32_t, taken)


def on_give(inner, id, to, size, flags, source, data):
    """Asked by the library: what is there for this stream now?"""
    fields = cython.declare(nghttp2_nv[FIELDS_OUT_MAX])
    http2: cython.pointer[Http2] = cython.cast(cython.pointer[Http2], data)
    lane: cython.pointer[Lane] = cython.cast(
        cython.pointer[Lane], nghttp2_session_get_stream_user_data(inner, id)
    )
    room: cython.size_t
    found: int32_t
    if lane is cython.NULL:
        return NGHTTP2_ERR_DEFERRED  # its reset is on the way
    if not http2_room(http2, FRAME_HEAD + ROOM_MIN):
        return NGHTTP2_ERR_DEFERRED
    flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
    if lane.give_size > 0:
        room = http2.session.out.capacity - http2.session.out.end - FRAME_HEAD
        size = min(size, min(room, cython.cast(cython.size_t, lane.give_size)))
        if lane.last and size == lane.give_size:
            flags[0] |= NGHTTP2_DATA_FLAG_EOF
        return size
    if not lane.over:
        return NGHTTP2_ERR_DEFERRED
    flags[0] |= NGHTTP2_DATA_FLAG_EOF
    if lane.trailers is not cython.NULL:
        found = fields_of(lane, lane.trailers.at, lane.trailers.end, fields, True)
        if found < 0:
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
        flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
        if nghttp2_submit_trailer(inner, id, fields, found) != 0:
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    return 0


# ---- an answer's head ----


def answer_head(lane, at, size):
    """A whole head (the engine writes none in pieces); how many bytes it has."""
    fields = cython.declare(nghttp2_nv[FIELDS_OUT_MAX])
    provider = cython.declare(nghttp2_data_provider)
    status: cython.int
    found: int32_t
    bodiless: cython.bint
    if size < 16 or memchr(at, 10, size) is cython.NULL:
        return -1
    status = (at[9] - 48) * 100 + (at[10] - 48) * 10 + at[11] - 48
    if status == 101:
        if not lane.connect:
            return -1
        memcpy(at + 9, b"200", 3)  # RFC 8441 5
    elif lane.connect and status // 100 == 2:
        memcpy(at + 9, b"502", 3)  # a 2xx would say that the tunnel stands, and it does not
    lane.answer = ANSWER_OPEN
    lane.answer_left = 0
    found = fields_of(lane, at, size, fields, False)
    if found < 0:
        return -1
    if status < 200 and status != 101:
        lane.answer = ANSWER_HEAD
        if nghttp2_submit_headers(
            inner_of(lane), NGHTTP2_FLAG_NONE, lane.id, cython.NULL, fields, found, cython.NULL
        ):
            return -1
        return lane.used
    bodiless = lane.session.stream.method_id == METHOD_HEAD or status == 204 or status == 304
    if bodiless or (lane.answer == ANSWER_LENGTH and lane.answer_left == 0):
        lane.answer = ANSWER_DONE
    elif status == 101:
        lane.answer = ANSWER_OPEN
    provider.source.ptr = cython.NULL
    provider.read_callback = on_give
    if nghttp2_submit_response(
        inner_of(lane),
        lane.id,
        fields,
        found,
        cython.NULL if lane.answer == ANSWER_DONE else cython.address(provider),
    ):
        return -1
    return lane.used


def fields_of(lane, at, size, fields, trailers):
    """The lines as fields, how many; what frames HTTP/1.1 becomes the state of the lane."""
    position: uint32_t = 0
    found: int32_t = 0
    line: cython.p_char
    stop: cython.p_char
    colon: cython.p_char
    if not trailers:
        put_field(cython.address(fields[0]), b":status", 7, at + 9, 3)
        found = 1
        stop = cython.cast(cython.p_char, memchr(at, 10, size))
        position = cython.cast(uint32_t, stop - at) + 1
    while position < size:
        line = at + position
        stop = cython.cast(cython.p_char, memchr(line, 10, size - position))
        if stop is cython.NULL or stop == line:
            return -1
        position = cython.cast(uint32_t, stop - at) + 1
        if line[0] == 13:
            lane.used = position
            return found
        stop -= 1
        colon = cython.cast(cython.p_char, memchr(line, 58, stop - line))
        if colon is cython.NULL or found == FIELDS_OUT_MAX:
            return -1
        if one_field(lane, line, colon, stop, cython.address(fields[found])):
            found += 1
    return found if trailers else -1


def one_field(lane, line, colon, stop, field):
    """False for a line that is about the framing."""
    at: cython.p_char = line
    size: uint32_t = cython.cast(uint32_t, colon - line)
    while at < colon:
        if 65 <= at[0] <= 90:
            at[0] |= 32
        at += 1
    at = colon + 1
    while at < stop and at[0] == 32:
        at += 1
    if size == 14 and memcmp(line, b"content-length", 14) == 0:
        lane.answer = ANSWER_LENGTH
        lane.answer_left = number_of(at, stop)
    elif size == 17 and memcmp(line, b"transfer-encoding", 17) == 0:
        lane.answer = ANSWER_SIZE
        return False
    elif (
        (size == 10 and memcmp(line, b"connection", 10) == 0)
        or (size == 10 and memcmp(line, b"keep-alive", 10) == 0)
        or (size == 7 and memcmp(line, b"upgrade", 7) == 0)
        or (size == 16 and memcmp(line, b"proxy-connection", 16) == 0)
        or (lane.connect and size == 20 and memcmp(line, b"sec-websocket-accept", 20) == 0)
    ):
        return False
    put_field(field, line, size, at, cython.cast(uint32_t, stop - at))
    return True


def put_field(field, name, name_size, value, value_size):
    field.name = cython.cast(cython.pointer[cython.uchar], cython.cast(cython.p_void, name))
    field.namelen = name_size
    field.value = cython.cast(cython.pointer[cython.uchar], cython.cast(cython.p_void, value))
    field.valuelen = value_size
    field.flags = NGHTTP2_NV_FLAG_NONE


def number_of(at, stop):
    value: uint64_t = 0
    while at < stop and 48 <= at[0] <= 57:
        value = value * 10 + cython.cast(uint64_t, at[0] - 48)
        at += 1
    return value
