"""A request's head out of HTTP/2's fields: written as the head of HTTP/1.1 that means the same.

The engine's own strict reader then reads it. So what opens a request of HTTP/1.1 to smuggling is
refused in a request of HTTP/2 by the same code, and nothing stands in the text that a field could
have put there: each name is a token, each value is without control characters, and the lines that
frame the message are ours. The library has refused most of it before (RFC 9113 8.2 and 8.3), by a
reset of the stream; that is checked again here, where it matters.

- Content-Length stays if the client said it; without one a body is chunked, and trailers follow it.
- Cookie crumbs are joined again (RFC 9113 8.2.3); they are bounded by bytes *and* by count.
- `:authority` is the Host; a Host field beside it must say the same.
- Extended CONNECT for WebSocket (RFC 8441) becomes a GET with Upgrade.

Laws: a head that is too large is no error of the connection: it is answered with 431. Beyond
LIST_MAX or FIELDS_MAX it is an attack, and the connection ends.
"""

import cython
from cython.cimports.fourseven.l7.grpc import is_grpc
from cython.cimports.fourseven.l7.http2_head import (
    CRUMBS_MAX,
    FIELDS_MAX,
    LIST_MAX,
    PSEUDO_AUTHORITY,
    PSEUDO_COUNT,
    PSEUDO_METHOD,
    PSEUDO_PATH,
    PSEUDO_PROTOCOL,
    PSEUDO_SCHEME,
    TAIL_MAX,
)
from cython.cimports.fourseven.l7.load import load_trailer
from cython.cimports.fourseven.l7.records import Building, Lane, Session
from cython.cimports.fourseven.l7.websocket import ACCEPT_SIZE
from cython.cimports.fourseven.native.nghttp2 import (
    nghttp2_rcbuf,
    nghttp2_rcbuf_decref,
    nghttp2_rcbuf_get_buf,
    nghttp2_rcbuf_incref,
    nghttp2_vec,
)
from cython.cimports.fourseven.protocols.grammar import TARGET, TOKEN, class_of, skip_field
from cython.cimports.fourseven.protocols.message import Header, Span
from cython.cimports.fourseven.snapshot.layout import Listener
from cython.cimports.fourseven.worker.tools import (
    buffer_free,
    buffer_large,
    buffer_small,
    random_next,
)
from cython.cimports.fourseven.worker.worker import Buffer
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcmp, memcpy, memmove, memset, strlen
from cython.cimports.posix.strings import strncasecmp


def head_begin(http2, lane):
    building: cython.pointer[Building] = cython.address(http2.building)
    head_forget(building)
    memset(building, 0, cython.sizeof(Building))
    building.lane = lane


def head_forget(building):
    at: cython.int
    building.lane = cython.NULL
    for at in range(PSEUDO_COUNT):
        if building.pseudo[at] is not cython.NULL:
            nghttp2_rcbuf_decref(cython.cast(cython.pointer[nghttp2_rcbuf], building.pseudo[at]))
            building.pseudo[at] = cython.NULL


def head_field(http2, name, value):
    building: cython.pointer[Building] = cython.address(http2.building)
    lane: cython.pointer[Lane] = building.lane
    plan: cython.pointer[cython.const[Listener]] = http2.session.listener.plan
    left: nghttp2_vec = nghttp2_rcbuf_get_buf(name)
    right: nghttp2_vec = nghttp2_rcbuf_get_buf(value)
    pseudo: int32_t
    if left.len + right.len > LIST_MAX:
        return -1
    building.list_size += cython.cast(uint32_t, left.len + right.len + 32)
    building.fields += 1
    if building.list_size > LIST_MAX or building.fields > FIELDS_MAX:
        lane.refuse = 431
        return -1
    if http2.outward and not building.trailers:
        answer_field(http2, lane, cython.address(left), cython.address(right))
        return 0
    if building.trailers:
        if lane.upstream is cython.NULL or not heard(
            http2.worker, lane.upstream, cython.address(left), cython.address(right)
        ):
            trailer_field(lane, cython.address(left), cython.address(right))
        return 0
    if plan is not cython.NULL and building.list_size > plan.head_max:
        lane.refuse = 431
    if lane.refuse:
        return 0
    pseudo = pseudo_of(cython.address(left))
    if pseudo < 0:
        request_field(http2, lane, cython.address(left), cython.address(right))
    elif building.pseudo[pseudo] is not cython.NULL or building.begun:
        lane.refuse = 400
    else:
        nghttp2_rcbuf_incref(value)
        building.pseudo[pseudo] = value
    return 0


