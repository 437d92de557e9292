"""A compressed answer: its head, and the way of its body through a compressor.

The head is judged first (`unfit`): an answer whose type, size and headers allow it varies with
Accept-Encoding, and says so to everybody. Where this client takes a coding, the head then names it,
its length is gone, its strong ETag is weak (other bytes mean the same; RFC 9110 8.8.1), and it no
longer offers ranges. HEAD gets the head that GET would get.

The body: what the reader has taken off its framing goes through the compressor into one buffer, as
chunks that the client of HTTP/1.1 reads, and that a stream of HTTP/2 turns into DATA. Nothing is
read from the server while that buffer waits for the client, so a stream holds two buffers and one
compressor, however large the body is. Trailers are kept until the last chunk.

When the server pauses, what it has said so far is flushed: at once for events (text/event-stream),
after FLUSH_MS for all else, since a server that is merely slower than we are pauses all the time,
and each flush costs bytes.

Laws: a piece is small, and after BURNED_MAX others have their turn: compressing costs a thousand
times more than forwarding. Whatever fails breaks the answer off; it never looks whole.
"""

import cython
from cython.cimports.fourseven.l7.compressed import (
    BURNED_MAX,
    CHUNK_ROOM,
    FLUSH_MS,
    HEAD_IN_OUT,
    LINES_MIN,
    PIECE_CODED,
    SKIP_CLIENT,
    SKIP_DIGEST,
    SKIP_ENCODED,
    SKIP_FULL,
    SKIP_NO_TRANSFORM,
    SKIP_NOT,
    SKIP_SMALL,
    SKIP_STATUS,
    SKIP_TYPE,
    SKIP_VERSION,
)
from cython.cimports.fourseven.l7.gate_compress import (
    COMPRESS_LEVELS,
    COMPRESS_MIN_LENGTH,
    COMPRESS_MOST,
)
from cython.cimports.fourseven.l7.gates import gate_say
from cython.cimports.fourseven.l7.output import is_named
from cython.cimports.fourseven.l7.pace import pace_allow, pace_spend
from cython.cimports.fourseven.l7.records import TAG_MAX, Shape, Stream, http_of
from cython.cimports.fourseven.l7.response import (
    chunk_head,
    read_response_body,
    take_raw,
)
from cython.cimports.fourseven.l7.session import session_send, session_write
from cython.cimports.fourseven.l7.shape import coder_release, coder_take, shape_wake
from cython.cimports.fourseven.l7.stream import stream_finish
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.protocols.chunked import CHUNKED_TRAILERS, chunked_start
from cython.cimports.fourseven.protocols.coding import (
    CODE_END,
    CODE_FLUSH,
    CODE_ON,
    CODE_ROOM_MIN,
    CODING_BROTLI,
    CODING_GZIP,
    CODING_NONE,
    Coded,
    coder_run,
)
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_LENGTH,
    FRAMING_NONE,
    HEADER_CACHE_CONTROL,
    HEADER_CONTENT_ENCODING,
    HEADER_CONTENT_LENGTH,
    HEADER_CONTENT_TYPE,
    HEADER_ETAG,
    HEADER_OTHER,
    HEADER_VARY,
    METHOD_HEAD,
    Header,
    Response,
    Span,
)
from cython.cimports.fourseven.snapshot.layout import Gate
from cython.cimports.fourseven.worker.tools import buffer_large, buffer_small, run_again
from cython.cimports.fourseven.worker.worker import (
    REASON_OURS,
    SKIPS_MAX,
    Buffer,
)
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t
from cython.cimports.libc.string import memcpy, memmove
from cython.cimports.posix.strings import strncasecmp

# ---- is it one to be compressed? ----


