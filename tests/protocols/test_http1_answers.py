"""Answers: what is refused is a 502, and what is accepted has exactly one framing."""

import pytest

from fourseven.protocols import probe
from fourseven.protocols.message import Framing, Method

GET, HEAD = Method.METHOD_GET, Method.METHOD_HEAD
NONE, LENGTH = Framing.FRAMING_NONE, Framing.FRAMING_LENGTH
CHUNKED, CLOSE = Framing.FRAMING_CHUNKED, Framing.FRAMING_CLOSE
OK = b"HTTP/1.1 200 OK\r\n"
CL5 = b"Content-Length: 5\r\n"
TE = b"Transfer-Encoding: chunked\r\n"


def ok(*lines: bytes) -> bytes:
    return OK + b"".join(lines) + b"\r\n"


REFUSED = [
    ("both lengths", ok(CL5, TE), "LENGTH_AND_CODING"),
    ("both lengths, TE first", ok(TE, CL5), "LENGTH_AND_CODING"),
    ("both lengths, 204", b"HTTP/1.1 204 No\r\n" + CL5 + TE + b"\r\n", "LENGTH_AND_CODING"),
    ("CL twice", ok(CL5, CL5), "LENGTH_TWICE"),
    ("CL list", ok(b"Content-Length: 5, 5\r\n"), "LENGTH"),
    ("CL plus", ok(b"Content-Length: +5\r\n"), "LENGTH"),
    ("TE unknown", ok(b"Transfer-Encoding: gzip\r\n"), "CODING_UNKNOWN"),
    ("TE identity", ok(b"Transfer-Encoding: identity\r\n"), "CODING_UNKNOWN"),
    ("TE twice", ok(TE, TE), "CODING_TWICE"),
    ("TE on 1.0", b"HTTP/1.0 200 OK\r\n" + TE + b"\r\n", "CODING_VERSION"),
    ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "BARE_LF"),
    ("bare LF in a field", ok(b"A: b\n"), "BARE_LF"),
    ("bare CR", ok(b"A: b\rc\r\n"), "BARE_CR"),
    ("NUL", ok(b"A: b\x00\r\n"), "NUL"),
    ("obs-fold", ok(b"A: b\r\n c\r\n"), "FOLD"),
    ("space before colon", ok(b"A : b\r\n"), "NAME_SPACE"),
    ("no colon", ok(b"A\r\n"), "NO_COLON"),
    ("empty name", ok(b": b\r\n"), "NAME_EMPTY"),
    ("empty line before", b"\r\n" + ok(), "NOT_HTTP"),
    ("space before", b" " + ok(), "NOT_HTTP"),
    ("HTTP/0.9", b"<html>", "NOT_HTTP"),
    ("ICY", b"ICY 200 OK\r\n\r\n", "NOT_HTTP"),
    ("lower case", b"http/1.1 200 OK\r\n\r\n", "NOT_HTTP"),
    ("HTTP/1.2", b"HTTP/1.2 200 OK\r\n\r\n", "VERSION_UNKNOWN"),
    ("HTTP/2.0", b"HTTP/2.0 200 OK\r\n\r\n", "VERSION_UNKNOWN"),
    ("HTTP/1.10", b"HTTP/1.10 200 OK\r\n\r\n", "STATUS_LINE"),
    ("two spaces", b"HTTP/1.1  200 OK\r\n\r\n", "STATUS_LINE"),
    ("tab", b"HTTP/1.1\t200 OK\r\n\r\n", "STATUS_LINE"),
    ("no status", b"HTTP/1.1\r\n\r\n", "STATUS_LINE"),
    ("two digits", b"HTTP/1.1 20 OK\r\n\r\n", "STATUS_LINE"),
    ("four digits", b"HTTP/1.1 2000 OK\r\n\r\n", "STATUS_LINE"),
    ("signed", b"HTTP/1.1 +20 OK\r\n\r\n", "STATUS_LINE"),
    ("below 100", b"HTTP/1.1 099 OK\r\n\r\n", "STATUS_LINE"),
    ("NUL in reason", b"HTTP/1.1 200 O\x00K\r\n\r\n", "NUL"),
    ("CR in reason", b"HTTP/1.1 200 O\rK\r\n\r\n", "BARE_CR"),
    ("101 without Upgrade", b"HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n", "UPGRADE"),
    ("101 without Connection", b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n", "UPGRADE"),
    ("head too long", ok(b"A: " + b"b" * 40_000 + b"\r\n"), "HEAD_LONG"),
    ("too many fields", ok(b"A: b\r\n" * 129), "HEADERS_MANY"),
]