def pseudo_of(name):
    """Its place, or -1: an ordinary field."""
    if name.len < 5 or name.base[0] != 58:
        return -1
    if name.len == 5 and memcmp(name.base, b":path", 5) == 0:
        return PSEUDO_PATH
    if name.len == 7:
        return PSEUDO_METHOD if memcmp(name.base, b":method", 7) == 0 else PSEUDO_SCHEME
    return PSEUDO_AUTHORITY if name.len == 10 and name.base[1] == 97 else PSEUDO_PROTOCOL


# ---- the request line ----


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def pseudo_value(
    building: cython.pointer[cython.const[Building]], which: cython.int
) -> nghttp2_vec:
    nothing = cython.declare(nghttp2_vec)
    if building.pseudo[which] is cython.NULL:
        nothing.base = cython.NULL
        nothing.len = 0
        return nothing
    return nghttp2_rcbuf_get_buf(cython.cast(cython.pointer[nghttp2_rcbuf], building.pseudo[which]))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def says(text: cython.pointer[cython.const[nghttp2_vec]], word: cython.p_const_char) -> cython.bint:
    return text.len == strlen(word) and memcmp(text.base, word, text.len) == 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def all_of(
    text: cython.pointer[cython.const[nghttp2_vec]], kind: cython.uint, most: cython.size_t
) -> cython.bint:
    """Are all bytes of this class, and is it neither empty nor too long?"""
    at: cython.size_t
    for at in range(text.len):
        if not class_of(cython.cast(cython.char, text.base[at])) & kind:
            return False
    return 0 < text.len <= most


def begin_text(http2, lane):
    building: cython.pointer[Building] = cython.address(http2.building)
    method: nghttp2_vec = pseudo_value(building, PSEUDO_METHOD)
    scheme: nghttp2_vec = pseudo_value(building, PSEUDO_SCHEME)
    path: nghttp2_vec = pseudo_value(building, PSEUDO_PATH)
    protocol: nghttp2_vec = pseudo_value(building, PSEUDO_PROTOCOL)
    connect: cython.bint = says(cython.address(method), b"CONNECT")
    building.begun = 1
    if connect and protocol.base is cython.NULL:
        lane.refuse = 405
    elif connect and not says(cython.address(protocol), b"websocket"):
        lane.refuse = 501
    elif not all_of(cython.address(method), TOKEN, 32):
        lane.refuse = 400
    elif not says(cython.address(scheme), b"http") and not says(cython.address(scheme), b"https"):
        lane.refuse = 400
    elif not all_of(cython.address(path), TARGET, LIST_MAX):
        lane.refuse = 400
    elif path.base[0] != 47 and not says(cython.address(path), b"*"):
        lane.refuse = 400
    if lane.refuse:
        return
    lane.connect = connect
    if connect:
        method.base = cython.cast(cython.pointer[cython.uchar], cython.cast(cython.p_char, b"GET"))
        method.len = 3
    request_line(http2, lane, cython.address(method), cython.address(path))


