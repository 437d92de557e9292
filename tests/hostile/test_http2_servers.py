"""HTTP/2 towards servers, with hostile clients in front and hostile servers behind.

The vectors of HTTP/1 are sent by clients of both versions: what is refused reaches no server, and
what is passed on has exactly one meaning there. A server that breaks the rules costs its request a
502 (or its transfer the end), and nothing else: no crash, nothing left over, the next one is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from hostile.test_http2 import RESET, VECTORS, latin, translated
from hostile.test_requests_refused import BODIES, SIZES, SMUGGLED, Refused
from support.front import GOOD, Stage
from support.http2 import PROTOCOL_ERROR, Http2, request
from support.http2_back import Back, back_of, in_flight
from support.http2_server import Call, Script
from support.wire import AnswerError, EndedError


@pytest.fixture(scope="module")
def common() -> Iterator[Back]:
    with Stage() as stage:
        yield back_of(stage)


@pytest.fixture
def back(common: Back) -> Iterator[Back]:
    common.forget()
    yield common
    common.balancer.verify_alive()
    assert common.balancer.ask(GOOD).body == b"server"
    common.server.wait(lambda: in_flight(common) == 0)
    assert not common.server.faults


def others(back: Back) -> list[Call]:
    assert back.balancer.ask(GOOD).status == 200  # whatever was sent before has come by now
    return [call for call in back.server.heads if call.path != b"/good"]


# ---- hostile clients ----


PLAIN = [one for one in (*VECTORS, *SIZES) if one.name != "http2-preface"]  # it is spoken here


@pytest.mark.parametrize("vector", PLAIN, ids=lambda one: one.name)
def test_what_is_refused_reaches_no_server(back: Back, vector: Refused):
    with back.wire() as wire:
        wire.send(vector.sent + SMUGGLED)
        assert wire.read().status in vector.status
        assert wire.ended()
    assert others(back) == []


@pytest.mark.parametrize("vector", BODIES, ids=lambda one: one.name)
def test_a_broken_body_is_never_whole(back: Back, vector: Refused):
    with back.wire() as wire:
        wire.send(vector.sent + SMUGGLED)
        wire.read_to_end()
    assert all(not call.whole for call in others(back))
    assert b"/smuggled" not in [call.path for call in back.server.heads]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: one.name)
def test_no_field_of_http_1_smuggles(back: Back, vector: Refused):
    fields, body = translated(vector)
    data = body + b"GET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    with Http2(back.wire()) as http:
        id = http.ask(fields, end=False)
        http.data(id, data, end=True)
        try:
            answer = http.answer(id)
            taken = answer.begun and answer.status == 200
        except EndedError:
            taken = False
    whole = [call for call in others(back) if call.whole]
    assert [call.body for call in whole] == ([data] if taken else [])


@pytest.mark.parametrize("name", RESET)
def test_a_bad_head_reaches_no_server(back: Back, name: str):
    with Http2(back.wire()) as http:
        id = http.ask(latin(RESET[name]))
        try:
            answer = http.answer(id)
            assert answer.reset == PROTOCOL_ERROR or answer.status == 400
        except EndedError:
            assert http.goaways
    assert others(back) == []


@pytest.mark.parametrize("sent", [0, 4, 6, 100])
def test_data_is_not_what_the_length_said(back: Back, sent: int):
    with Http2(back.wire()) as http:
        id = http.ask("POST", "/bad", ("content-length", "5"), end=False)
        http.data(id, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".ljust(100)[:sent], end=True)
        assert http.answer(id).reset == PROTOCOL_ERROR
    assert all(not call.whole for call in others(back))


# ---- hostile servers ----


def raw(*frames: object) -> Script:
    def script(call: Call) -> None:
        for frame in frames:
            made = frame(call) if callable(frame) else frame
            call.talk.send(made if isinstance(made, bytes) else made.serialize())

    return script


def head(call: Call, *fields: tuple[str, str], end: bool = False) -> HeadersFrame:
    flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
    return HeadersFrame(call.id, call.talk.encoder.encode(fields), flags=flags)


def latin_head(*fields: tuple[bytes, bytes]) -> Script:
    return lambda call: call.talk.send(
        HeadersFrame(
            call.id, call.talk.encoder.encode(fields), flags=["END_HEADERS", "END_STREAM"]
        ).serialize()
    )


OK = (":status", "200")
BAD: dict[str, Script] = {
    "no status": raw(lambda call: head(call, ("x-a", "1"), end=True)),
    "a length before any status": raw(lambda call: head(call, ("content-length", "5"))),
    "a length behind an interim answer": raw(
        lambda call: head(call, (":status", "103")),
        lambda call: head(call, ("content-length", "5")),
    ),
    "a status that is none": raw(lambda call: head(call, (":status", "abc"), end=True)),
    "a status of four digits": raw(lambda call: head(call, (":status", "2000"), end=True)),
    "an empty status": raw(lambda call: head(call, (":status", ""), end=True)),
    "101": raw(lambda call: head(call, (":status", "101"))),
    "the status twice": raw(lambda call: head(call, OK, OK, end=True)),
    "the status behind a field": raw(lambda call: head(call, ("x-a", "1"), OK, end=True)),
    "a pseudo field of requests": raw(lambda call: head(call, OK, (":path", "/"), end=True)),
    "upper case": raw(lambda call: head(call, OK, ("X-A", "1"), end=True)),
    "connection": raw(lambda call: head(call, OK, ("connection", "close"), end=True)),
    "transfer-encoding": raw(lambda call: head(call, OK, ("transfer-encoding", "chunked"))),
    "a length that is none": raw(lambda call: head(call, OK, ("content-length", "+5"))),
    "two lengths": raw(
        lambda call: head(call, OK, ("content-length", "5"), ("content-length", "6"))
    ),
    "a length and nothing": raw(lambda call: head(call, OK, ("content-length", "5"), end=True)),
    "data before a head": raw(lambda call: DataFrame(call.id, b"x")),
    "trailers before a head": raw(
        lambda call: head(call, (":status", "103")), lambda call: head(call, ("x-a", "1"), end=True)
    ),
    "a large head": lambda call: call.head(*[(f"x-{at}", "y" * 4000) for at in range(20)]),
    "a thousand fields": lambda call: call.head(*[(f"x-{at}", "y") for at in range(1000)]),
    "endless interim answers": lambda call: [call.head(status="103") for _ in range(40)],
    "a push": raw(
        lambda call: PushPromiseFrame(
            call.id, 2, Encoder().encode(request()), flags=["END_HEADERS"]
        )
    ),
    "a stream of its own": raw(HeadersFrame(2, Encoder().encode([OK]), flags=["END_HEADERS"])),
    "a stream that is idle": raw(lambda call: DataFrame(call.id + 2, b"x")),
    "settings with a stream": raw(b"\0\0\0\4\0\0\0\0\1"),
    "a frame beyond the size": raw(b"\0\x40\1\0\0\0\0\0\1" + bytes(16_385)),
    "no HPACK": raw(lambda call: HeadersFrame(call.id, b"\xff" * 9, flags=["END_HEADERS"])),
    "a head within a head": raw(
        lambda call: HeadersFrame(call.id, b"\x88"), PingFrame(0, b"12345678")
    ),
    "a continuation of nothing": raw(lambda call: ContinuationFrame(call.id, b"")),
    "a window too large": raw(
        lambda call: WindowUpdateFrame(call.id, window_increment=2**31 - 1),
        lambda call: WindowUpdateFrame(call.id, window_increment=2**31 - 1),
    ),
    "garbage": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("version", [1, 2])
def test_a_bad_answer(back: Back, version: int, name: str):
    back.server.scripts[b"/x"] = BAD[name]
    if version == 1:
        assert back.balancer.get("/x").status == 502
    else:
        with Http2(back.wire()) as http:
            answer = http.get("GET", "/x")
            assert (answer.status, answer.reset) == (502, None)
    assert len(back.server.calls(b"/x")) == 1  # a bad answer is not asked for again


def ended(*frames: object) -> Script:
    return raw(lambda call: head(call, OK, end=True), *frames)


BROKEN: dict[str, Script] = {
    "more than the length": lambda call: call.head(("content-length", "5")).data(b"hello!", end=True),
    "less than the length": lambda call: call.head(("content-length", "5")).data(b"hell", end=True),
    "a second head": lambda call: call.head().data(b"hello").head(),
    "a pseudo field in trailers": lambda call: call.head().data(b"hello").tail((":status", "200")),
    "trailers without an end": lambda call: call.talk.head(call.id, [("x", "1")], False)
    if call.head().data(b"hello")
    else None,
    "trailers of 100 KiB": lambda call: (
        call.head().data(b"hello").tail(*[(f"x-{at}", "y" * 4000) for at in range(25)])
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("version", [1, 2])
def test_a_broken_body_never_looks_whole(back: Back, version: int, name: str):
    back.server.scripts[b"/x"] = BROKEN[name]
    if version == 1:
        with back.wire() as wire:
            wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                assert wire.read().status == 502
            except AnswerError:
                assert wire.end != "open"
    else:
        with Http2(back.wire()) as http:
            answer = http.get("GET", "/x")
            assert answer.reset is not None or answer.status == 502


BEHIND = {
    "data": ended(lambda call: DataFrame(call.id, b"HTTP/1.1 200 OK\r\n\r\n")),
    "a head": ended(lambda call: head(call, OK, ("x-evil", "1"), end=True)),
    "a reset": ended(lambda call: RstStreamFrame(call.id, error_code=2)),
}


@pytest.mark.parametrize("name", BEHIND)
def test_what_comes_behind_an_end_is_nobodys(back: Back, name: str):
    back.server.scripts[b"/x"] = BEHIND[name]
    with Http2(back.wire()) as http:
        for _ in range(3):
            answer = http.get("GET", "/x")
            assert (answer.status, answer.body, answer.get("x-evil")) == (200, b"", None)
            assert http.get("GET", "/other").body == b"server"


def test_what_comes_behind_the_length_is_nobodys(back: Back):
    back.server.scripts[b"/x"] = lambda call: (
        call.head(("content-length", "5")).data(b"hello").data(b"HTTP/1.1 200 OK\r\n\r\n")
    )
    with Http2(back.wire()) as http, back.wire() as wire:
        for _ in range(3):
            assert http.get("GET", "/x").body == b"hello"
            wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read().body == b"hello"
            assert http.get("GET", "/other").body == b"server"


BODILESS = {"HEAD": ("HEAD", "200"), "204": ("GET", "204"), "304": ("GET", "304")}


@pytest.mark.parametrize("kind", BODILESS)
def test_a_body_where_none_can_be(back: Back, kind: str):
    method, status = BODILESS[kind]
    back.server.scripts[b"/x"] = lambda call: call.head(status=status).data(b"evil", end=True)
    with back.wire() as wire:
        wire.send(f"{method} /x HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert wire.read(method.encode()).status in (int(status), 502)
        assert wire.quiet(0.05)


# ---- floods of servers ----


def flood(make: Callable[[Call, int], bytes], count: int) -> Script:
    def script(call: Call) -> None:
        for start in range(0, count, 100):
            call.talk.send(b"".join(make(call, at) for at in range(start, start + 100)))

    return script


def continuations(call: Call, at: int) -> bytes:
    if at == 0:
        return HeadersFrame(call.id, b"\x88").serialize()
    return ContinuationFrame(call.id, b"").serialize()


FLOODS = {
    "continuations": flood(continuations, 10_000),
    "pings": flood(lambda call, at: PingFrame(0, b"12345678").serialize(), 20_000),
    "settings": flood(lambda call, at: SettingsFrame(0, {}).serialize(), 5000),
    "empty data": flood(lambda call, at: DataFrame(call.id, b"").serialize(), 20_000),
    "goaways": flood(lambda call, at: GoAwayFrame(0, last_stream_id=call.id).serialize(), 5000),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_the_connection(back: Back, name: str):
    def script(call: Call) -> None:
        if name == "empty data":
            call.head()
        FLOODS[name](call)

    back.server.scripts[b"/x"] = script
    with Http2(back.wire()) as http:
        id = http.ask("GET", "/x")
        answer = http.answer(id)
        assert answer.reset is not None or answer.status == 502


def test_a_bomb_of_references(back: Back):
    """4 KB in the table, named by one byte each."""

    def script(call: Call) -> None:
        large = b"\x40\x01x\x7f\xb1\x1e" + b"y" * 4000
        block = b"\x88" + large + b"\xbe" * 4000
        call.talk.send(
            HeadersFrame(call.id, block, flags=["END_HEADERS", "END_STREAM"]).serialize()
        )

    back.server.scripts[b"/x"] = script
    before = back.balancer.memory_kib()
    for _ in range(5):
        assert back.balancer.get("/x").status == 502
    assert back.balancer.memory_kib() < before + 4096
