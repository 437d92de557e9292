"""HTTP/2 against the rules: what is refused never reaches a server, and no flood is for nothing.

The vectors of HTTP/1 are sent here too, as fields and data: whatever a field says, the server gets
no request that the client did not send as one, and reads in it exactly the body that was sent.

Laws: after each vector the server has settled, and could read strictly all that it got. A flood
ends with GOAWAY and ENHANCE_YOUR_CALM before it has cost much.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from hostile.test_requests_refused import FIELDS, FRAMING, HOSTS, REQUEST_LINES, Refused
from support.front import Front
from support.http2 import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    Answer,
    Http2,
    request,
)
from support.wire import EndedError

BASE = request("GET", "/bad")


def client(front: Front) -> Http2:
    return Http2(front.wire())


def outcome(http: Http2, id: int) -> Answer | int:
    """The answer of a stream, or the code of the GOAWAY that ended the connection."""
    try:
        return http.answer(id)
    except EndedError:
        assert http.goaways, "the connection ended without a word"
        return http.goaways[-1].error_code


def verify_other(front: Front, good: int = 1) -> None:
    """Nothing of the vector is at the server, and the next request finds all in order."""
    front.fence()
    assert [one.target for one in front.server.heads] == [b"/good"] * good, front.server.received


# ---- the rows for single requests ----

# fmt: off
RESET = {
    "connection": [*BASE, ("connection", "close")],
    "connection names a header": [*BASE, ("connection", "x-a"), ("x-a", "1")],
    "keep-alive": [*BASE, ("keep-alive", "x")],
    "proxy-connection": [*BASE, ("proxy-connection", "x")],
    "transfer-encoding": [*BASE, ("transfer-encoding", "chunked")],
    "upgrade": [*BASE, ("upgrade", "websocket")],
    "te": [*BASE, ("te", "gzip")],
    "te, trailers and more": [*BASE, ("te", "trailers, gzip")],
    "upper case": [*BASE, ("X-Upper", "1")],
    "upper case at the end": [*BASE, ("x-uppeR", "1")],
    "CR in a value": [*BASE, ("x-a", "1\r")],
    "LF in a value": [*BASE, ("x-a", "1\nx-b: 2")],
    "CRLF in a value": [*BASE, ("x-a", "1\r\nx-b: 2")],
    "NUL in a value": [*BASE, ("x-a", "1\0")],
    "space in a name": [*BASE, ("x a", "1")],
    "space behind a name": [*BASE, ("x-a ", "1")],
    "colon in a name": [*BASE, ("x:a", "1")],
    "CRLF in a name": [*BASE, ("x-a\r\nx-b", "1")],
    "NUL in a name": [*BASE, ("x\0", "1")],
    "no name": [*BASE, ("", "1")],
    "an unknown pseudo field": [*BASE, (":x", "1")],
    "a pseudo field of answers": [*BASE, (":status", "200")],
    "no method": request(method="", path="/bad"),
    "no scheme": request(path="/bad", scheme=""),
    "no path": [one for one in BASE if one[0] != ":path"],
    "no authority and no host": request(path="/bad", authority=""),
    "an empty path": [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "")],
    "a path without a slash": request(path="bad"),
    "a path of another form": request(path="http://a/bad"),
    "a star for GET": request(path="*"),
    "the method twice": [(":method", "GET"), *BASE],
    "the path twice": [*BASE, (":path", "/bad")],
    "the authority twice": [*BASE[:3], (":authority", "b"), *BASE[3:]],
    "a pseudo field behind a field": [*BASE[:3], ("x-a", "1"), BASE[3]],
    "the length twice": [*BASE, ("content-length", "0"), ("content-length", "0")],
    "a length that is none": [*BASE, ("content-length", "+1")],
    "host twice": [*BASE, ("host", "a.example"), ("host", "a.example")],
    "CONNECT with a path": [(":method", "CONNECT"), (":authority", "a:1"), (":path", "/bad")],
    "a protocol without CONNECT": [*BASE, (":protocol", "websocket")],
    "a length and no data": [*BASE, ("content-length", "5")],
}
REFUSED = {
    "another host": ([*BASE, ("host", "b.example")], {400}),
    "another port": ([*BASE, ("host", "a.example:81")], {400}),
    "a method with spaces": (request("GET /smuggled HTTP/1.1\r\nx:", "/bad"), {400}),
    "a method with a slash": (request("GE/T", "/bad"), {400}),
    "PRI": (request("PRI", "/bad"), {400}),
    "TRACE": (request("TRACE", "/bad"), {405}),
    "a scheme with a space": (request(path="/bad", scheme="http "), {400}),
    "a scheme with slashes": (request(path="/bad", scheme="http://a/"), {400}),
    "another scheme": (request(path="/bad", scheme="ftp"), {400}),
    "a path with a space": (request(path="/bad x"), {400}),
    "a path with CRLF": (request(path="/bad\r\n"), {400}),
    "a path with a fragment": (request(path="/bad#x"), {400}),
    "a path with raw bytes": (request(path="/bad\xe9"), {400}),
    "an authority with userinfo": (request(path="/bad", authority="x@a"), {400}),
    "an authority with a path": (request(path="/bad", authority="a/b"), {400}),
    "an authority with a space": (request(path="/bad", authority="a b"), {400}),
    "an encoded slash": (request(path="/bad%2f"), {400}),
    "CONNECT": ([(":method", "CONNECT"), (":authority", "a:1")], {405}),
    "expectation": ([*BASE, ("expect", "200-ok")], {417}),
}
# fmt: on


def latin(fields: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


@pytest.mark.parametrize("name", RESET)
def test_a_bad_head_is_a_reset(both: Front, name: str):
    with client(both) as http:
        answer = outcome(http, http.ask(latin(RESET[name])))
        if isinstance(answer, int):
            assert answer in (PROTOCOL_ERROR, COMPRESSION_ERROR)
        else:
            assert answer.reset == PROTOCOL_ERROR or answer.status == 400
            assert http.get("GET", "/good").status == 200
            assert [one.target for one in both.server.heads] == [b"/good"]
            both.server.forget()
    verify_other(both)


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_is_refused(both: Front, name: str):
    fields, statuses = REFUSED[name]
    with client(both) as http:
        answer = http.answer(http.ask(latin(fields)))
        assert answer.reset == PROTOCOL_ERROR or answer.status in statuses
        assert http.get("GET", "/good").status == 200
    both.server.settle()
    assert [one.target for one in both.server.heads] == [b"/good"]


@pytest.mark.parametrize("sent", [0, 4, 6, 100])
def test_data_is_not_what_the_length_said(both: Front, sent: int):
    with client(both) as http:
        id = http.ask("POST", "/bad", ("content-length", "5"), end=False)
        http.data(id, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".ljust(100)[:sent], end=True)
        assert http.answer(id).reset == PROTOCOL_ERROR
        assert http.get("GET", "/good").status == 200
    both.fence()
    assert b"/smuggled" not in [one.target for one in both.server.heads]
    assert [one.target for one in both.server.requests] == [b"/good"] * 2  # never a whole /bad


# ---- the tables of HTTP/1 ----


def translated(vector: Refused) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """A request of HTTP/1 as fields and data, as literally as can be."""
    head, _, body = vector.sent.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    method, _, target = line.rpartition(b" HTTP/")[0].partition(b" ")
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", target or b"/")]
    for one in lines:
        name, _, value = one.partition(b":")
        if name.lower() == b"host":
            fields.insert(2, (b":authority", value.strip(b" ")))
        else:
            fields.append((name.lower(), value.removeprefix(b" ")))
    return fields, body


VECTORS = [*FRAMING, *FIELDS, *HOSTS, *REQUEST_LINES]


@pytest.mark.parametrize("vector", VECTORS, ids=[one.name for one in VECTORS])
def test_no_field_of_http_1_smuggles(both: Front, vector: Refused):
    fields, body = translated(vector)
    data = body + b"GET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    with client(both) as http:
        id = http.ask(fields, end=False)
        http.data(id, data, end=True)
        answer = outcome(http, id)
        taken = isinstance(answer, Answer) and answer.begun and answer.status == 200
    both.fence()
    assert b"/smuggled" not in [one.target for one in both.server.heads]
    whole = [one for one in both.server.requests if one.target != b"/good"]
    if taken:  # it means something in HTTP/2: then the server was told the same
        assert [one.body for one in whole] == [data]
    else:
        assert not whole


# ---- floods ----


def settings(http: Http2, _: int) -> bytes:
    return SettingsFrame(0, {4: 65_535}).serialize()


def pings(http: Http2, _: int) -> bytes:
    return PingFrame(0, b"12345678").serialize()


def priorities(http: Http2, at: int) -> bytes:
    return PriorityFrame(2 * at + 1, depends_on=0, stream_weight=at % 255).serialize()


def empty_data(http: Http2, at: int) -> bytes:
    opened = http.head(request("POST", "/bad"), end=False, id=1).serialize() if at == 0 else b""
    return opened + DataFrame(1).serialize()


def windows(http: Http2, at: int) -> bytes:
    return WindowUpdateFrame(0, window_increment=1).serialize()


def goaways(http: Http2, at: int) -> bytes:
    begun = b""
    if at == 0:  # with nothing open, the first one would end the connection in peace
        begun = http.head(BASE, end=False, id=1).serialize()
    return begun + GoAwayFrame(0).serialize()


def continuations(http: Http2, at: int) -> bytes:
    if at == 0:
        head = http.head(BASE, id=1)
        head.flags.discard("END_HEADERS")
        return head.serialize()
    return ContinuationFrame(1, b"").serialize()


def rapid_resets(http: Http2, at: int) -> bytes:
    head = http.head(request("GET", "/bad"))
    return head.serialize() + RstStreamFrame(head.stream_id, error_code=8).serialize()


def made_resets(http: Http2, at: int) -> bytes:
    """CVE-2025-8671: frames that make us reset the stream, and so free its place."""
    head = http.head(request("POST", "/bad"), end=False)
    grant = WindowUpdateFrame(head.stream_id, window_increment=2**31 - 1).serialize()
    return head.serialize() + grant


def short_lengths(http: Http2, at: int) -> bytes:
    return http.head([*BASE, ("content-length", "9")]).serialize()


def crumbs(http: Http2, count: int) -> bytes:
    """A field in the table, and then one byte for each further time."""
    block = Encoder().encode(BASE, huffman=False) + b"\x40\x06cookie\x03a=1" + b"\xbe" * count
    id = http.next_id
    http.next_id += 2
    parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    frames = [HeadersFrame(id, parts[0], flags=["END_STREAM"])]
    frames += [ContinuationFrame(id, part) for part in parts[1:]]
    frames[-1].flags.add("END_HEADERS")
    return b"".join(frame.serialize() for frame in frames)


FLOODS = {
    settings: 5000,
    pings: 20_000,
    priorities: 20_000,
    empty_data: 20_000,
    windows: 20_000,
    goaways: 5000,
    continuations: 5000,
    rapid_resets: 5000,
    made_resets: 5000,
    short_lengths: 5000,
}


OPENING = {made_resets, short_lengths}


@pytest.mark.parametrize("flood", FLOODS, ids=[one.__name__ for one in FLOODS])
def test_a_flood_spends_the_budget(both: Front, flood: Callable[[Http2, int], bytes]):
    before = both.balancer.counters()["workers"]
    with client(both) as http:
        http.fence()
        with contextlib.suppress(EndedError):
            for start in range(0, FLOODS[flood], 50):
                http.wire.send(b"".join(flood(http, at) for at in range(start, start + 50)))
                if flood in OPENING:
                    http.fence()  # so that it is the budget that ends it, not the count of streams
        assert http.goaway() == ENHANCE_YOUR_CALM
    workers = both.balancer.counters()["workers"]
    assert workers["http2_calmed"] == before["http2_calmed"] + 1
    assert workers["requests"] - before["requests"] < 1500
    both.fence()


def test_crumbs_are_bounded_by_count(both: Front):
    with client(both) as http:
        http.fence()
        http.wire.send(crumbs(http, 200))
        assert http.answer(1).status == 200
        http.wire.send(crumbs(http, 400))
        assert http.answer(3).status == 431
        http.wire.send(crumbs(http, 5000))
        assert http.goaway() == ENHANCE_YOUR_CALM
    whole = [one for one in both.server.requests if one.target == b"/bad"]
    assert [one.get("cookie") for one in whole] == [b"; ".join([b"a=1"] * 201)]


def test_a_bomb_of_references(both: Front):
    """4 KB in the table, named by one byte each."""
    with client(both) as http:
        http.fence()
        large = b"\x40\x01x\x7f\xb1\x1e" + b"y" * 4000
        block = Encoder().encode(BASE, huffman=False) + large + b"\xbe" * 1000
        frame = HeadersFrame(1, block, flags=["END_STREAM", "END_HEADERS"])
        http.send(frame)
        assert http.goaway() == ENHANCE_YOUR_CALM
    verify_other(both)


# ---- frames against the rules ----

WRONG = {
    "no preface": (b"GET / HTTP/1.1\r\n", None),
    "data on stream 0": (DataFrame(1, b"x").serialize().replace(b"\0\0\0\1", b"\0\0\0\0"), PROTOCOL_ERROR),
    "data on an idle stream": (DataFrame(1, b"x").serialize(), PROTOCOL_ERROR),
    "a reset of an idle stream": (RstStreamFrame(1).serialize(), PROTOCOL_ERROR),
    "a window for an idle stream": (WindowUpdateFrame(1, window_increment=1).serialize(), PROTOCOL_ERROR),
    "a window of nothing": (WindowUpdateFrame(0, window_increment=0).serialize(), PROTOCOL_ERROR),
    "a window too large": (WindowUpdateFrame(0, window_increment=2**31 - 1).serialize(), FLOW_CONTROL_ERROR),
    "a push": (b"\0\0\4\5\4\0\0\0\1\0\0\0\2", PROTOCOL_ERROR),
    "settings with a stream": (b"\0\0\0\4\0\0\0\0\1", PROTOCOL_ERROR),
    "settings of a wrong size": (b"\0\0\3\4\0\0\0\0\0abc", FRAME_SIZE_ERROR),
    "an acknowledgement with content": (b"\0\0\6\4\1\0\0\0\0\0\1\0\0\0\0", FRAME_SIZE_ERROR),
    "push enabled with 2": (SettingsFrame(0, {2: 2}).serialize(), PROTOCOL_ERROR),
    "an initial window too large": (SettingsFrame(0, {4: 2**31}).serialize(), FLOW_CONTROL_ERROR),
    "a frame size too small": (SettingsFrame(0, {5: 100}).serialize(), PROTOCOL_ERROR),
    "a ping of a wrong size": (b"\0\0\6\6\0\0\0\0\0abcdef", FRAME_SIZE_ERROR),
    "a ping with a stream": (b"\0\0\x08\6\0\0\0\0\1abcdefgh", PROTOCOL_ERROR),
    "a goaway with a stream": (b"\0\0\x08\7\0\0\0\0\1" + bytes(8), PROTOCOL_ERROR),
    "a reset of a wrong size": (b"\0\0\3\3\0\0\0\0\1abc", FRAME_SIZE_ERROR),
    "a frame beyond the size": (b"\0\x40\1\0\0\0\0\0\1" + bytes(16_385), FRAME_SIZE_ERROR),
    "a continuation of nothing": (ContinuationFrame(1, b"").serialize(), PROTOCOL_ERROR),
    "an even stream": (HeadersFrame(2, Encoder().encode(BASE), flags=["END_HEADERS"]).serialize(), PROTOCOL_ERROR),
    "a head that is no HPACK": (HeadersFrame(1, b"\xff" * 9, flags=["END_HEADERS"]).serialize(), COMPRESSION_ERROR),
    "an index of nothing": (HeadersFrame(1, b"\x80", flags=["END_HEADERS"]).serialize(), COMPRESSION_ERROR),
    "padding beyond the frame": (b"\0\0\1\1\x0c\0\0\0\1\x09", PROTOCOL_ERROR),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_frame_ends_the_connection(both: Front, name: str):
    sent, code = WRONG[name]
    if code is None:
        with both.wire() as wire:
            wire.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
            assert wire.read().status in (400, 505)
    else:
        with client(both) as http:
            http.fence()
            http.wire.send(sent)
            assert http.goaway() == code
    verify_other(both)


def test_frames_on_a_closed_stream(both: Front):
    with client(both) as http:
        assert http.get("GET", "/good").status == 200
        http.data(1, b"late")  # it may have been on its way
        assert http.get("GET", "/good").status == 200
        http.send(http.head(BASE, id=1))
        assert http.get("GET", "/good").status == 200
    verify_other(both, 4)


def test_unknown_frames_are_passed_over(both: Front):
    with client(both) as http:
        for kind in (0x0A, 0x10, 0xBE):
            http.wire.send(b"\0\0\x64" + bytes([kind]) + bytes(5) + b"x" * 100)
        assert http.get("GET", "/good").status == 200


def test_a_head_within_a_head(both: Front):
    with client(both) as http:
        http.fence()
        head = http.head(BASE)
        head.flags.discard("END_HEADERS")
        http.send(head, PingFrame(0, b"12345678"))
        assert http.goaway() == PROTOCOL_ERROR
    verify_other(both)


def test_a_stream_that_depends_on_itself_is_harmless(both: Front):
    """Priorities are not there, so there is no tree that could be harmed."""
    with client(both) as http:
        http.fence()
        http.send(PriorityFrame(1, depends_on=1))
        with contextlib.suppress(EndedError):
            assert http.get("GET", "/good").status == 200
    both.fence()