def request_line(http2, lane, method, path):
    authority: nghttp2_vec = pseudo_value(cython.address(http2.building), PSEUDO_AUTHORITY)
    put(http2, lane, method.base, method.len)
    put(http2, lane, b" ", 1)
    put(http2, lane, path.base, path.len)
    put(http2, lane, b" HTTP/1.1\r\n", 11)
    if authority.base is cython.NULL:
        return
    if not all_of(cython.address(authority), TARGET, LIST_MAX):
        lane.refuse = 400
        return
    put(http2, lane, b"Host: ", 6)
    put(http2, lane, authority.base, authority.len)
    put(http2, lane, b"\r\n", 2)


# ---- fields ----


def request_field(http2, lane, name, value):
    building: cython.pointer[Building] = cython.address(http2.building)
    authority: nghttp2_vec
    if not building.begun:
        begin_text(http2, lane)
    if not lane.refuse and (
        not all_of(name, TOKEN, 65535)
        or skip_field(
            cython.cast(cython.p_const_char, value.base), 0, cython.cast(uint32_t, value.len)
        )
        != value.len
    ):
        lane.refuse = 400
    if lane.refuse:
        return
    if says(name, b"cookie"):
        put_crumb(http2, lane, value)
        return
    if says(name, b"host"):
        authority = pseudo_value(building, PSEUDO_AUTHORITY)
        if authority.base is not cython.NULL:
            if authority.len != value.len or strncasecmp(
                cython.cast(cython.p_const_char, authority.base),
                cython.cast(cython.p_const_char, value.base),
                value.len,
            ):
                lane.refuse = 400
            return
    elif frames(name):
        lane.refuse = 400
        return
    elif says(name, b"te"):
        return  # the library has seen to it that it says "trailers", which is ours to decide
    elif says(name, b"content-length"):
        if lane.connect:
            lane.refuse = 400
        building.has_length = 1
    elif lane.connect and says(name, b"sec-websocket-key"):
        return  # HTTP/1.1 needs one, which is ours
    elif says(name, b"content-type"):
        lane.grpc = is_grpc(cython.cast(cython.p_const_char, value.base), value.len)
    put(http2, lane, name.base, name.len)
    put(http2, lane, b": ", 2)
    put(http2, lane, value.base, value.len)
    put(http2, lane, b"\r\n", 2)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def frames(name: cython.pointer[cython.const[nghttp2_vec]]) -> cython.bint:
    """What frames a message of HTTP/1.1 or belongs to one connection (RFC 9113 8.2.2)."""
    return (
        says(name, b"connection")
        or says(name, b"transfer-encoding")
        or says(name, b"upgrade")
        or says(name, b"keep-alive")
        or says(name, b"proxy-connection")
        or says(name, b"http2-settings")
    )


def put_crumb(http2, lane, value):
    """Crumbs mostly stand together; one that does not is moved to the others."""
    building: cython.pointer[Building] = cython.address(http2.building)
    buffer: cython.pointer[Buffer]
    size: cython.size_t = value.len
    building.crumbs += 1
    if building.crumbs > CRUMBS_MAX:
        lane.refuse = 431
        return
    if building.cookie_end == 0:
        put(http2, lane, b"cookie: ", 8)
        put(http2, lane, value.base, size)
        if not lane.refuse:
            building.cookie_end = lane.session.in_.buffer.end
        put(http2, lane, b"\r\n", 2)
        return
    if not room_for(http2, lane, size + 2):
        return
    buffer = lane.session.in_.buffer
    memmove(
        buffer.at + building.cookie_end + 2 + size,
        buffer.at + building.cookie_end,
        buffer.end - building.cookie_end,
    )
    memcpy(buffer.at + building.cookie_end, b"; ", 2)
    memcpy(buffer.at + building.cookie_end + 2, value.base, size)
    buffer.end += cython.cast(uint32_t, size + 2)
    building.cookie_end += cython.cast(uint32_t, size + 2)


# ---- the end of a head ----


