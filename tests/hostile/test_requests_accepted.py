"""Requests that look odd and are right, or are mended: what we forward means the same to the server.

Each row says what is sent, and what the server must then have read with its own strict reader:
method, target, Host, body, and headers that must or must not be there. Sent whole, byte by byte,
and all of them pipelined on one connection.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from support.front import Front
from support.recorder import targets
from support.wire import Message, chunked, each_byte


class Forwarded(NamedTuple):
    name: str
    sent: bytes
    method: bytes = b"GET"
    target: bytes = b"/x"
    host: bytes = b"a"
    body: bytes = b""
    there: tuple[tuple[str, bytes], ...] = ()  # exactly these values
    absent: tuple[str, ...] = ()
    trailers: tuple[tuple[bytes, bytes], ...] = ()


def get(*lines: bytes, target: bytes = b"/x") -> bytes:
    return b"\r\n".join([b"GET %s HTTP/1.1" % target, b"Host: a", *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"hello") -> bytes:
    return b"\r\n".join([b"POST /x HTTP/1.1", b"Host: a", *lines, b"", body])


def coded(body: bytes, *lines: bytes) -> bytes:
    return post(*lines, b"Transfer-Encoding: chunked", body=body)


NUMERALS = b"0123456789abcdef"

# fmt: off
FRAMING = [
    Forwarded("plain", get()),
    Forwarded("coding-after-tab", post(b"Transfer-Encoding:\tchunked", body=chunked(b"hello")), b"POST", body=b"hello"),
    Forwarded("coding-capitals", post(b"TRANSFER-ENCODING: CHUNKED", body=chunked(b"hello")), b"POST", body=b"hello"),
    Forwarded("coding-space-behind", post(b"Transfer-Encoding: chunked \t", body=chunked(b"hello")), b"POST", body=b"hello"),
    Forwarded("length-spaces", post(b"Content-Length: \t 5 \t"), b"POST", body=b"hello"),
    Forwarded("length-without-space", post(b"Content-Length:5"), b"POST", body=b"hello"),
    Forwarded("length-zero", post(b"Content-Length: 0", body=b""), b"POST"),
    Forwarded("no-length", post(body=b""), b"POST"),
    Forwarded("get-with-body", get(b"Content-Length: 5") + b"hello", body=b"hello"),
    Forwarded("get-with-chunks", get(b"Transfer-Encoding: chunked") + chunked(b"hello"), body=b"hello"),
    Forwarded("body-like-a-request", post(b"Content-Length: 37", body=b"GET /smuggled HTTP/1.1\r\nHost: abc\r\n\r\n"), b"POST", body=b"GET /smuggled HTTP/1.1\r\nHost: abc\r\n\r\n"),
    Forwarded("chunks-empty", coded(chunked()), b"POST"),
    Forwarded("chunks-many", coded(chunked(*each_byte(b"hello"))), b"POST", body=b"hello"),
    Forwarded("chunk-size-capitals", coded(b"A\r\n0123456789\r\n0\r\n\r\n"), b"POST", body=b"0123456789"),
    Forwarded("chunk-size-zeros", coded(b"0000000a\r\n0123456789\r\n000\r\n\r\n"), b"POST", body=b"0123456789"),
    Forwarded("chunk-extension", coded(b'5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n'), b"POST", body=b"hello"),
    Forwarded("chunk-like-chunks", coded(chunked(b"0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")), b"POST", body=b"0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"),
    Forwarded("trailer-length-dropped", coded(chunked(b"hello", trailers=b"Content-Length: 50\r\n")), b"POST", body=b"hello", absent=("content-length",)),
    Forwarded("trailer-coding-dropped", coded(chunked(b"hello", trailers=b"Transfer-Encoding: chunked\r\n")), b"POST", body=b"hello"),
    Forwarded("trailer-host-dropped", coded(chunked(b"hello", trailers=b"Host: evil\r\n")), b"POST", body=b"hello"),
    Forwarded("trailer-connection-dropped", coded(chunked(b"hello", trailers=b"Connection: close\r\n")), b"POST", body=b"hello"),
    Forwarded("trailer-keep-alive-dropped", coded(chunked(b"hello", trailers=b"Keep-Alive: 5\r\nUpgrade: x\r\nTE: trailers\r\n")), b"POST", body=b"hello"),
    Forwarded("trailer-forwarded-dropped", coded(chunked(b"hello", trailers=b"X-Forwarded-For: 6.6.6.6\r\n")), b"POST", body=b"hello"),
    Forwarded("expect-continue", post(b"Expect: 100-continue", b"Content-Length: 5"), b"POST", body=b"hello"),
]

CONNECTION = [
    Forwarded("connection-names-a-field", get(b"Connection: X-Auth", b"X-Auth: secret"), absent=("x-auth",)),
    Forwarded("connection-names-two", get(b"Connection: X-A , x-b", b"X-A: 1", b"X-B: 2", b"X-C: 3"), absent=("x-a", "x-b"), there=(("x-c", b"3"),)),
    Forwarded("connection-twice", get(b"Connection: X-A", b"Connection: X-B", b"X-A: 1", b"X-B: 2"), absent=("x-a", "x-b")),
    Forwarded("connection-cannot-remove-ours", get(b"Connection: X-Forwarded-For, X-Forwarded-Proto"), there=(("x-forwarded-for", b"127.0.0.1"), ("x-forwarded-proto", b"http"))),
    Forwarded("connection-cannot-remove-host", get(b"Connection: Host")),
    Forwarded("connection-cannot-remove-length", post(b"Connection: Content-Length", b"Content-Length: 5"), b"POST", body=b"hello"),
    Forwarded("connection-cannot-remove-coding", post(b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked", body=chunked(b"hello")), b"POST", body=b"hello"),
    Forwarded("hop-by-hop", get(b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"TE: gzip"), absent=("keep-alive", "proxy-connection", "te")),
    Forwarded("h2c", get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), absent=("upgrade", "http2-settings")),
    Forwarded("h2c-capitals", get(b"Connection: upgrade", b"Upgrade: H2C"), absent=("upgrade",)),
    Forwarded("h2c-among-others", get(b"Connection: upgrade", b"Upgrade: foo, h2c"), absent=("http2-settings",)),
    Forwarded("upgrade-without-connection", get(b"Upgrade: websocket"), absent=("upgrade",)),
]

TRUST = [
    Forwarded("forwarded-for-spoofed", get(b"X-Forwarded-For: 6.6.6.6"), there=(("x-forwarded-for", b"127.0.0.1"),)),
    Forwarded("forwarded-for-twice", get(b"X-Forwarded-For: 6.6.6.6", b"x-forwarded-for: 7.7.7.7"), there=(("x-forwarded-for", b"127.0.0.1"),)),
    Forwarded("forwarded-for-junk", get(b"X-Forwarded-For: <script>"), there=(("x-forwarded-for", b"127.0.0.1"),)),
    Forwarded("forwarded-proto-spoofed", get(b"X-Forwarded-Proto: https"), there=(("x-forwarded-proto", b"http"),)),
    Forwarded("forwarded-host-spoofed", get(b"X-Forwarded-Host: evil"), there=(("x-forwarded-host", b"a"),)),
    Forwarded("forwarded-spoofed", get(b"Forwarded: for=6.6.6.6"), absent=("forwarded",)),
    Forwarded("real-ip-spoofed", get(b"X-Real-IP: 6.6.6.6"), absent=("x-real-ip",)),
]

UNDERSCORES = [
    Forwarded("underscore-forwarded-for", get(b"X_Forwarded_For: 6.6.6.6"), absent=("x_forwarded_for",)),
    Forwarded("underscore-half", get(b"X-Forwarded_For: 6.6.6.6"), absent=("x-forwarded_for",)),
    Forwarded("underscore-coding", get(b"Transfer_Encoding: chunked"), absent=("transfer_encoding", "transfer-encoding")),
    Forwarded("underscore-length", get(b"Content_Length: 5"), absent=("content_length", "content-length")),
    Forwarded("underscore-coding-beside-length", post(b"Transfer_Encoding: chunked", b"Content-Length: 5"), b"POST", body=b"hello", absent=("transfer_encoding",)),
    Forwarded("underscore-unknown-is-kept", get(b"My_Own: b"), there=(("my_own", b"b"),)),
]

FIELDS = [
    Forwarded("value-high-bytes", get(b"X-A: \xe9\xff\x80"), there=(("x-a", b"\xe9\xff\x80"),)),
    Forwarded("value-empty", get(b"X-A:"), there=(("x-a", b""),)),
    Forwarded("value-inner-spaces", get(b"X-A: b  c\td"), there=(("x-a", b"b  c\td"),)),
    Forwarded("value-colon", get(b"X-A: :b:"), there=(("x-a", b":b:"),)),
    Forwarded("value-trimmed", get(b"X-A:  \tb\t "), there=(("x-a", b"b"),)),
    Forwarded("value-nel-is-not-a-space", get(b"X-A: \x85b\xa0"), there=(("x-a", b"\x85b\xa0"),)),
    Forwarded("name-token-characters", get(b"!#$%&'*+-.^`|~: b"), there=(("!#$%&'*+-.^`|~", b"b"),)),
    Forwarded("128-fields", b"GET /x HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(127)) + b"\r\n", there=(("x-126", b"a"),)),
    Forwarded("value-30-KiB", get(b"X-A: " + b"a" * 30_000), there=(("x-a", b"a" * 30_000),)),
    Forwarded("target-8-KiB", get(target=b"/" + b"a" * 8191), target=b"/" + b"a" * 8191),
    Forwarded("host-port", b"GET /x HTTP/1.1\r\nHost: a:8080\r\n\r\n", host=b"a:8080"),
    Forwarded("host-v6", b"GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", host=b"[::1]:80"),
    Forwarded("host-last", b"GET /x HTTP/1.1\r\nX-A: b\r\nHost: a\r\n\r\n"),
    Forwarded("absolute-form", b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n"),
    Forwarded("absolute-form-capitals", b"GET HTTP://A/x HTTP/1.1\r\nHost: a\r\n\r\n", host=b"a"),
    Forwarded("absolute-form-without-path", b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", target=b"/"),
    Forwarded("absolute-form-query", b"GET http://a?b=c HTTP/1.1\r\nHost: a\r\n\r\n", target=b"/?b=c"),
    Forwarded("options-star", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"OPTIONS", target=b"*"),
    Forwarded("method-unknown", b"BREW /x HTTP/1.1\r\nHost: a\r\n\r\n", b"BREW"),
    Forwarded("method-lower-case-is-another", b"get /x HTTP/1.1\r\nHost: a\r\n\r\n", b"get"),
    Forwarded("method-with-a-hyphen", b"VERSION-CONTROL /x HTTP/1.1\r\nHost: a\r\n\r\n", b"VERSION-CONTROL"),
    Forwarded("query-kept", get(target=b"/x?a=%2f..%5c/../%00&b=//c"), target=b"/x?a=%2f..%5c/../%00&b=//c"),
    Forwarded("query-empty", get(target=b"/x?"), target=b"/x?"),
    Forwarded("query-question", get(target=b"/x??a?b"), target=b"/x??a?b"),
]
# fmt: on

VECTORS = [*FRAMING, *CONNECTION, *TRUST, *UNDERSCORES, *FIELDS]


def verify(seen: Message, vector: Forwarded) -> None:
    """What the server read is what was meant."""
    assert seen.method == vector.method
    assert seen.target == vector.target
    assert seen.all("host")[0].lower() == vector.host
    assert seen.body == vector.body
    for name, value in vector.there:
        assert seen.all(name) == [value], name
    for name in vector.absent:
        assert seen.all(name) == [], name
    assert tuple(seen.trailers) == vector.trailers


rows = pytest.mark.parametrize("vector", VECTORS, ids=[each.name for each in VECTORS])


@rows
@pytest.mark.parametrize("form", ["whole", "bytes"])
def test_forwarded(front: Front, vector: Forwarded, form: str) -> None:
    with front.wire() as wire:
        wire.send_each([vector.sent] if form == "whole" else each_byte(vector.sent))
        assert wire.read(vector.method).status == 200
    front.server.settle()
    (seen,) = front.server.requests
    verify(seen, vector)


def test_pipelined_all(front: Front) -> None:
    """All vectors on one connection, in one go: each is answered, in order, and none bleeds."""
    vectors = [each for each in VECTORS if b"Expect" not in each.sent]
    with front.wire() as wire:
        for vector in vectors:
            wire.send(vector.sent)
        for vector in vectors:
            assert wire.read(vector.method).status == 200, vector.name
    front.server.settle()
    assert len(front.server.requests) == len(vectors)


def test_close_is_ours_alone(front: Front) -> None:
    """The client's `Connection: close` closes the client's connection, and not the server's."""
    with front.wire() as wire:
        wire.send(get(b"Connection: close, X-Auth", b"X-Auth: secret"))
        assert wire.read().status == 200
        assert wire.ended()
    front.server.settle()
    (seen,) = front.server.requests
    assert seen.all("x-auth") == []
    assert seen.get("connection") in (None, b"keep-alive")
    assert len([one for one in front.server.open() if b"/x" in targets(one)]) == 1


@pytest.mark.parametrize("blank", [b"\r\n", b"\r\n\r\n"])
def test_empty_lines_before_a_request(front: Front, blank: bytes) -> None:
    """RFC 9112 2.2 lets us ignore them; to refuse is as good, to misread is not."""
    with front.wire() as wire:
        wire.send(blank + get())
        status = wire.read().status
    assert status in (200, 400)
    front.server.settle()
    assert [each.target for each in front.server.requests] == ([b"/x"] if status == 200 else [])
