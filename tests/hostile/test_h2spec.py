"""The cases of h2spec 2.6, by its sections: generic, http2 and hpack, each as the bytes it sends.

`expected` says what RFC 9113 and 7541 permit: OK (the next request on the connection is answered),
or the codes with which the stream or the connection may end. Where h2spec follows RFC 7540 in what
RFC 9113 has given up (a stream that depends on itself; frames that come late, 5.1), a connection
that goes on is right as well.

Laws: each of its cases stands here, under its name or in the row that says the same; whatever a
case does to its connection, the balancer goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.front import Front, Stage
from support.http2 import Http2
from support.http2_stage import front_of
from support.wire import EndedError

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END, WHOLE, PADDED, PRIORITISED = 1, 4, 8, 32
ACK = 1
PROTOCOL, FLOW, CLOSED, SIZE, REFUSED, COMPRESSION, CALM = 1, 3, 5, 6, 7, 9, 11
OK = "the connection goes on"
GONE = "the client has said that it goes, and is let go"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    size = len(payload).to_bytes(3, "big")
    return size + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes, first: int = 0) -> bytes:
    """Not indexed, without Huffman; `first` 0x40: indexed, 0x10: never."""
    return bytes([first, len(name)]) + name + bytes([len(value)]) + value


def fields(*more: tuple[bytes, bytes], method: bytes = b"GET", without: str = "") -> bytes:
    own = {"method": method, "scheme": b"http", "path": b"/", "authority": b"a"}
    block = b"".join(literal(b":" + k.encode(), v) for k, v in own.items() if k != without)
    return block + b"".join(literal(*one) for one in more)


def ask(stream: int = 1, block: bytes | None = None, flags: int = END | WHOLE) -> bytes:
    return frame(HEADERS, flags, stream, fields() if block is None else block)


def post(*more: tuple[bytes, bytes], stream: int = 1) -> bytes:
    return frame(HEADERS, WHOLE, stream, fields(*more, method=b"POST"))


def setting(number: int, value: int) -> bytes:
    return number.to_bytes(2, "big") + value.to_bytes(4, "big")


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


SPLIT = fields()
ON_3 = b"\0\0\0\3\x0f"  # depends on stream 3
LIMIT = 2**31 - 1
AFTER = {PROTOCOL, CLOSED}  # what a stream or connection may end with when it is over already
HUFFMAN_OF_A = b"\x1f"  # `a` is 00011, and three bits of padding

# fmt: off
CASES = {
    # ---- generic ----
    "generic/1 a preface": (b"", OK),
    "generic/2/1 PRIORITY on an idle stream": (frame(PRIORITY, 0, 1, ON_3), OK),
    "generic/2/2 WINDOW_UPDATE on a half-closed stream": (ask() + frame(WINDOW, 0, 1, number(1)), OK),
    "generic/2/3 PRIORITY on a half-closed stream": (ask() + frame(PRIORITY, 0, 1, ON_3), OK),
    "generic/2/4 RST_STREAM on a half-closed stream": (ask() + frame(RESET, 0, 1, number(8)), OK),
    "generic/2/5 PRIORITY on a closed stream": (ask() + frame(RESET, 0, 1, number(8)) + frame(PRIORITY, 0, 1, ON_3), OK),
    "generic/3.1/1 DATA": (post() + frame(DATA, END, 1, b"test"), OK),
    "generic/3.1/2 DATA twice": (post() + frame(DATA, 0, 1, b"te") + frame(DATA, END, 1, b"st"), OK),
    "generic/3.1/3 DATA with padding": (post() + frame(DATA, END | PADDED, 1, b"\4test\0\0\0\0"), OK),
    "generic/3.2/1 HEADERS": (ask(), OK),
    "generic/3.2/2 HEADERS with padding": (frame(HEADERS, END | WHOLE | PADDED, 1, b"\4" + SPLIT + bytes(4)), OK),
    "generic/3.2/3 HEADERS with a priority": (frame(HEADERS, END | WHOLE | PRIORITISED, 1, ON_3 + SPLIT), OK),
    "generic/3.3/1 PRIORITY 1": (frame(PRIORITY, 0, 1, b"\0\0\0\0\0"), OK),
    "generic/3.3/2 PRIORITY 256": (frame(PRIORITY, 0, 1, b"\0\0\0\0\xff"), OK),
    "generic/3.3/3 PRIORITY with a dependency": (frame(PRIORITY, 0, 1, ON_3), OK),
    "generic/3.3/4 PRIORITY, exclusive": (frame(PRIORITY, 0, 1, b"\x80\0\0\3\x0f"), OK),
    "generic/3.3/5 PRIORITY, then a lower stream": (frame(PRIORITY, 0, 5, b"\0\0\0\0\xff") + ask(3), OK),
    "generic/3.4 RST_STREAM": (post() + frame(RESET, 0, 1, number(8)), OK),
    "generic/3.5 SETTINGS": (frame(SETTINGS, 0, 0, setting(3, 100)), OK),
    "generic/3.7 PING": (frame(PING, 0, 0, b"h2spec\0\0"), OK),
    "generic/3.8 GOAWAY": (frame(GOAWAY, 0, 0, number(0) + number(0)), {0, GONE, OK}),
    "generic/3.9/1 WINDOW_UPDATE": (frame(WINDOW, 0, 0, number(1)), OK),
    "generic/3.9/2 WINDOW_UPDATE of a stream": (post() + frame(WINDOW, 0, 1, number(1)) + frame(DATA, END, 1), OK),
    "generic/3.10/1 CONTINUATION": (ask(1, SPLIT[:9], END) + frame(CONTINUATION, WHOLE, 1, SPLIT[9:]), OK),
    "generic/3.10/2 CONTINUATION twice": (ask(1, SPLIT[:9], END) + frame(CONTINUATION, 0, 1, SPLIT[9:12]) + frame(CONTINUATION, WHOLE, 1, SPLIT[12:]), OK),
    "generic/4/1 GET": (ask(), OK),
    "generic/4/2 HEAD": (ask(1, fields(method=b"HEAD")), OK),
    "generic/4/3 POST": (post() + frame(DATA, END, 1, b"test"), OK),
    "generic/4/4 POST with trailers": (post((b"trailer", b"x-test")) + frame(DATA, 0, 1, b"test") + frame(HEADERS, END | WHOLE, 1, literal(b"x-test", b"ok")), OK),
    "generic/5/1 indexed": (ask(1, b"\x82\x86\x84" + literal(b":authority", b"a")), OK),
    "generic/5/2 literal, indexed name, indexing": (ask(1, b"\x82\x86\x84\x41\x01a"), OK),
    "generic/5/3 ... with Huffman": (ask(1, b"\x82\x86\x84\x41\x81" + HUFFMAN_OF_A), OK),
    "generic/5/4 literal, new name, indexing": (ask(1, fields() + literal(b"x-test", b"h2spec", 0x40)), OK),
    "generic/5/6 literal, indexed name": (ask(1, b"\x82\x86\x84\x01\x01a"), OK),
    "generic/5/8 literal, new name": (ask(1, fields((b"x-test", b"h2spec"))), OK),
    "generic/5/10 literal, indexed name, never indexed": (ask(1, b"\x82\x86\x84\x11\x01a"), OK),
    "generic/5/12 literal, new name, never indexed": (ask(1, fields() + literal(b"x-test", b"h2spec", 0x10)), OK),
    "generic/5/14 table size update": (ask(1, b"\x20" + fields()), OK),
    "generic/5/15 two table size updates": (ask(1, b"\x20\x3f\x61" + fields()), OK),
    # ---- http2 ---- (3.5/2, an invalid preface: tests/hostile/test_http2.py "no preface")
    "http2/4.1/1 an unknown type": (frame(0x16, 0, 0, bytes(8)), OK),
    "http2/4.1/2 an undefined flag": (frame(PING, 0x16, 0, bytes(8)), OK),
    "http2/4.1/3 the reserved bit": (frame(PING, 0, 2**31, bytes(8)), OK),
    "http2/4.2/1 DATA of 2^14": (post() + frame(DATA, END, 1, bytes(16_384)), OK),
    "http2/4.2/2 DATA beyond the frame size": (post() + frame(DATA, END, 1, bytes(16_385)), {SIZE}),
    "http2/4.2/3 HEADERS beyond the frame size": (ask(1, fields((b"x", b"y" * 100)) * 200), {SIZE}),
    "http2/4.3/1 an invalid block": (ask(1, b"\x40"), {COMPRESSION}),
    "http2/4.3/2 PRIORITY within a block": (ask(1, SPLIT, 0) + frame(PRIORITY, 0, 1, ON_3), {PROTOCOL}),
    "http2/4.3/3 HEADERS within another block": (ask(1, SPLIT, 0) + ask(3), {PROTOCOL}),
    "http2/5.1/1 idle: DATA": (frame(DATA, END, 1, b"test"), {PROTOCOL, CLOSED}),
    "http2/5.1/2 idle: RST_STREAM": (frame(RESET, 0, 1, number(8)), {PROTOCOL}),
    "http2/5.1/3 idle: WINDOW_UPDATE": (frame(WINDOW, 0, 1, number(100)), {PROTOCOL}),
    "http2/5.1/4 idle: CONTINUATION": (frame(CONTINUATION, WHOLE, 1, SPLIT), {PROTOCOL}),
    "http2/5.1/5 half-closed: DATA": (ask(1, fields((b"x-hold", b"1"))) + frame(DATA, END, 1, b"test"), {CLOSED}),
    "http2/5.1/6 half-closed: HEADERS": (ask() + ask(), AFTER),
    "http2/5.1/7 half-closed: CONTINUATION": (ask() + frame(CONTINUATION, WHOLE, 1, SPLIT), AFTER),
    "http2/5.1/8 reset: DATA": (post() + frame(RESET, 0, 1, number(8)) + frame(DATA, END, 1, b"test"), {CLOSED, OK}),
    "http2/5.1/9 reset: HEADERS": (post() + frame(RESET, 0, 1, number(8)) + ask(), {CLOSED, OK}),
    "http2/5.1/10 reset: CONTINUATION": (post() + frame(RESET, 0, 1, number(8)) + frame(CONTINUATION, WHOLE, 1, SPLIT), AFTER),
    "http2/5.1.1/1 an even stream": (ask(2), {PROTOCOL}),
    "http2/5.1.1/2 a lower stream": (ask(5) + ask(3), {PROTOCOL}),
    "http2/5.1.2 too many streams": (b"".join(post(stream=at) for at in range(1, 200, 2)), {PROTOCOL, REFUSED}),
    "http2/5.3.1/1 HEADERS depends on itself": (frame(HEADERS, END | WHOLE | PRIORITISED, 1, b"\0\0\0\1\x0f" + SPLIT), {PROTOCOL, OK}),
    "http2/5.3.1/2 PRIORITY depends on itself": (frame(PRIORITY, 0, 1, b"\0\0\0\1\x0f"), {PROTOCOL, OK}),
    "http2/5.4.1 a PING of a wrong size": (frame(PING, 0, 0, b"\0\0\0"), {SIZE}),
    "http2/5.5/1 an extension": (frame(0xFF, 0, 0, b"h2spec"), OK),
    "http2/5.5/2 an extension within a block": (ask(1, SPLIT, END) + frame(0xFF, 0, 0, b"h2spec"), {PROTOCOL}),
    "http2/6.1/1 DATA on 0": (frame(DATA, END, 0, b"test"), {PROTOCOL}),
    "http2/6.1/3 DATA with a wrong padding": (post() + frame(DATA, END | PADDED, 1, b"\6test"), {PROTOCOL}),
    "http2/6.2/3 HEADERS on 0": (ask(0), {PROTOCOL}),
    "http2/6.2/4 HEADERS with a wrong padding": (frame(HEADERS, END | WHOLE | PADDED, 1, b"\xff" + SPLIT), {PROTOCOL}),
    "http2/6.3/1 PRIORITY on 0": (frame(PRIORITY, 0, 0, ON_3), {PROTOCOL}),
    "http2/6.3/2 PRIORITY of a wrong size": (frame(PRIORITY, 0, 1, b"\x80\0\0\1"), {SIZE}),
    "http2/6.4/1 RST_STREAM on 0": (frame(RESET, 0, 0, number(8)), {PROTOCOL}),
    "http2/6.4/3 RST_STREAM of a wrong size": (post() + frame(RESET, 0, 1, b"\0\0\0"), {SIZE}),
    "http2/6.5/1 SETTINGS: an ACK with content": (frame(SETTINGS, ACK, 0, setting(1, 1)), {SIZE}),
    "http2/6.5/2 SETTINGS on a stream": (frame(SETTINGS, 0, 1, setting(3, 100)), {PROTOCOL}),
    "http2/6.5/3 SETTINGS of a wrong size": (frame(SETTINGS, 0, 0, b"\0\0\0"), {SIZE}),
    "http2/6.5.2/1 ENABLE_PUSH 2": (frame(SETTINGS, 0, 0, setting(2, 2)), {PROTOCOL}),
    "http2/6.5.2/2 INITIAL_WINDOW_SIZE 2^31": (frame(SETTINGS, 0, 0, setting(4, 2**31)), {FLOW}),
    "http2/6.5.2/3 MAX_FRAME_SIZE 2^14 - 1": (frame(SETTINGS, 0, 0, setting(5, 16_383)), {PROTOCOL}),
    "http2/6.5.2/4 MAX_FRAME_SIZE 2^24": (frame(SETTINGS, 0, 0, setting(5, 2**24)), {PROTOCOL}),
    "http2/6.5.2/5 an unknown setting": (frame(SETTINGS, 0, 0, setting(0xFF, 1)), OK),
    "http2/6.5.3/1 the last value counts": (frame(SETTINGS, 0, 0, setting(4, 100) + setting(4, 1)) + frame(SETTINGS, 0, 0, setting(4, 65_535)), OK),
    "http2/6.7/2 a PING's ACK": (frame(PING, ACK, 0, b"invalid\0") + frame(PING, 0, 0, bytes(8)), OK),
    "http2/6.7/3 PING on a stream": (frame(PING, 0, 1, bytes(8)), {PROTOCOL}),
    "http2/6.7/4 PING of a wrong size": (frame(PING, 0, 0, bytes(6)), {SIZE}),
    "http2/6.8 GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), {PROTOCOL}),
    "http2/6.9/1 WINDOW_UPDATE of nothing": (frame(WINDOW, 0, 0, number(0)), {PROTOCOL}),
    "http2/6.9/2 WINDOW_UPDATE of nothing, on a stream": (post() + frame(WINDOW, 0, 1, number(0)), {PROTOCOL}),
    "http2/6.9/3 WINDOW_UPDATE of a wrong size": (frame(WINDOW, 0, 0, b"\0\0\1"), {SIZE}),
    "http2/6.9.1/2 a connection's window beyond": (frame(WINDOW, 0, 0, number(LIMIT)) * 2, {FLOW}),
    "http2/6.9.1/3 a stream's window beyond": (post() + frame(WINDOW, 0, 1, number(LIMIT)) * 2, {FLOW}),
    "http2/6.9.2/3 INITIAL_WINDOW_SIZE beyond": (frame(SETTINGS, 0, 0, setting(4, 2**31)), {FLOW}),
    "http2/6.10/2 CONTINUATION, then another frame": (ask(1, SPLIT[:9], END) + frame(CONTINUATION, 0, 1, SPLIT[9:]) + frame(DATA, END, 1), {PROTOCOL}),
    "http2/6.10/3 CONTINUATION on 0": (ask(1, SPLIT[:9], END) + frame(CONTINUATION, WHOLE, 0, SPLIT[9:]), {PROTOCOL}),
    "http2/6.10/4 CONTINUATION behind a whole head": (post() + frame(CONTINUATION, WHOLE, 1, SPLIT), {PROTOCOL}),
    "http2/6.10/5 CONTINUATION behind the last one": (frame(HEADERS, 0, 1, SPLIT[:9]) + frame(CONTINUATION, WHOLE, 1, SPLIT[9:]) + frame(CONTINUATION, WHOLE, 1, SPLIT), {PROTOCOL}),
    "http2/6.10/6 CONTINUATION behind DATA": (post() + frame(DATA, 0, 1, b"test") + frame(CONTINUATION, WHOLE, 1, SPLIT), {PROTOCOL}),
    "http2/7/1 GOAWAY of an unknown code": (frame(GOAWAY, 0, 0, number(0) + number(0xFF)), {0, GONE, OK}),
    "http2/7/2 RST_STREAM of an unknown code": (post() + frame(RESET, 0, 1, number(0xFF)), OK),
    "http2/8.1/1 HEADERS twice, without an end": (post() + frame(HEADERS, WHOLE, 1, literal(b"x-a", b"1")), {PROTOCOL}),
    "http2/8.1.2.1/3 a pseudo field in trailers": (post() + frame(HEADERS, END | WHOLE, 1, literal(b":method", b"GET")), {PROTOCOL}),
    "http2/8.1.2.6/1 a length that is not true": (post((b"content-length", b"1")) + frame(DATA, END, 1, b"test"), {PROTOCOL}),
    "http2/8.1.2.6/2 ... of two frames": (post((b"content-length", b"1")) + frame(DATA, 0, 1, b"te") + frame(DATA, END, 1, b"st"), {PROTOCOL}),
    "http2/8.2 PUSH_PROMISE": (frame(PUSH, WHOLE, 1, number(2) + SPLIT), {PROTOCOL}),
    # ---- hpack ----
    "hpack/2.3.3/1 an index beyond": (ask(1, fields() + b"\xc6"), {COMPRESSION}),
    "hpack/2.3.3/2 a name's index beyond": (ask(1, fields() + b"\x7f\x0f\x01a"), {COMPRESSION}),
    "hpack/4.2 a table size update behind fields": (ask(1, fields() + b"\x3f\x61"), {COMPRESSION}),
    "hpack/5.2/1 Huffman padded by 8 bits": (ask(1, fields() + b"\x00\x01x\x82\x1f\xff"), {COMPRESSION}),
    "hpack/5.2/2 Huffman padded by zeros": (ask(1, fields() + b"\x00\x01x\x81\x18"), {COMPRESSION}),
    "hpack/5.2/3 Huffman with EOS": (ask(1, fields() + b"\x00\x01x\x84\xff\xff\xff\xff"), {COMPRESSION}),
    "hpack/6.1 index 0": (ask(1, fields() + b"\x80"), {COMPRESSION}),
    "hpack/6.3 a table beyond the setting": (ask(1, b"\x3f\xe1\xff\xff\x7f" + fields()), {COMPRESSION}),
}
# The fields of 8.1.2 (upper case, pseudo fields unknown, of answers, behind fields, left out, twice,
# connection-specific fields, TE): tests/hostile/test_http2.py RESET.
# fmt: on


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    with Stage() as stage:
        yield front_of(stage, streams_max=50)


def ending(http: Http2) -> int | str:
    """OK, or the code that ended a stream of ours or the connection."""
    http.next_id = 1001
    try:
        http.wire.send(ask(1001))
        while not (reset := [one.reset for one in http.answers.values() if one.reset]):
            if 1001 in http.answers and http.answers[1001].ended:
                assert http.answers[1001].status == 200
                return OK
            http.read()
        return reset[0]
    except (EndedError, ConnectionError):
        return http.goaways[-1].error_code if http.goaways else GONE


@pytest.mark.parametrize("name", CASES)
def test_case(front: Front, name: str):
    sent, expected = CASES[name]
    with Http2(front.wire()) as http:
        http.fence()
        http.wire.send(sent)
        assert ending(http) in (expected if isinstance(expected, set) else {expected})


# ---- cases of what is answered ----


def test_windows_hold_an_answer(front: Front):
    """http2/6.9.1/1, 6.9.2/1 and 2: a window of one byte, a new one, and one below zero."""
    with Http2(front.wire(), {4: 1}) as http:
        id = http.ask("GET", "/")
        while not http.answers.get(id) or http.answers[id].body != b"s":
            http.read()
        http.fence()
        assert http.answers[id].body == b"s"
        http.wire.send(frame(SETTINGS, 0, 0, setting(4, 0)))  # one byte is owed now
        http.grant(id, 1).fence()
        assert http.answers[id].body == b"s"
        http.grant(id, 2)
        while http.answers[id].body != b"ser":
            http.read()
        http.fence()
        assert http.answers[id].body == b"ser"
        http.wire.send(frame(SETTINGS, 0, 0, setting(4, 1000)))
        assert http.answer(id).body == b"server"


def test_settings_and_pings_are_answered(front: Front):
    """http2/3.5/1, 6.5.3/2 and 6.7/1: our SETTINGS come first, the client's are acknowledged."""
    with Http2(front.wire()) as http:
        first = http.read()
        assert (first.type, "ACK" in first.flags) == (SETTINGS, False)
        acknowledged = http.read()
        while acknowledged.type != SETTINGS:
            acknowledged = http.read()
        assert "ACK" in acknowledged.flags
        http.ping(b"h2spec\0\0")
        while b"h2spec\0\0" not in http.pings:
            http.read()