def head_end(http2, lane):
    building: cython.pointer[Building] = cython.address(http2.building)
    if building.lane != lane:
        return
    if not building.begun and not lane.refuse:
        begin_text(http2, lane)
    if not lane.refuse:
        if lane.connect:
            put_upgrade(http2, lane)
        elif not lane.remote_end and not building.has_length:
            lane.chunked = 1
            put(http2, lane, b"transfer-encoding: chunked\r\n", 28)
        put(http2, lane, b"\r\n", 2)
    head_forget(building)


def put_upgrade(http2, lane):
    """A key as RFC 6455 4.1 wants it: 22 letters and ==. The last letter ends in four zero bits."""
    letters: cython.p_const_char = (
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    )
    key = cython.declare(cython.char[22])
    at: cython.int
    word: uint64_t = 0
    for at in range(21):
        if at % 10 == 0:
            word = random_next(http2.worker)
        key[at] = letters[word & 63]
        word >>= 6
    key[21] = 65
    put(http2, lane, b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ", 60)
    put(http2, lane, key, 22)
    put(http2, lane, b"==\r\n", 4)


def put(http2, lane, at, size):
    buffer: cython.pointer[Buffer]
    if not room_for(http2, lane, size):
        return
    buffer = lane.session.in_.buffer
    memcpy(buffer.at + buffer.end, at, size)
    buffer.end += cython.cast(uint32_t, size)


def room_for(http2, lane, size):
    session: cython.pointer[Session] = cython.address(lane.session)
    buffer: cython.pointer[Buffer] = session.in_.buffer
    larger: cython.pointer[Buffer]
    if buffer is cython.NULL:
        buffer = buffer_small(http2.worker)
        session.in_.buffer = buffer
    if buffer is not cython.NULL and buffer.capacity - buffer.end >= size:
        return True
    if buffer is cython.NULL or buffer.large:
        lane.refuse = 503 if buffer is cython.NULL else 431
        return False
    larger = buffer_large(http2.worker)
    if larger is cython.NULL:
        lane.refuse = 503
        return False
    memcpy(larger.at, buffer.at, buffer.end)
    larger.end = buffer.end
    session.in_.buffer = larger
    buffer_free(http2.worker, buffer)
    if larger.capacity - larger.end >= size:
        return True
    lane.refuse = 431
    return False


# ---- the head of a server's answer ----


def answer_field(http2, lane, name, value):
    """`:status` stands first (RFC 9113 8.3); the library sees that nothing stands before it."""
    building: cython.pointer[Building] = cython.address(http2.building)
    if lane.refuse:
        return
    if name.len > 0 and name.base[0] == 58 and lane.connect and value.base[0] == 50:
        building.has_length = 1  # a tunnel
        put(http2, lane, b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n", 55)
        put(http2, lane, b"upgrade: websocket\r\nsec-websocket-accept: ", 42)
        put(http2, lane, lane.accept, ACCEPT_SIZE)
        put(http2, lane, b"\r\n", 2)
        return
    if name.len > 0 and name.base[0] == 58:
        put(http2, lane, b"HTTP/1.1 ", 9)
        put(http2, lane, value.base, value.len)
        put(http2, lane, b" \r\n", 3)
        if value.len != 3 or value.base[0] == 49:
            building.crumbs = 1  # an interim one
        elif says(value, b"204") or says(value, b"304"):
            building.has_length = 1
        return
    if lane.session.in_.buffer is cython.NULL:
        return  # no status stood before it, which the library notes at the head's end alone
    if not all_of(name, TOKEN, 65535) or frames(name):
        return
    if skip_field(
        cython.cast(cython.p_const_char, value.base), 0, cython.cast(uint32_t, value.len)
    ) != cython.cast(uint32_t, value.len):
        return
    if says(name, b"content-length") and value.len < 32:
        building.has_length = 1
        building.lengths += building.lengths < 2
        building.length_at = lane.session.in_.buffer.end
        building.length_size = cython.cast(uint8_t, name.len + value.len + 4)
    elif says(name, b"trailer"):
        building.tailed = 1
    elif says(name, b"content-type"):
        building.tailed |= is_grpc(cython.cast(cython.p_const_char, value.base), value.len)
    put(http2, lane, name.base, name.len)
    put(http2, lane, b": ", 2)
    put(http2, lane, value.base, value.len)
    put(http2, lane, b"\r\n", 2)


def forget_length(lane, building):
    """HTTP/1.1 has no trailers behind a length: for a client of HTTP/2 it gives way to them.

    Where the answer announces trailers, or is gRPC's, whose status is one. That the length is true
    the library has an eye on all the same.
    """
    buffer: cython.pointer[Buffer] = lane.session.in_.buffer
    client: cython.pointer[Session] = lane.upstream.session
    end: uint32_t = building.length_at + building.length_size
    if building.lengths != 1 or not building.tailed or lane.remote_end or lane.refuse:
        return
    if client is cython.NULL or client.lane is cython.NULL:
        return
    memmove(buffer.at + building.length_at, buffer.at + end, buffer.end - end)
    buffer.end -= building.length_size
    building.has_length = 0


def answer_end(http2, lane):
    building: cython.pointer[Building] = cython.address(http2.building)
    if building.lane != lane:
        return
    lane.headed = not building.crumbs
    if lane.headed and not lane.asks_head:
        forget_length(lane, building)
    if lane.headed and not building.has_length and not lane.asks_head:
        if lane.remote_end:
            put(http2, lane, b"content-length: 0\r\n", 19)
        else:
            lane.chunked = 1
            put(http2, lane, b"transfer-encoding: chunked\r\n", 28)
    put(http2, lane, b"\r\n", 2)
    head_forget(building)


# ---- trailers ----


def tail_begin(http2, lane):
    head_begin(http2, lane)
    http2.building.trailers = 1
    if lane.chunked and lane.tail is cython.NULL:
        lane.tail = buffer_large(http2.worker)
        if lane.tail is not cython.NULL:
            memcpy(lane.tail.at, b"0\r\n", 3)
            lane.tail.end = 3


def heard(worker, upstream, name, value):
    """Is it a server's word on its load, and not for clients?"""
    field = cython.declare(Header)
    field.name = Span(at=cython.cast(cython.p_char, name.base), size=name.len)
    field.value = Span(at=cython.cast(cython.p_char, value.base), size=value.len)
    return load_trailer(worker, upstream.slot, cython.address(field))


def trailer_field(lane, name, value):
    """A body whose length was told has no place for trailers; they are dropped, as is a bad one."""
    buffer: cython.pointer[Buffer] = lane.tail
    if buffer is cython.NULL:
        return
    if buffer.end + name.len + value.len + 4 > TAIL_MAX:
        lane.refuse |= lane.upstream is not cython.NULL  # never a part of a server's
        return
    if not all_of(name, TOKEN, 65535) or frames(name):
        return
    if skip_field(
        cython.cast(cython.p_const_char, value.base), 0, cython.cast(uint32_t, value.len)
    ) != cython.cast(uint32_t, value.len):
        return
    memcpy(buffer.at + buffer.end, name.base, name.len)
    buffer.end += cython.cast(uint32_t, name.len)
    memcpy(buffer.at + buffer.end, b": ", 2)
    memcpy(buffer.at + buffer.end + 2, value.base, value.len)
    buffer.end += cython.cast(uint32_t, value.len + 2)
    memcpy(buffer.at + buffer.end, b"\r\n", 2)
    buffer.end += 2


def tail_end(http2, lane):
    if http2.building.lane == lane:
        head_forget(cython.address(http2.building))
    if not lane.chunked or lane.tailed:
        return
    if lane.tail is cython.NULL:
        lane.tail = buffer_small(http2.worker)
        if lane.tail is cython.NULL:
            lane.session.broken = 1
            return
        memcpy(lane.tail.at, b"0\r\n", 3)
        lane.tail.end = 3
    memcpy(lane.tail.at + lane.tail.end, b"\r\n", 2)
    lane.tail.end += 2
    lane.tailed = 1
