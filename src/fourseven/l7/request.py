"""The request on its way to the server.

A window on the session's buffer, behind the head: raw bytes are read at its end, checked and put
into canonical framing ("cooked"), and sent from its beginning. A server that takes no more stops
the reading of the client (backpressure), so a slow server costs one buffer, not a body.

Laws: the head stays where it is until the stream ends, for another try and for the filters of the
response. Once a part of the body has been overwritten the request can't be repeated.
"""

import cython
from cython.cimports.fourseven.l7.answer import (
    stream_refuse,
)
from cython.cimports.fourseven.l7.gate_mirror import mirror_send
from cython.cimports.fourseven.l7.hedge import hedge_arm
from cython.cimports.fourseven.l7.pace import pace_allow, pace_spend
from cython.cimports.fourseven.l7.records import (
    JOIN_MAX,
    OUT_CAPACITY,
    ROOM_KEPT,
    TURNS_MAX,
    Http,
    Stream,
    Upstream,
    due_ms,
    http_of,
    upstream_unsent,
)
from cython.cimports.fourseven.l7.retry import (
    FAILED_CONNECT,
    stream_failed,
)
from cython.cimports.fourseven.l7.session import (
    READ_LATER,
    session_read,
)
from cython.cimports.fourseven.l7.upstream import (
    upstream_flush,
    upstream_send,
    upstream_write,
)
from cython.cimports.fourseven.protocols.chunked import (
    chunked_read,
)
from cython.cimports.fourseven.protocols.message import (
    FRAMING_LENGTH,
)
from cython.cimports.fourseven.worker.tools import buffer_free, buffer_large, timer_put_off
from cython.cimports.fourseven.worker.worker import (
    REASON_BODY_FAULT,
    REASON_BODY_SIZE,
    REASON_OURS,
    Buffer,
)
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy, memmove


def window_reset(session):
    buffer: cython.pointer[Buffer] = session.in_.buffer
    session.in_.ready = 0
    session.in_.raw = buffer.start + session.stream.head_size
    session.in_.at = session.in_.raw


def body_reason(status):
    return REASON_BODY_SIZE if status == 413 else REASON_BODY_FAULT


def forward_request(worker, session, head_size):
    http: cython.pointer[Http] = http_of(worker)
    upstream: cython.pointer[Upstream] = session.stream.upstream
    status: int32_t = cook_request(session)
    if status != 0:
        stream_refuse(worker, session, status, body_reason(status))
        return
    size: uint32_t = session.in_.ready
    paced: cython.bint = (
        session.stream.shape is not cython.NULL and session.stream.shape.pace_up > 0
    )
    if size <= JOIN_MAX and head_size + size <= OUT_CAPACITY and not paced:
        memcpy(cython.address(http.out[head_size]), session.in_.buffer.at + session.in_.at, size)
        head_size += size
        session.in_.at += size
        session.in_.ready = 0
    if upstream_write(worker, upstream, cython.address(http.out[0]), head_size) < 0:
        server_lost(worker, session)
        return
    pump_request(worker, session)


def pump_request(worker, session):
    """Moves what it can; true when it gave way to others although more is there."""
    turns: cython.int = 0
    while request_piece(worker, session):
        turns += 1
        if turns == TURNS_MAX:
            return True
    return False


def request_piece(worker, session):
    stream: cython.pointer[Stream] = session.stream
    sent: int32_t = 1
    size: uint32_t
    status: int32_t
    if upstream_unsent(stream.upstream):
        sent = upstream_flush(worker, stream.upstream)
    elif session.in_.ready > 0:
        size = session.in_.ready
        if stream.shape is not cython.NULL:
            size = pace_allow(worker, session, 1, size)
            if size == 0:
                return False
        sent = upstream_send(worker, stream.upstream, session.in_.buffer.at + session.in_.at, size)
        if sent > 0:
            if stream.shape is not cython.NULL:
                pace_spend(stream.shape, 1, sent)
            session.in_.at += sent
            session.in_.ready -= sent
    elif stream.request.done:
        request_sent(worker, session)
        return False
    else:
        status = cook_request(session)
        if status != 0:
            stream_refuse(worker, session, status, body_reason(status))
            return False
        if session.in_.ready == 0 and not stream.request.done:
            return read_body(worker, session)
        return True
    if sent < 0:
        server_lost(worker, session)
        return False
    return sent > 0


