"""The response on its way to the client.

Its head is read, judged and written anew; then its body passes through a window on the server's
buffer, as the request's does. A client that takes no more stops the reading of the server.

A body leaves as it came where the client knows that framing. What a server ends by closing, an
HTTP/1.1 client gets in chunks, so that a cut can be told from an end; an HTTP/1.0 client gets it
decoded, until the close. A big body of known length goes through a pipe (`splice`).

Laws: nothing reaches the client before the head has been judged, and the part of the body that came
with it. A body that is cut short never looks whole: the client's connection is broken off. What a
server sends beyond its answer is never used (`upstream_release` sees it).
"""

import cython
from cython.cimports.fourseven.balancing.ewma import ewma_update
from cython.cimports.fourseven.l7.answer import (
    answer,
    stream_context,
)
from cython.cimports.fourseven.l7.attempt import leave_server
from cython.cimports.fourseven.l7.breaker import breaker_said
from cython.cimports.fourseven.l7.compressed import (
    compressed_begin,
    compressed_body,
    compressed_head,
    compressed_say,
    compressed_trailers,
    compressed_unsay,
)
from cython.cimports.fourseven.l7.heads import HeadContext, write_response_head
from cython.cimports.fourseven.l7.hedge import hedge_answered
from cython.cimports.fourseven.l7.load import load_heard
from cython.cimports.fourseven.l7.pace import pace_allow, pace_spend
from cython.cimports.fourseven.l7.persist import persist_answer
from cython.cimports.fourseven.l7.records import (
    INTERIM_MAX,
    JOIN_MAX,
    OUT_CAPACITY,
    SESSION_EXCHANGE,
    SESSION_HEAD,
    SPLICE_MIN,
    Http,
    Stream,
    Upstream,
    answer_shaped,
    http_of,
    slot_of,
)
from cython.cimports.fourseven.l7.request import pump_request
from cython.cimports.fourseven.l7.retry import (
    FAILED_ANSWER,
    FAILED_CONNECT,
    FAILED_RESET,
    retry_answer,
    stream_failed,
)
from cython.cimports.fourseven.l7.session import (
    READ_END,
    READ_LATER,
    session_flush,
    session_send,
    session_write,
)
from cython.cimports.fourseven.l7.splice import splice_step
from cython.cimports.fourseven.l7.stream import (
    stream_finish,
    stream_reread,
    stream_unpin,
)
from cython.cimports.fourseven.l7.tunnel import tunnel_begin
from cython.cimports.fourseven.l7.upstream import server_head, upstream_read
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.linux import (
    MSG_NOSIGNAL,
    iovec,
    msghdr,
    sendmsg,
)
from cython.cimports.fourseven.protocols.chunked import (
    CHUNKED_DECODE,
    CHUNKED_KEEP,
    CHUNKED_TRAILERS,
    chunked_read,
    chunked_start,
)
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_LENGTH,
    FRAMING_NONE,
    Request,
    Response,
)
from cython.cimports.fourseven.tls.site import RECORD_MAX
from cython.cimports.fourseven.worker.judged import server_did
from cython.cimports.fourseven.worker.latency import latency_class
from cython.cimports.fourseven.worker.tools import acknowledge, buffer_free, timer_put_off
from cython.cimports.fourseven.worker.worker import (
    FAULTS_MAX,
    REASON_ANSWER_SIZE,
    Buffer,
)
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy, memmove, memset


def exchange_step(worker, session):
    if not session.stream.sent_ns:
        if pump_request(worker, session):
            return True
        if session.state != SESSION_EXCHANGE or session.broken:
            return True
    return pump_response(worker, session)


def pump_response(worker, session):
    flushed: int32_t = session_flush(worker, session)
    if flushed <= 0:
        return flushed < 0
    if not session.stream.response_begun:
        return response_head(worker, session)
    return response_body(worker, session)


# ---- its head ----