def compressed_begin(worker, session):
    stream: cython.pointer[Stream] = session.stream
    shape: cython.pointer[Shape] = stream.shape
    gate: cython.pointer[cython.const[Gate]] = shape.gate
    response: cython.pointer[Response] = worker.response
    skip: uint8_t
    if gate is cython.NULL:
        return
    head: cython.bint = stream.method_id == METHOD_HEAD
    skip = unfit(response, gate)
    if skip == SKIP_NOT and response.framing == FRAMING_NONE and not head:
        skip = SKIP_STATUS
    shape.varies = skip == SKIP_NOT
    if skip == SKIP_NOT and stream.version < 11:
        skip = SKIP_VERSION
    elif skip == SKIP_NOT and shape.coding == CODING_NONE:
        skip = SKIP_CLIENT
    elif skip == SKIP_NOT:
        skip = shape.skip
    if skip == SKIP_NOT and not room_for_lines(worker, stream):
        skip = SKIP_FULL
    if skip == SKIP_NOT and not head:
        shape.out = buffer_large(worker)
        if shape.out is not cython.NULL:
            shape.coder = coder_take(
                worker,
                shape.coding,
                gate.numbers[COMPRESS_LEVELS] >> (8 * shape.coding) & 255,
                response.content_length if response.framing == FRAMING_LENGTH else 0,
                response.framing == FRAMING_LENGTH,
                gate.numbers[COMPRESS_MOST],
            )
        if shape.coder is cython.NULL:
            skip = SKIP_FULL
    if skip != SKIP_NOT:
        shape.coding = CODING_NONE
        count(cython.address(worker.counters.uncompressed[skip % SKIPS_MAX]), 1)
        return
    if head:
        return
    shape.coded = 1
    shape.at_once = has_events(response)
    count(cython.address(worker.counters.compressed), 1)
    if response.framing == FRAMING_CHUNKED:
        chunked_start(cython.address(stream.response.chunked), CHUNKED_TRAILERS)
    stream.response_framing = FRAMING_CHUNKED


def unfit(response, gate):
    """Why no client gets this answer compressed."""
    at: uint32_t
    skip: uint8_t
    typed: cython.bint = False
    if response.status < 200 or response.status in (204, 205, 206, 304):
        return SKIP_STATUS
    for at in range(response.header_count):
        skip = unfit_header(cython.address(response.headers[at]))
        if skip != SKIP_NOT:
            return skip
        if response.headers[at].known == HEADER_CONTENT_TYPE:
            typed = is_listed(cython.address(response.headers[at].value), gate)
    if not typed:
        return SKIP_TYPE
    if response.framing == FRAMING_LENGTH or response.framing == FRAMING_NONE:
        if response.content_length < max(gate.numbers[COMPRESS_MIN_LENGTH], 1):
            if response.framing == FRAMING_LENGTH or response.content_length > 0:
                return SKIP_SMALL
    return SKIP_NOT


def unfit_header(header):
    if header.known == HEADER_CONTENT_ENCODING:
        return SKIP_ENCODED
    if header.known == HEADER_CACHE_CONTROL:
        if has_token(cython.address(header.value), b"no-transform", 12):
            return SKIP_NO_TRANSFORM
    if (
        header.known == HEADER_OTHER
        and header.name.size >= 6
        and (header.name.at[0] | 32)
        in (
            99,
            100,
            114,
        )
    ):
        # RFC 9530, and RFC 3230 and 2616 before it
        if (
            is_named(cython.address(header.name), b"content-digest")
            or is_named(cython.address(header.name), b"repr-digest")
            or is_named(cython.address(header.name), b"digest")
            or is_named(cython.address(header.name), b"content-md5")
        ):
            return SKIP_DIGEST
        if is_named(cython.address(header.name), b"content-range"):
            return SKIP_STATUS
    return SKIP_NOT


def is_listed(type, gate):
    """Is this content type among the gate's? gRPC frames its messages itself, so it never is."""
    size: uint32_t = 0
    at: uint32_t
    while size < type.size and type.at[size] != 59 and type.at[size] != 32 and type.at[size] != 9:
        size += 1
    if size >= 16 and strncasecmp(type.at, b"application/grpc", 16) == 0:
        return False
    for at in range(gate.text_count):
        if is_pattern(type.at, size, cython.address(gate.texts[at])):
            return True
    return False


def has_events(response):
    at: uint32_t
    value: cython.pointer[cython.const[Span]]
    for at in range(response.header_count):
        value = cython.address(response.headers[at].value)
        if response.headers[at].known == HEADER_CONTENT_TYPE and value.size >= 17:
            return strncasecmp(value.at, b"text/event-stream", 17) == 0
    return False


def is_pattern(at, size, pattern):
    """text/html, text/*, *+json, */*"""
    known: uint32_t = pattern.size
    if known == 3 and pattern.at[0] == 42:
        return True
    if known > 1 and pattern.at[0] == 42:
        known -= 1
        return size > known and strncasecmp(at + size - known, pattern.at + 1, known) == 0
    if known > 1 and pattern.at[known - 1] == 42:
        known -= 1
        return size > known and strncasecmp(at, pattern.at, known) == 0
    return size == known and strncasecmp(at, pattern.at, known) == 0