def request_sent(worker, session):
    """Its last byte has gone: from now on the server owes the answer."""
    stream: cython.pointer[Stream] = session.stream
    due: uint64_t = due_ms(stream.upstream, worker.now_ms + stream.upstream.response_timeout_ms)
    stream.sent_ns = worker.now_ns
    if stream.backend is not cython.NULL and stream.backend.resilience is not cython.NULL:
        due = hedge_arm(worker, session, due)
    timer_put_off(worker, cython.address(stream.upstream.timer), due)
    if stream.mirrors:
        mirror_send(worker, session)


def cook_request(session):
    """Takes the raw bytes into canonical framing; 0, or the status of a refusal."""
    body = cython.address(session.stream.request)
    buffer: cython.pointer[Buffer] = session.in_.buffer
    size: uint32_t = buffer.end - session.in_.raw
    used: uint32_t = 0
    cooked: int32_t
    if session.in_.ready > 0 or body.done or size == 0:
        return 0
    session.in_.at = session.in_.raw
    if body.framing == FRAMING_LENGTH:
        if size > body.left:
            size = cython.cast(uint32_t, body.left)
        session.in_.ready = size
        session.in_.raw += size
        body.left -= size
        body.total += size
        body.done = body.left == 0
        return 0
    cooked = chunked_read(
        cython.address(body.chunked), buffer.at + session.in_.raw, size, cython.address(used)
    )
    if cooked < 0:
        return -cooked
    if cython.cast(uint32_t, cooked) != used:
        session.stream.replayable = 0  # what stands in the buffer is no longer what came
    session.in_.ready = cooked
    session.in_.raw += used
    body.total = body.chunked.total
    body.done = body.chunked.done
    if body.limit and body.total > body.limit:
        return 413
    return 0


def read_body(worker, session):
    """More of the body from the client, into the place behind the head.

    While there is room, what has gone stays where it is: so the request can still be repeated.
    """
    stream: cython.pointer[Stream] = session.stream
    buffer: cython.pointer[Buffer]
    start: uint32_t
    left: uint32_t
    size: int32_t
    if not session.readable:
        return False
    if not session.in_.buffer.large and not enlarge(worker, session):
        stream_refuse(worker, session, 503, REASON_OURS)
        return False
    buffer = session.in_.buffer
    start = buffer.start + stream.head_size
    room: cython.bint = stream.replayable and buffer.capacity - buffer.end >= ROOM_KEPT
    if session.in_.raw > start and not room:
        left = buffer.end - session.in_.raw
        memmove(buffer.at + start, buffer.at + session.in_.raw, left)
        buffer.end = start + left
        session.in_.raw = start
        session.in_.at = start
        stream.replayable = 0
    size = session_read(worker, session)
    if size > 0:
        return True
    if size != READ_LATER:
        session.broken = 1  # the rest will never come
    return False


def enlarge(worker, session):
    """A body that did not come with its head is read in large pieces."""
    buffer: cython.pointer[Buffer] = session.in_.buffer
    larger: cython.pointer[Buffer] = buffer_large(worker)
    if larger is cython.NULL:
        return False
    larger.end = buffer.end - buffer.start
    memcpy(larger.at, buffer.at + buffer.start, larger.end)
    session.in_.raw -= buffer.start
    session.in_.at -= buffer.start
    session.in_.buffer = larger
    buffer_free(worker, buffer)
    return True


def server_lost(worker, session):
    """A write failed. An answer may have come before (413, say): it is read first."""
    upstream: cython.pointer[Upstream] = session.stream.upstream
    if upstream.connecting:
        stream_failed(worker, session, FAILED_CONNECT)
        return
    session.lingering = 1
    if session.stream.response_begun:
        return
    buffer_free(worker, upstream.out)
    upstream.out = cython.NULL
    session.in_.ready = 0
    session.stream.sent_ns = worker.now_ns
    upstream.readable = 1
    upstream.hup = 1
