"""After an Upgrade (RFC 9110 7.8): the bytes are no longer ours to read, only to carry.

Bytes that the client sent behind its Upgrade request were held until the server said 101: before
that they might have been a smuggled request. Now they go first.

Laws: a half that one side closes is closed on the other once all its bytes are through. The tunnel
lives until both halves are closed, a side breaks, or neither moves for `tunnel_timeout`.
"""

import cython
from cython.cimports.fourseven.l7.records import (
    SESSION_TUNNEL,
    WAIT_NOTHING,
    Stream,
    Upstream,
    http_of,
)
from cython.cimports.fourseven.l7.response import write_head
from cython.cimports.fourseven.l7.retry import FAILED_ANSWER, stream_failed
from cython.cimports.fourseven.l7.session import (
    READ_BROKEN,
    READ_END,
    READ_NO_MEMORY,
    release_empty,
    session_close,
    session_finish,
    session_flush,
    session_read,
    session_send,
    session_write,
)
from cython.cimports.fourseven.l7.stream import stream_unpin
from cython.cimports.fourseven.l7.upstream import (
    upstream_finish,
    upstream_flush,
    upstream_read,
    upstream_send,
)
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.worker.tools import buffer_free
from cython.cimports.fourseven.worker.worker import Buffer
from cython.cimports.libc.stdint import int32_t


def tunnel_begin(worker, session):
    stream: cython.pointer[Stream] = session.stream
    upstream: cython.pointer[Upstream] = stream.upstream
    size: int32_t = write_head(worker, session)
    if size < 0:
        stream_failed(worker, session, FAILED_ANSWER)
        return
    stream.status = 101
    stream.response_begun = 1
    stream_unpin(worker, stream)
    count(cython.address(worker.counters.upgrades), 1)
    count(cython.address(session.listener.counters.status[1]), 1)
    count(cython.address(worker.slot_counters[stream.slot].status[1]), 1)
    session.state = SESSION_TUNNEL
    session.in_.buffer.start = session.in_.raw
    upstream.in_.raw = upstream.in_.buffer.start
    upstream.in_.ready = 0
    session_write(worker, session, cython.address(http_of(worker).out[0]), size)


def tunnel_step(worker, session):
    upstream: cython.pointer[Upstream] = session.stream.upstream
    moved: cython.bint = to_server(worker, session)
    if not session.broken and to_client(worker, session):
        moved = True
    if session.broken:
        return True
    if session.fin_sent and upstream.fin_sent:
        session_close(worker, session)
        return False
    if moved:
        session.waiting = WAIT_NOTHING  # its time begins anew
    return moved


def to_server(worker, session):
    upstream: cython.pointer[Upstream] = session.stream.upstream
    buffer: cython.pointer[Buffer] = session.in_.buffer
    size: int32_t = upstream_flush(worker, upstream)
    if size <= 0:
        session.broken |= size < 0
        return False
    if buffer is not cython.NULL and buffer.start < buffer.end:
        size = upstream_send(worker, upstream, buffer.at + buffer.start, buffer.end - buffer.start)
        session.broken |= size < 0
        if size > 0:
            buffer.start += size
        return size > 0
    if session.fin:
        if not upstream.fin_sent:
            upstream.fin_sent = 1
            upstream_finish(upstream)
        return False
    if not session.readable:
        release_empty(worker, session)
        return False
    if buffer is not cython.NULL:
        buffer.start = 0
        buffer.end = 0
    size = session_read(worker, session)
    session.broken |= size == READ_BROKEN or size == READ_NO_MEMORY
    return size > 0 or size == READ_END


def to_client(worker, session):
    upstream: cython.pointer[Upstream] = session.stream.upstream
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    size: int32_t = session_flush(worker, session)
    if size <= 0:
        session.broken |= size < 0
        return False
    if buffer is not cython.NULL and buffer.start < buffer.end:
        size = session_send(worker, session, buffer.at + buffer.start, buffer.end - buffer.start)
        session.broken |= size < 0
        if size > 0:
            buffer.start += size
        return size > 0
    if upstream.fin:
        if not session.fin_sent:
            session.fin_sent = 1
            session_finish(session)
        return False
    if not upstream.readable:
        buffer_free(worker, buffer)  # most tunnels are at rest most of the time
        upstream.in_.buffer = cython.NULL
        return False
    if buffer is not cython.NULL:
        buffer.start = 0
        buffer.end = 0
    size = upstream_read(worker, upstream)
    session.broken |= size == READ_BROKEN or size == READ_NO_MEMORY
    return size > 0 or size == READ_END