# name, answer to which method, bytes, (framing, content_length, keep_alive, status)
ACCEPTED = [
    ("length", GET, ok(CL5), (LENGTH, 5, 1, 200)),
    ("length 0", GET, ok(b"Content-Length: 0\r\n"), (LENGTH, 0, 1, 200)),
    ("chunked", GET, ok(TE), (CHUNKED, 0, 1, 200)),
    ("until close", GET, ok(), (CLOSE, 0, 0, 200)),
    ("until close, keep-alive", GET, ok(b"Connection: keep-alive\r\n"), (CLOSE, 0, 0, 200)),
    ("close", GET, ok(CL5, b"Connection: close\r\n"), (LENGTH, 5, 0, 200)),
    ("1.0", GET, b"HTTP/1.0 200 OK\r\n" + CL5 + b"\r\n", (LENGTH, 5, 0, 200)),
    ("1.0 keep-alive", GET, b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" + CL5 + b"\r\n",
     (LENGTH, 5, 1, 200)),
    ("HEAD with length", HEAD, ok(CL5), (NONE, 5, 1, 200)),
    ("HEAD chunked", HEAD, ok(TE), (NONE, 0, 1, 200)),
    ("HEAD bare", HEAD, ok(), (NONE, 0, 1, 200)),
    ("204", GET, b"HTTP/1.1 204 No Content\r\n" + CL5 + b"\r\n", (NONE, 5, 1, 204)),
    ("204 chunked", GET, b"HTTP/1.1 204 No Content\r\n" + TE + b"\r\n", (NONE, 0, 1, 204)),
    ("304", GET, b"HTTP/1.1 304 Not Modified\r\n" + CL5 + b"\r\n", (NONE, 5, 1, 304)),
    ("100", GET, b"HTTP/1.1 100 Continue\r\n\r\n", (NONE, 0, 1, 100)),
    ("103", GET, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", (NONE, 0, 1, 103)),
    ("205 has a length", GET, b"HTTP/1.1 205 R\r\n" + CL5 + b"\r\n", (LENGTH, 5, 1, 205)),
    ("999", GET, b"HTTP/1.1 999 Odd\r\n" + CL5 + b"\r\n", (LENGTH, 5, 1, 999)),
    ("no reason", GET, b"HTTP/1.1 200 \r\n" + CL5 + b"\r\n", (LENGTH, 5, 1, 200)),
    ("no reason, no space", GET, b"HTTP/1.1 200\r\n" + CL5 + b"\r\n", (LENGTH, 5, 1, 200)),
    ("reason with obs-text", GET, b"HTTP/1.1 200 \xfcber\r\n" + CL5 + b"\r\n", (LENGTH, 5, 1, 200)),
]  # fmt: skip


@pytest.mark.parametrize("data, fault", [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(data: bytes, fault: str) -> None:
    for step in (0, 1, 7):
        seen = probe.response(data, step=step)
        assert (seen["result"], seen["fault"]) == (-502, "FAULT_" + fault), step


@pytest.mark.parametrize(
    "method, data, wanted", [r[1:] for r in ACCEPTED], ids=[r[0] for r in ACCEPTED]
)
def test_accepted(method: int, data: bytes, wanted: tuple) -> None:
    whole = probe.response(data, method)
    assert whole["result"] == whole["head_size"] == len(data)
    keys = ("framing", "content_length", "keep_alive", "status")
    assert tuple(whole[key] for key in keys) == wanted
    assert whole["upgrade"] == 0
    for step in (1, 7):
        assert probe.response(data, method, step=step) | {"size": 0} == whole | {"size": 0}
    for tail in (b"\x00\xff", b"HTTP/1.1 200 OK\r\n\r\n"):
        assert probe.response(data + tail, method) | {"size": 0} == whole | {"size": 0}
    for size in range(len(data)):
        assert probe.response(data[:size], method)["result"] == 0


def test_switching_protocols() -> None:
    seen = probe.response(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    )
    assert (seen["upgrade"], seen["framing"]) == (1, NONE)
    assert [(name, drop) for name, _, _, drop in seen["fields"]] == [
        (b"Upgrade", 0),
        (b"Connection", 1),
    ]


def test_length_is_passed_on_only_where_it_frames_nothing() -> None:
    def drops(data: bytes, method: int) -> list[int]:
        return [drop for *_, drop in probe.response(data, method)["fields"]]

    assert drops(ok(CL5), GET) == [1]
    assert drops(ok(CL5), HEAD) == [0]
    assert drops(b"HTTP/1.1 304 N\r\n" + CL5 + b"\r\n", GET) == [0]
    assert drops(b"HTTP/1.1 204 N\r\n" + CL5 + b"\r\n", GET) == [1]
    assert drops(b"HTTP/1.1 204 N\r\n" + CL5 + b"\r\n", HEAD) == [1]


def test_hop_by_hop_fields_of_an_answer_are_dropped() -> None:
    seen = probe.response(
        ok(CL5, b"Connection: X-Own\r\nX-Own: 1\r\nUpgrade: h2c\r\nServer: s\r\n")
    )
    assert {name for name, *_, drop in seen["fields"] if not drop} == {b"Server"}


@pytest.mark.parametrize("data, size", [(b"SSH-2.0\r\n", 1), (b"HTTP/1.1 2x", 11), (b"HTTQ", 4)])
def test_refused_early(data: bytes, size: int) -> None:
    assert probe.response(data, step=1)["size"] == size
