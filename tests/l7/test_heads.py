"""Heads as they leave: a request and some filters in, exact bytes out."""

from __future__ import annotations

import pytest

from fourseven.l7.preview import Preview, Refused
from fourseven.plan import Action, All, ListenerPlan, Part, RoutePlan
from fourseven.protocols.message import Framing, KnownHeader, Method
from fourseven.snapshot.layout import ActionKind, ForwardedMode, ListenerMode, PartKind

KNOWN = {
    k.name.removeprefix("HEADER_").replace("_", "-").lower().encode(): int(k) for k in KnownHeader
}
HOP_BY_HOP = {b"connection", b"keep-alive", b"upgrade", b"transfer-encoding", b"content-length"}
X, RFC7239 = int(ForwardedMode.FORWARDED_X), int(ForwardedMode.FORWARDED_RFC7239)


def lines(*headers: str) -> list[tuple[bytes, bytes, int, int]]:
    """Headers as a reader would leave them."""
    found = []
    for line in headers:
        name, _, value = line.encode("latin-1").partition(b":")
        low = name.lower()
        found.append((name, value.strip(b" \t"), KNOWN.get(low, 0), int(low in HOP_BY_HOP)))
    return found


def literal(text: str) -> tuple[Part, ...]:
    return (Part(PartKind.PART_LITERAL, text.encode()),)


def listener(**options) -> ListenerPlan:
    return ListenerPlan(
        "web", ("tcp://0.0.0.0:80",), ListenerMode.MODE_HTTP, (), **{"forwarded": 0, **options}
    )


def preview(
    line: str = "GET /",
    *headers: str,
    actions: tuple[Action, ...] = (),
    answer: tuple[Action, ...] = (),
    options: dict | None = None,
    version: str = "1.1",
    **where,
) -> Preview:
    """A request as a client sends it. Without a Host it is one of HTTP/1.0."""
    route = RoutePlan("r", All(), request_actions=actions, response_actions=answer)
    at = Preview(listener(**(options or {})), route, b"app")
    if not any(h.lower().startswith("host:") for h in headers):
        version = "1.0"
    at.read(text(f"{line} HTTP/{version}", *headers).encode("latin-1"), **where)
    return at


def head(*args, **kwargs) -> str:
    return preview(*args, **kwargs).request_head().decode("latin-1")


def text(*lines: str) -> str:
    return "".join(f"{line}\r\n" for line in (*lines, ""))


def test_a_request_is_written_anew():
    assert head("GET /a?b=c", "Host: Example.com:80", "Accept: */*", "X-A: 1", "x-a: 2") == text(
        "GET /a?b=c HTTP/1.1", "Host: Example.com:80", "Accept: */*", "X-A: 1", "x-a: 2"
    )


def test_an_empty_query_keeps_its_mark():
    assert head("GET /?", "Host: a").startswith("GET /? HTTP/1.1\r\n")


def test_host_comes_first():
    assert head("GET /", "Accept: x", "Host: a") == text("GET / HTTP/1.1", "Host: a", "Accept: x")


def test_an_absolute_form_becomes_an_origin_form():
    got = head("GET http://a:81/x?y", "Host: a:81")
    assert got == text("GET /x?y HTTP/1.1", "Host: a:81")
    assert head("OPTIONS *", "Host: a").startswith("OPTIONS * HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "fields, host",
    [
        ({"local": "192.0.2.1", "local_port": 8080}, "192.0.2.1:8080"),
        ({"local": "192.0.2.1", "local_port": 80}, "192.0.2.1"),
        ({"local": "192.0.2.1", "local_port": 443, "secure": 1}, "192.0.2.1"),
        ({"local": "2001:db8::1", "local_port": 8080}, "[2001:db8::1]:8080"),
    ],
)
def test_a_client_that_names_no_host_gets_our_address(fields, host):
    assert head("GET /", **fields) == text("GET / HTTP/1.1", f"Host: {host}")