def response_head(worker, session):
    """Reads a head and judges it; true when another step may follow."""
    stream: cython.pointer[Stream] = session.stream
    upstream: cython.pointer[Upstream] = stream.upstream
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    size: int32_t = 0
    if buffer is not cython.NULL and buffer.start < buffer.end:
        size = server_head(upstream, stream.method_id, worker.response)
    if size > 0:
        buffer.start += size
        if worker.response.status < 200:
            return interim(worker, session)
        begin_response(worker, session)
        return True
    if size < 0:
        count(cython.address(worker.counters.faults[worker.response.fault % FAULTS_MAX]), 1)
        stream_failed(worker, session, FAILED_ANSWER)
        return True
    if not upstream.readable:
        return False
    if buffer is not cython.NULL and buffer.start > 0:  # behind an interim answer
        memmove(buffer.at, buffer.at + buffer.start, buffer.end - buffer.start)
        buffer.end -= buffer.start
        buffer.start = 0
    size = upstream_read(worker, upstream)
    if size == READ_LATER:
        return False
    if size <= 0:
        stream_failed(worker, session, FAILED_CONNECT if upstream.connecting else FAILED_RESET)
    return True


def interim(worker, session):
    """1xx: passed on to a client that knows them; 101 ends HTTP on this connection."""
    stream: cython.pointer[Stream] = session.stream
    status: uint32_t = worker.response.status
    size: int32_t
    if status == 101:
        if not stream.upgrade:
            stream_failed(worker, session, FAILED_ANSWER)
            return True
        if stream.backend.persistence is not cython.NULL:
            persist_answer(worker, session)
        tunnel_begin(worker, session)
        return True
    stream.interim += 1
    if stream.interim > INTERIM_MAX:
        stream_failed(worker, session, FAILED_ANSWER)
        return True
    if stream.version < 11 or (status == 100 and stream.continued):
        return True
    size = write_head(worker, session)
    if size < 0:
        stream_failed(worker, session, FAILED_ANSWER)
        return True
    session_write(worker, session, cython.address(http_of(worker).out[0]), size)
    return True


def begin_response(worker, session):
    stream: cython.pointer[Stream] = session.stream
    upstream: cython.pointer[Upstream] = stream.upstream
    response: cython.pointer[Response] = worker.response
    size: int32_t
    cooked: int32_t = 0
    stream.status = response.status
    stream.first_ns = worker.now_ns
    server_did(worker, stream.slot, response.status < 500)
    if stream.backend.resilience is not cython.NULL:
        breaker_said(worker, stream, response.status < 500)
        if stream.backend.resilience.load_words:
            load_heard(worker, session)
        if retry_answer(worker, session):
            return
        hedge_answered(worker, session)
    stream.response.framing = response.framing
    stream.response.left = response.content_length if response.framing == FRAMING_LENGTH else 0
    upstream.keep_alive = response.keep_alive and response.framing != FRAMING_CLOSE
    if not stream.request.done or session.in_.ready > 0:
        stream.keep_alive = 0  # answered before the request was whole
        session.lingering = 1
    if stream.upgrade and session.in_.raw < session.in_.buffer.end:
        stream.keep_alive = 0  # bytes meant for another protocol are never a request
        session.lingering = 1
    frame_response(session)
    if stream.shape is not cython.NULL:
        compressed_begin(worker, session)
    upstream.in_.raw = upstream.in_.buffer.start
    upstream.in_.ready = 0
    if stream.response.framing != FRAMING_CLOSE or stream.version < 11:
        cooked = cook_response(worker, session)
    if cooked >= 0 and too_large(stream, response.content_length):
        leave_server(worker, stream)
        session.state = SESSION_HEAD
        answer(worker, session, 502, REASON_ANSWER_SIZE)
        return
    if stream.backend.persistence is not cython.NULL:
        persist_answer(worker, session)
    if stream.shape is not cython.NULL:
        compressed_say(worker, session)
    size = write_head(worker, session)
    if size < 0 or cooked < 0:
        if stream.shape is not cython.NULL:
            compressed_unsay(stream)
        stream_failed(worker, session, FAILED_ANSWER)
        return
    if stream.sent_ns:
        answered_after(worker, stream, worker.now_ns - stream.sent_ns)
    stream_unpin(worker, stream)
    stream.response_begun = 1
    put_off_reading(worker, upstream)
    if not stream.response.done and upstream.in_.ready == 0 and upstream.lane is cython.NULL:
        acknowledge(upstream.source.fd)  # a server with Nagle's algorithm keeps the body until then
    if answer_shaped(stream):
        compressed_head(worker, session, size)
    else:
        send_both(worker, session, size)