def has_token(value, token, size):
    """Does a list have it: `private, no-transform`, `max-age=1,no-transform`?"""
    start: uint32_t = 0
    end: uint32_t
    while start < value.size:
        end = start
        while end < value.size and value.at[end] != 44:
            end += 1
        while start < end and (value.at[start] == 32 or value.at[start] == 9):
            start += 1
        if end - start >= size and strncasecmp(value.at + start, token, size) == 0:
            start += size
            while start < end and (value.at[start] == 32 or value.at[start] == 9):
                start += 1
            if start == end:
                return True
        start = end + 1
    return False


# ---- its head ----


def room_for_lines(worker, stream):
    if stream.said is cython.NULL:
        stream.said = buffer_small(worker)
    return stream.said is not cython.NULL and (stream.said.capacity - stream.said.end >= LINES_MIN)


def compressed_say(worker, session):
    shape: cython.pointer[Shape] = session.stream.shape
    name: cython.p_const_char = b"zstd"
    shape.said_before = 0 if session.stream.said is cython.NULL else session.stream.said.end
    if shape.gate is cython.NULL or not shape.varies:
        return
    if not varies_already(worker.response):
        gate_say(worker, session, b"Vary", b"Accept-Encoding", 15)
    if shape.coding == CODING_NONE:
        return
    if shape.coding == CODING_GZIP:
        name = b"gzip"
    elif shape.coding == CODING_BROTLI:
        name = b"br"
    gate_say(
        worker,
        session,
        b"Content-Encoding",
        name,
        cython.cast(uint32_t, 2 if shape.coding == CODING_BROTLI else 4),
    )
    rewrite_headers(shape, worker.response)


def compressed_unsay(stream):
    """What follows is another answer."""
    if stream.said is not cython.NULL:
        stream.said.end = stream.shape.said_before


def varies_already(response):
    at: uint32_t
    value: cython.pointer[cython.const[Span]]
    for at in range(response.header_count):
        value = cython.address(response.headers[at].value)
        if response.headers[at].known == HEADER_VARY:
            if has_token(value, b"accept-encoding", 15) or has_token(value, b"*", 1):
                return True
    return False


def rewrite_headers(shape, response):
    at: uint32_t
    header: cython.pointer[Header]
    for at in range(response.header_count):
        header = cython.address(response.headers[at])
        if header.known == HEADER_CONTENT_LENGTH:
            header.known = HEADER_OTHER  # to HEAD it would be said else
            header.drop = 1
        elif header.known == HEADER_ETAG:
            weaken(shape, header)
        elif header.known == HEADER_OTHER and is_named(
            cython.address(header.name), b"accept-ranges"
        ):
            header.drop = 1


def weaken(shape, header):
    size: uint32_t = header.value.size
    if size >= 2 and header.value.at[0] == 87 and header.value.at[1] == 47:
        return
    if size + 2 > TAG_MAX:
        header.drop = 1
        return
    shape.tag[0] = 87
    shape.tag[1] = 47
    memcpy(cython.address(shape.tag[2]), header.value.at, size)
    header.value.at = cython.address(shape.tag[0])
    header.value.size = size + 2


def compressed_head(worker, session, size):
    shape: cython.pointer[Shape] = session.stream.shape
    at: cython.p_char = cython.address(http_of(worker).out[0])
    paced: cython.bint = shape.pace_count > shape.pace_up
    if not shape.coded or paced or size > HEAD_IN_OUT:
        session_write(worker, session, at, size)
        return
    memcpy(shape.out.at, at, size)
    shape.out.end = size


# ---- its body ----


def compressed_body(worker, session):
    stream: cython.pointer[Stream] = session.stream
    shape: cython.pointer[Shape] = stream.shape
    window = cython.address(stream.upstream.in_)
    out: cython.pointer[Buffer] = shape.out
    sent: int32_t
    if shape.finished == 1 and put_end(shape):
        return True
    if shape.finished == 0 and out.capacity - out.end >= CODE_ROOM_MIN + CHUNK_ROOM:
        if window.ready > 0 or shape.flushing or stream.response.done:
            return code_piece(worker, session)
        if window.buffer is not cython.NULL and window.raw < window.buffer.end:
            if take_raw(worker, session):
                return True
    if out.start < out.end:
        sent = send_out(worker, session)
        return sent != 0
    if shape.finished == 2:
        stream_finish(worker, session)
        return True
    if read_response_body(worker, session):
        return True
    return pause(worker, session)