def test_hop_by_hop_headers_stay_even_if_nobody_marked_them():
    at = preview("GET /", "Host: a")
    names = (b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Transfer-Encoding", b"Upgrade")
    names += (b"Content-Length", b"HTTP2-Settings")
    headers = [(name, b"x", KNOWN[name.lower()], 0) for name in names]
    at.ask({}, headers)
    assert at.request_head() == text("GET / HTTP/1.1", "Host: a").encode()


@pytest.mark.parametrize(
    "line, framing, size, expected",
    [
        ("GET /", Framing.FRAMING_NONE, 0, ()),
        ("POST /", Framing.FRAMING_NONE, 0, ("Content-Length: 0",)),
        ("POST /", Framing.FRAMING_LENGTH, 2**63, ("Content-Length: 9223372036854775808",)),
        ("GET /", Framing.FRAMING_LENGTH, 0, ("Content-Length: 0",)),
        ("PUT /", Framing.FRAMING_CHUNKED, 0, ("Transfer-Encoding: chunked",)),
    ],
)
def test_framing_is_ours(line, framing, size, expected):
    at = preview(line, "Host: a", "Content-Length: 77")
    at.frame(framing, size)
    assert at.request_head().decode() == text(f"{line} HTTP/1.1", "Host: a", *expected)


def test_upgrade_passes_and_expect_passes():
    assert head(
        "GET /", "Host: a", "Upgrade: websocket", "Connection: Upgrade, x", upgrade=1
    ) == text("GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket")
    assert head("PUT /", "Host: a", "Expect: 100-continue") == text(
        "PUT / HTTP/1.1", "Host: a", "Expect: 100-continue", "Content-Length: 0"
    )


SPOOFED = (
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Prefix: /evil",
    "X-Real-IP: 6.6.6.6",
    "Forwarded: for=6.6.6.6",
)


@pytest.mark.parametrize(
    "mode, added",
    [
        (0, ()),
        (X, ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: http", "X-Forwarded-Host: a:1")),
        (RFC7239, ('Forwarded: for=192.0.2.7;host="a:1";proto=http',)),
        (
            X | RFC7239,
            (
                "X-Forwarded-For: 192.0.2.7",
                "X-Forwarded-Proto: http",
                "X-Forwarded-Host: a:1",
                'Forwarded: for=192.0.2.7;host="a:1";proto=http',
            ),
        ),
    ],
)
def test_claims_of_a_stranger_are_replaced(mode, added):
    got = head("GET /", "Host: a:1", "X-Ok: 1", *SPOOFED, options={"forwarded": mode})
    assert got == text("GET / HTTP/1.1", "Host: a:1", "X-Ok: 1", *added)


def test_claims_of_a_trusted_peer_are_kept_and_added_to():
    options = {"forwarded": X | RFC7239, "trusted": ("192.0.2.0/24",)}
    got = head("GET /", "Host: a", *SPOOFED, "X-Forwarded-For: 7.7.7.7", options=options)
    assert got == text(
        "GET / HTTP/1.1",
        "Host: a",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Prefix: /evil",
        "X-Real-IP: 6.6.6.6",
        "X-Forwarded-For: 6.6.6.6, 7.7.7.7, 192.0.2.7",
        'Forwarded: for=6.6.6.6, for=192.0.2.7;host="a";proto=http',
    )


def test_forwarded_quotes_ipv6_and_what_would_break_out():
    at = preview("GET /", options={"forwarded": RFC7239})
    at.ask({"authority": b'a"b\\c'}, [], peer="2001:db8::7", secure=1)
    got = at.request_head().decode()
    assert 'Forwarded: for="[2001:db8::7]";host="a\\"b\\\\c";proto=https\r\n' in got


SET, ADD, REMOVE = (
    int(ActionKind.ACTION_SET_HEADER),
    int(ActionKind.ACTION_ADD_HEADER),
    int(ActionKind.ACTION_REMOVE_HEADER),
)


@pytest.mark.parametrize(
    "actions, expected",
    [
        (((SET, "X-A", "9"),), ("B: 2", "X-A: 9")),
        (((ADD, "x-a", "9"),), ("X-A: 1", "B: 2", "x-A: 3", "x-a: 9")),
        (((REMOVE, "X-a", ""),), ("B: 2",)),
        (((ADD, "X-A", "8"), (SET, "X-A", "9")), ("B: 2", "X-A: 9")),
        (((SET, "X-A", "8"), (ADD, "X-A", "9")), ("B: 2", "X-A: 8", "X-A: 9")),
        (((SET, "X-A", "8"), (REMOVE, "X-A", ""), (ADD, "X-A", "9")), ("B: 2", "X-A: 9")),
        (((ADD, "C", "9"), (REMOVE, "D", "")), ("X-A: 1", "B: 2", "x-A: 3", "C: 9")),
        (((SET, "X-A", ""),), ("B: 2",)),  # an empty value sends nothing
    ],
)
def test_header_actions_in_both_directions(actions, expected):
    plans = tuple(
        Action(kind, name.encode(), literal(value) if value else ())
        for kind, name, value in actions
    )
    got = head("GET /", "Host: a", "X-A: 1", "B: 2", "x-A: 3", actions=plans)
    assert got == text("GET / HTTP/1.1", "Host: a", *expected)
    at = preview("GET /", answer=plans)
    got = at.response_head(200, b"OK", lines("X-A: 1", "B: 2", "x-A: 3")).decode()
    assert got == text("HTTP/1.1 200 OK", *expected)


def test_a_filter_replaces_our_own_lines_too():
    actions = (
        Action(SET, b"x-forwarded-for", literal("1.1.1.1")),
        Action(REMOVE, b"X-Forwarded-Proto"),
        Action(SET, b"X-Request-Id", literal("mine")),
    )
    got = head(
        "GET /", "Host: a", actions=actions, options={"forwarded": X, "request_id": b"X-Request-Id"}
    )
    assert got == text(
        "GET / HTTP/1.1",
        "Host: a",
        "X-Forwarded-Host: a",
        "x-forwarded-for: 1.1.1.1",
        "X-Request-Id: mine",
    )


FRESH = "0123456789abcdeffedcba9876543210"


@pytest.mark.parametrize(
    "trusted, sent, expected",
    [
        ((), "abc", FRESH),
        (("192.0.2.7/32",), "abc", "abc"),
        (("192.0.2.7/32",), "", FRESH),
        (("192.0.2.7/32",), "a b", FRESH),
        (("192.0.2.7/32",), "a" * 128, "a" * 128),
        (("192.0.2.7/32",), "a" * 129, FRESH),
    ],
)
def test_the_request_id(trusted, sent, expected):
    options = {"request_id": b"X-Request-Id", "trusted": trusted}
    got = head("GET /", "Host: a", f"x-request-id: {sent}", options=options)
    assert got == text("GET / HTTP/1.1", "Host: a", f"X-Request-Id: {expected}")


def test_a_head_of_256_headers():
    headers = [f"X-{n}: {n}" for n in range(255)]
    assert head("GET /", "Host: a", *headers) == text("GET / HTTP/1.1", "Host: a", *headers)


def test_capacity_exactly_enough_and_every_byte_less():
    options = {"forwarded": X | RFC7239, "request_id": b"X-Request-Id"}
    actions = (Action(SET, b"X-A", literal("9")),)
    at = preview("GET /a?b", "Host: a", "B: 1", actions=actions, answer=actions, options=options)
    writers = (
        at.request_head,
        lambda capacity=65536: at.response_head(200, b"OK", lines("B: 1"), capacity=capacity),
        lambda capacity=65536: at.answer(503, capacity=capacity),
    )
    for write in writers:
        want = write()
        assert write(capacity=len(want)) == want
        for capacity in range(len(want)):
            with pytest.raises(Refused, match="-1"):
                write(capacity=capacity)


@pytest.mark.parametrize(
    "version, keep_alive, framing, size, expected",
    [
        (11, True, Framing.FRAMING_LENGTH, 5, ("Content-Length: 5",)),
        (11, False, Framing.FRAMING_LENGTH, 5, ("Content-Length: 5", "Connection: close")),
        (10, True, Framing.FRAMING_LENGTH, 5, ("Content-Length: 5", "Connection: keep-alive")),
        (10, False, Framing.FRAMING_CLOSE, 0, ("Connection: close",)),
        (11, True, Framing.FRAMING_CLOSE, 0, ("Connection: close",)),
        (11, True, Framing.FRAMING_CHUNKED, 0, ("Transfer-Encoding: chunked",)),
        (20, True, Framing.FRAMING_CHUNKED, 0, ()),
        (11, True, Framing.FRAMING_NONE, 0, ("Content-Length: 77",)),  # to a HEAD
    ],
)
def test_the_answers_framing_and_connection(version, keep_alive, framing, size, expected):
    at = preview("GET /")
    at.to_client(version, keep_alive)
    at.frame(framing, size)
    got = at.response_head(
        200,
        b"Fine indeed",
        lines(
            "Server: s",
            "Content-Length: 77",
            "Connection: close",
            "Keep-Alive: 5",
            "Set-Cookie: a",
            "Set-Cookie: b",
        ),
    )
    assert got.decode() == text(
        "HTTP/1.1 200 Fine indeed", "Server: s", "Set-Cookie: a", "Set-Cookie: b", *expected
    )


def test_interim_answers_and_upgrades():
    at = preview("GET /", answer=(Action(SET, b"X-A", literal("1")),))
    assert at.response_head(103, b"Early Hints", lines("Link: x")).decode() == text(
        "HTTP/1.1 103 Early Hints", "Link: x"
    )
    assert at.response_head(100, b"", []).decode() == text("HTTP/1.1 100 ")
    assert at.response_head(204, b"No Content", lines("Content-Length: 5")).decode() == text(
        "HTTP/1.1 204 No Content", "X-A: 1"
    )
    got = at.response_head(
        101,
        b"Switching Protocols",
        lines("Upgrade: websocket", "Connection: upgrade", "Sec-WebSocket-Accept: x"),
        True,
    )
    assert got.decode() == text(
        "HTTP/1.1 101 Switching Protocols",
        "Sec-WebSocket-Accept: x",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "X-A: 1",
    )
    at.to_client(10, True)
    assert at.response_head(100, b"Continue", []) == b""


def ours(line: str, reason: str, *headers: str) -> str:
    return text(line, "Content-Type: text/plain", *headers) + reason + "\n"


def test_our_own_answers():
    at = preview("GET /")
    reason = "502 Bad Gateway: the server gave no valid answer"
    assert at.answer(502).decode() == ours("HTTP/1.1 502 Bad Gateway", reason, "Content-Length: 49")
    at.to_client(11, False)
    reason = "503 Service Unavailable: no server is available"
    headers = ("Content-Length: 48", "Retry-After: 5", "Connection: close")
    assert at.answer(503).decode() == ours("HTTP/1.1 503 Service Unavailable", reason, *headers)
    assert at.answer(503, Method.METHOD_HEAD).decode() == text(
        "HTTP/1.1 503 Service Unavailable", "Content-Type: text/plain", *headers
    )
    assert "\r\nAllow: GET, HEAD, " in at.answer(405).decode()


@pytest.mark.parametrize("status", range(400, 506))
def test_every_status_gives_a_whole_answer(status):
    top, _, body = preview("GET /").answer(status).decode().partition("\r\n\r\n")
    assert f"\r\nContent-Length: {len(body)}" in top
    code, reason = top.splitlines()[0].removeprefix("HTTP/1.1 ").split(" ", 1)
    assert body.startswith(f"{code} {reason}: ")
    assert body.count("\n") == 1
    assert body.endswith("\n")
    assert int(code) in {status, 500}