def too_large(stream, said):
    """Is the answer's body, or what it says of itself, over the route's limit?"""
    body = cython.address(stream.response)
    if body.limit == 0:
        return False
    if body.framing == FRAMING_CHUNKED:
        return body.chunked.total > body.limit
    return body.total > body.limit or (body.framing == FRAMING_LENGTH and said > body.limit)


def answered_after(worker, stream, took_ns):
    counters = cython.address(worker.backend_counters[stream.backend_number])
    ewma_update(slot_of(worker, stream.slot), took_ns, worker.now_ns)
    count(cython.address(worker.slot_counters[stream.slot].latency_ns), took_ns)
    count(cython.address(counters.latency_ns), took_ns)
    count(cython.address(counters.latencies[latency_class(took_ns)]), 1)


def frame_response(session):
    """How this client learns where the body ends."""
    stream: cython.pointer[Stream] = session.stream
    body = cython.address(stream.response)
    stream.response_framing = body.framing
    body.done = body.framing == FRAMING_NONE or (body.framing == FRAMING_LENGTH and body.left == 0)
    if body.framing == FRAMING_CHUNKED:
        chunked_start(
            cython.address(body.chunked), CHUNKED_KEEP if stream.version >= 11 else CHUNKED_DECODE
        )
    if body.framing == FRAMING_CHUNKED or body.framing == FRAMING_CLOSE:
        stream.response_framing = FRAMING_CHUNKED
        if stream.version < 11:
            stream.response_framing = FRAMING_CLOSE
            stream.keep_alive = 0


def write_head(worker, session):
    """The response's head as this client gets it, into the worker's room."""
    stream: cython.pointer[Stream] = session.stream
    context = cython.declare(HeadContext)
    request: cython.pointer[Request] = cython.NULL
    stream_context(worker, session, cython.address(context))
    context.body_framing = stream.response_framing
    context.body_size = worker.response.content_length
    if stream.route.response_action_count > 0 and stream_reread(worker, session):
        request = worker.request
    return write_response_head(
        cython.address(http_of(worker).out[0]),
        OUT_CAPACITY,
        worker.response,
        request,
        cython.address(context),
    )


def send_both(worker, session, head_size):
    """The head and the body's beginning in one system call."""
    http: cython.pointer[Http] = http_of(worker)
    window = cython.address(session.stream.upstream.in_)
    parts = cython.declare(iovec[2])
    message = cython.declare(msghdr)
    sent: cython.Py_ssize_t
    size: uint32_t = window.ready
    at: cython.p_char = cython.NULL
    if size > 0:
        at = window.buffer.at + window.at
    if size <= JOIN_MAX and head_size + size <= OUT_CAPACITY:
        if size > 0:
            memcpy(cython.address(http.out[head_size]), at, size)
        window.ready = 0
        session_write(worker, session, cython.address(http.out[0]), head_size + size)
        return True
    if session.tls is not cython.NULL or session.lane is not cython.NULL:
        return send_record(worker, session, head_size)
    memset(cython.address(message), 0, cython.sizeof(msghdr))
    parts[0].iov_base = cython.address(http.out[0])
    parts[0].iov_len = head_size
    parts[1].iov_base = at
    parts[1].iov_len = size
    message.msg_iov = parts
    message.msg_iovlen = 2
    sent = sendmsg(session.source.fd, cython.address(message), MSG_NOSIGNAL)
    if sent < 0:
        if errno != EAGAIN and errno != EINTR:
            session.broken = 1
            return False
        sent = 0
    count(cython.address(session.listener.counters.bytes_out), cython.cast(uint64_t, sent))
    session.stream.bytes_out += cython.cast(uint64_t, sent)
    if sent < head_size:
        session_write(
            worker, session, cython.address(http.out[sent]), cython.cast(uint32_t, head_size - sent)
        )
        return True
    window.at += cython.cast(uint32_t, sent - head_size)
    window.ready -= cython.cast(uint32_t, sent - head_size)
    return True