def send_out(worker, session):
    out: cython.pointer[Buffer] = session.stream.shape.out
    size: uint32_t = pace_allow(worker, session, 0, out.end - out.start)
    sent: int32_t
    if size == 0:
        return 0
    sent = session_send(worker, session, out.at + out.start, size)
    if sent > 0:
        pace_spend(session.stream.shape, 0, sent)
        out.start += sent
        if out.start == out.end:
            out.start = 0
            out.end = 0
    return sent


def code_piece(worker, session):
    stream: cython.pointer[Stream] = session.stream
    shape: cython.pointer[Shape] = stream.shape
    window = cython.address(stream.upstream.in_)
    out: cython.pointer[Buffer] = shape.out
    io = cython.declare(Coded)
    step: uint32_t = CODE_ON
    done: int32_t
    taken: uint32_t
    made: uint32_t
    io.size = min(window.ready, cython.cast(uint32_t, PIECE_CODED))
    if shape.flushing:
        step = CODE_FLUSH
        io.size = 0
    elif stream.response.done and io.size == window.ready:
        step = CODE_END
    taken = io.size
    io.source = b""
    if taken > 0:
        io.source = window.buffer.at + window.at
    io.to = out.at + out.end + CHUNK_ROOM // 2
    io.room = out.capacity - out.end - CHUNK_ROOM
    made = io.room
    done = coder_run(shape.coder, cython.address(io), step)
    if done < 0:
        stream.reason = REASON_OURS
        session.broken = 1
        return True
    taken -= io.size
    made -= io.room
    window.at += taken
    window.ready -= taken
    if taken > 0:
        shape.unflushed = 1
        shape.burned += taken
        count(cython.address(worker.counters.compressed_in), taken)
    if made > 0:
        put_chunk(shape, made)
        count(cython.address(worker.counters.compressed_out), made)
    if step == CODE_FLUSH and done:
        shape.flushing = 0
        shape.unflushed = 0
        shape.flush_ms = 0
    elif step == CODE_END and done:
        shape.finished = 1
        coder_release(worker, shape.coder)  # a slow client may take long for the rest
        shape.coder = cython.NULL
    if shape.burned < BURNED_MAX:
        return True
    shape.burned = 0
    run_again(worker, cython.address(session.source))
    return False


def put_chunk(shape, size):
    """The size in front of data that stands CHUNK_ROOM // 2 behind the buffer's end."""
    out: cython.pointer[Buffer] = shape.out
    begin: cython.p_char = out.at + out.end
    head: uint32_t = chunk_head(begin, size)
    memmove(begin + head, begin + CHUNK_ROOM // 2, size)
    memcpy(begin + head + size, b"\r\n", 2)
    out.end += head + size + 2


def put_end(shape):
    """The last chunk and the trailers; false while there is no room."""
    out: cython.pointer[Buffer] = shape.out
    size: uint32_t = 0
    if shape.trailers is not cython.NULL:
        size = shape.trailers.end
    if out.capacity - out.end < size + 5:
        return False
    memcpy(out.at + out.end, b"0\r\n", 3)
    if size > 0:
        memcpy(out.at + out.end + 3, shape.trailers.at, size)
    memcpy(out.at + out.end + 3 + size, b"\r\n", 2)
    out.end += size + 5
    shape.finished = 2
    return True


def compressed_trailers(worker, session, at, size, whole):
    """Lines, and the empty one behind them where they are `whole`, which we write ourselves."""
    shape: cython.pointer[Shape] = session.stream.shape
    if whole:
        size -= 2
    if size == 0:
        return True
    if shape.trailers is cython.NULL:
        shape.trailers = buffer_large(worker)
    if shape.trailers is cython.NULL or size > shape.trailers.capacity - shape.trailers.end:
        return False
    memcpy(shape.trailers.at + shape.trailers.end, at, size)
    shape.trailers.end += size
    return True


def pause(worker, session):
    """The server has no more for now: what it said must reach the client all the same."""
    shape: cython.pointer[Shape] = session.stream.shape
    if not shape.unflushed:
        return False
    if shape.at_once or (shape.flush_ms and worker.now_ms >= shape.flush_ms):
        shape.flushing = 1
        return True
    if shape.flush_ms == 0:
        shape.flush_ms = worker.now_ms + FLUSH_MS
    shape_wake(worker, shape, shape.flush_ms)
    return False