def send_record(worker, session, head_size):
    """With TLS: the head and as much of the body as fills one record with it."""
    http: cython.pointer[Http] = http_of(worker)
    window = cython.address(session.stream.upstream.in_)
    size: uint32_t = 0
    if head_size < RECORD_MAX:
        size = cython.cast(uint32_t, RECORD_MAX) - head_size
    size = min(size, window.ready)
    memcpy(cython.address(http.out[head_size]), window.buffer.at + window.at, size)
    window.at += size
    window.ready -= size
    session_write(worker, session, cython.address(http.out[0]), head_size + size)
    return True


# ---- its body ----


def response_body(worker, session):
    stream: cython.pointer[Stream] = session.stream
    window = cython.address(stream.upstream.in_)
    sent: int32_t
    size: uint32_t = window.ready
    if answer_shaped(stream):
        if stream.shape.coded:
            return compressed_body(worker, session)
        if size == 0 and until_close(stream) and window.buffer is not cython.NULL:
            size = window.buffer.end - window.raw
        if size > 0:
            size = pace_allow(worker, session, 0, size)
            if size == 0:
                return False
    if window.ready > 0:
        sent = session_send(worker, session, window.buffer.at + window.at, size)
        if sent <= 0:
            return sent < 0
        if answer_shaped(stream):
            pace_spend(stream.shape, 0, sent)
        window.at += sent
        window.ready -= sent
        return True
    if stream.response.done:
        stream_finish(worker, session)
        return True
    if window.buffer is not cython.NULL and window.raw < window.buffer.end:
        if until_close(stream):
            # A chunk may not take all of the buffer: the rest is the next step's.
            session.broken |= cook_until_close(worker, session, size, False) < 0
            return True
        if take_raw(worker, session):
            return True
    elif (
        stream.response.framing == FRAMING_LENGTH
        and stream.response.left >= SPLICE_MIN
        and session.tls is cython.NULL
        and stream.upstream.tls is cython.NULL
        and session.lane is cython.NULL
        and stream.upstream.lane is cython.NULL
        and not answer_shaped(stream)
    ):
        sent = splice_body(worker, session)
        if sent >= 0:
            return sent > 0
    elif stream.upstream.pipe is not cython.NULL:
        sent = splice_body(worker, session)
        return sent > 0
    return read_response_body(worker, session)


def take_raw(worker, session):
    """Off its framing; true when something was there, or it is broken."""
    stream: cython.pointer[Stream] = session.stream
    window = cython.address(stream.upstream.in_)
    if cook_response(worker, session) < 0:
        session.broken = 1
        return True
    if too_large(stream, 0):
        stream.reason = REASON_ANSWER_SIZE
        session.broken = 1
        return True
    return window.ready > 0 or stream.response.done or window.raw == window.buffer.end


def cook_response(worker, session):
    """Takes the raw bytes into the client's framing; 0, or -1 when the server broke its own."""
    body = cython.address(session.stream.response)
    window = cython.address(session.stream.upstream.in_)
    size: uint32_t
    used: uint32_t = 0
    cooked: int32_t
    before: uint64_t = body.chunked.total
    if window.buffer is cython.NULL or window.ready > 0 or body.done:
        return 0
    size = window.buffer.end - window.raw
    if size == 0:
        return 0
    window.at = window.raw
    if body.framing == FRAMING_CHUNKED:
        cooked = chunked_read(
            cython.address(body.chunked),
            window.buffer.at + window.raw,
            size,
            cython.address(used),
        )
        if cooked < 0:
            return -1
        window.ready = cooked
        window.raw += used
        body.done = body.chunked.done
        if body.chunked.mode == CHUNKED_TRAILERS:
            return part_trailers(
                worker, session, cython.cast(uint32_t, body.chunked.total - before)
            )
        return 0
    if body.framing == FRAMING_LENGTH:
        if size > body.left:
            size = cython.cast(uint32_t, body.left)
        body.left -= size
        body.done = body.left == 0
    window.ready = size
    window.raw += size
    body.total += size
    return 0


def until_close(stream):
    """The server ends the body by closing, and this client gets it in chunks of ours."""
    return stream.response.framing == FRAMING_CLOSE and stream.version >= 11


def part_trailers(worker, session, data):
    """Of what was read of chunks, the data goes on as it is; the rest waits for its end."""
    window = cython.address(session.stream.upstream.in_)
    rest: uint32_t = window.ready - data
    window.ready = data
    if rest > 0 and not compressed_trailers(
        worker, session, window.buffer.at + window.at + data, rest, session.stream.response.done
    ):
        return -1
    return 0


def cook_until_close(worker, session, most, last):
    """A piece of a body that the server ends by closing, as a chunk of ours."""
    http: cython.pointer[Http] = http_of(worker)
    window = cython.address(session.stream.upstream.in_)
    size: uint32_t = 0
    head: uint32_t = 0
    if window.buffer is not cython.NULL:
        size = window.buffer.end - window.raw
    size = min(size, OUT_CAPACITY - 64)
    if answer_shaped(session.stream):
        size = min(size, most)
        pace_spend(session.stream.shape, 0, size)
    if size > 0:
        head = chunk_head(cython.address(http.out[0]), size)
        memcpy(cython.address(http.out[head]), window.buffer.at + window.raw, size)
        memcpy(cython.address(http.out[head + size]), b"\r\n", 2)
        head += size + 2
        window.raw += size
        session.stream.response.total += size
        if too_large(session.stream, 0):
            session.stream.reason = REASON_ANSWER_SIZE
            return -1
    if last:
        memcpy(cython.address(http.out[head]), b"0\r\n\r\n", 5)
        head += 5
        session.stream.response.done = 1
    if head == 0:
        return 0
    return session_write(worker, session, cython.address(http.out[0]), head)


def chunk_head(out, size):
    """The size in hexadecimal and its line's end; returns the bytes written."""
    shift: cython.int = 28
    at: uint32_t = 0
    digit: uint32_t
    while shift > 0 and (size >> shift) == 0:
        shift -= 4
    while shift >= 0:
        digit = (size >> shift) & 15
        out[at] = cython.cast(cython.char, digit + (48 if digit < 10 else 87))
        at += 1
        shift -= 4
    out[at] = 13
    out[at + 1] = 10
    return at + 2


def splice_body(worker, session):
    """1: go on, 0: wait; -1: without a pipe, so it must be read."""
    moved: int32_t = splice_step(worker, session)
    if moved == -3:
        return -1
    if moved == -1:
        stream_failed(worker, session, FAILED_RESET)
        return 1
    if moved == -2:
        session.broken = 1
        return 1
    if moved == 1:
        put_off_reading(worker, session.stream.upstream)
    return moved


def read_response_body(worker, session):
    stream: cython.pointer[Stream] = session.stream
    upstream: cython.pointer[Upstream] = stream.upstream
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    left: uint32_t
    size: int32_t
    if not upstream.readable:
        if buffer is not cython.NULL and upstream.in_.raw == buffer.end:
            buffer_free(worker, buffer)
            upstream.in_.buffer = cython.NULL
        return False
    if buffer is not cython.NULL:
        left = buffer.end - upstream.in_.raw
        memmove(buffer.at, buffer.at + upstream.in_.raw, left)
        buffer.start = 0
        buffer.end = left
        upstream.in_.raw = 0
        upstream.in_.at = 0
    size = upstream_read(worker, upstream)
    if size > 0:
        put_off_reading(worker, upstream)
        return True
    if size == READ_LATER:
        return False
    if size == READ_END and stream.response.framing == FRAMING_CLOSE:
        stream.response.done = 1
        if stream.shape is not cython.NULL and stream.shape.coded:
            return True
        if stream.version >= 11 and cook_until_close(worker, session, 0, True) < 0:
            session.broken = 1
        return True
    stream_failed(worker, session, FAILED_RESET)
    return True


def put_off_reading(worker, upstream):
    """The server has shown life: its time for the next piece begins."""
    timer_put_off(worker, cython.address(upstream.timer), worker.now_ms + upstream.read_timeout_ms)
