"""Servers that answer wrongly, or more than was asked.

An answer that can be read in two ways becomes a 502, and its connection is never used again; what
is wrong only in the body cuts the client's transfer, so that a part never looks like the whole.
No byte that a server sends unasked ever becomes the answer to somebody else's request.
"""

from __future__ import annotations

import threading

import pytest

from support.front import GOOD, Front
from support.recorder import Conversation, raw
from support.wire import CLOSED, WAIT_S, AnswerError, EndedError, Message, chunked

OK = b"HTTP/1.1 200 OK\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

# fmt: off
BAD = {
    "both-lengths": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both-lengths-other-order": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "lengths-differ": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "lengths-list": OK + b"Content-Length: 5, 6\r\n\r\nhello!",
    "length-plus": OK + b"Content-Length: +5\r\n\r\nhello",
    "length-minus": OK + b"Content-Length: -5\r\n\r\nhello",
    "length-hex": OK + b"Content-Length: 0x5\r\n\r\nhello",
    "length-empty": OK + b"Content-Length:\r\n\r\nhello",
    "length-word": OK + b"Content-Length: five\r\n\r\nhello",
    "length-2^64": OK + b"Content-Length: 18446744073709551621\r\n\r\nhello",
    "coding-unknown": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding-gzip-chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding-twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding-twice-in-one": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "coding-empty": OK + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "coding-on-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "status-two-digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status-four-digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status-letters": b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
    "status-099": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status-plus": b"HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n",
    "status-missing": b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "status-two-spaces": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-0.9": b"<html>hello</html>\r\n\r\n",
    "version-icy": b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    "space-before": b" HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "garbage": bytes(range(128, 256)) + b"\r\n\r\n",
    "reason-nul": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
    "reason-cr": b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare-lf-field": OK + b"X-A: b\nX-B: c\r\nContent-Length: 0\r\n\r\n",
    "bare-cr": OK + b"X-A: b\rc\r\nContent-Length: 0\r\n\r\n",
    "nul": OK + b"X-A: b\x00c\r\nContent-Length: 0\r\n\r\n",
    "fold": OK + b"X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "space-before-colon": OK + b"Content-Length : 0\r\n\r\n",
    "no-colon": OK + b"X-A\r\nContent-Length: 0\r\n\r\n",
    "empty-name": OK + b": b\r\nContent-Length: 0\r\n\r\n",
    "name-space": OK + b"X A: b\r\nContent-Length: 0\r\n\r\n",
    "value-100-KiB": OK + b"X-A: " + b"a" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "1,000-fields": OK + b"X-A: b\r\n" * 1000 + b"Content-Length: 0\r\n\r\n",
    "endless-head": OK + b"X-A: b\r\n" * 100_000,
    "switching-unasked": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nevil",
}

CUT = {
    "nothing": b"",
    "status-line": b"HTTP/1.1 200 OK\r\n",
    "half-head": OK + b"Content-Length: 5\r\nX-A",
    "after-100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "after-103": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}

BROKEN_BODIES = {
    "length-short": OK + b"Content-Length: 50\r\n\r\nhello",
    "length-none-of-it": OK + b"Content-Length: 50\r\n\r\n",
    "chunk-short": OK + b"Transfer-Encoding: chunked\r\n\r\n50\r\nhello",
    "chunk-last-missing": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "chunk-end-missing": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "chunk-size-letter": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nZ\r\n",
    "chunk-size-hex-prefix": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "chunk-size-minus": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n-5\r\nhello\r\n0\r\n\r\n",
    "chunk-size-overflow": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    "chunk-line-lf": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\nhello\r\n0\r\n\r\n",
    "chunk-too-long": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhelloo\r\n0\r\n\r\n",
    "trailer-malformed": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A : b\r\n\r\n",
}
# fmt: on


def rows(table: dict[str, bytes]) -> object:
    return pytest.mark.parametrize("answer", table.values(), ids=table.keys())


def ask(front: Front, target: bytes = b"/x", method: bytes = b"GET") -> Message:
    return front.balancer.ask(b"%s %s HTTP/1.1\r\nHost: a\r\n\r\n" % (method, target))


def verify_dropped(front: Front) -> None:
    """The connection of the last /x is gone, and a good request is served on another one."""
    bad = [
        each for each in front.server.conversations if any(h.target == b"/x" for h in each.heads)
    ]
    front.server.wait(lambda: all(each.finished.is_set() for each in bad))
    assert front.balancer.ask(GOOD).body == b"server"
    assert all(head.target == b"/x" for each in bad for head in each.heads[-1:])


@rows(BAD)
def test_bad_answer(front: Front, answer: bytes) -> None:
    front.server.on(b"/x", raw(answer))
    assert ask(front).status == 502
    verify_dropped(front)


@rows({name: answer for name, answer in BAD.items() if len(answer) < 10_000})
def test_bad_answer_byte_by_byte(front: Front, answer: bytes) -> None:
    def script(conversation: Conversation, request: Message) -> None:
        for at in range(len(answer)):
            conversation.send(answer[at : at + 1])

    front.server.on(b"/x", script)
    assert ask(front).status == 502
    verify_dropped(front)


@rows(CUT)
def test_cut_head(front: Front, answer: bytes) -> None:
    """The server hangs up before its head is whole."""
    front.server.on(b"/x", raw(answer, then=CLOSED))
    assert ask(front).status == 502
    verify_dropped(front)


@rows(CUT)
def test_reset_head(front: Front, answer: bytes) -> None:
    """The same with a reset."""

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(answer)
        conversation.reset()

    front.server.on(b"/x", script)
    assert ask(front).status == 502
    verify_dropped(front)


@rows(BROKEN_BODIES)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_broken_body(front: Front, answer: bytes, version: bytes) -> None:
    """The client sees that the transfer is not whole: never a body that ends well."""
    front.server.on(b"/x", raw(answer, then=CLOSED))
    with front.wire() as wire:
        wire.send(b"GET /x HTTP/%s\r\nHost: a\r\n\r\n" % version)
        try:
            seen = wire.read()
        except EndedError:
            pass
        except AnswerError as error:
            pytest.fail(f"not an honest cut: {error}")
        else:
            assert seen.status == 502, f"a whole answer: {seen}"
    verify_dropped(front)


# fmt: off
BODILESS = [
    ("head", b"HEAD", OK + b"Content-Length: 4\r\n\r\n", 200),
    ("head-chunked", b"HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n", 200),
    ("204", b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
    ("204-length", b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n", 204),
    ("204-chunked", b"GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204),
    ("304", b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", 304),
    ("304-bare", b"GET", b"HTTP/1.1 304 Not Modified\r\n\r\n", 304),
]
# fmt: on


@pytest.mark.parametrize(
    ("name", "method", "answer", "status"), BODILESS, ids=[row[0] for row in BODILESS]
)
@pytest.mark.parametrize(
    "excess", [b"", b"evil", EVIL, chunked(b"evil")], ids=["no-body", "body", "answer", "chunks"]
)
def test_bodiless(
    front: Front, name: str, method: bytes, answer: bytes, status: int, excess: bytes
) -> None:
    """No body whatever the headers say; excess bytes are nobody's answer."""
    front.server.on(b"/x", raw(answer + excess))
    with front.wire() as wire:
        wire.send(b"%s /x HTTP/1.1\r\nHost: a\r\n\r\n" % method)
        assert wire.read(method).status == status
        wire.send(GOOD)
        assert wire.read().body == b"server"
    if excess:
        verify_dropped(front)
    assert front.balancer.ask(GOOD).body == b"server"


EXCESS = [EVIL, b"x", b"\r\n", b"\r\nHTTP/1.1 200 OK\r\n\r\n"]


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 5\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"hello"),
    ],
    ids=["length", "chunked"],
)
@pytest.mark.parametrize("excess", EXCESS, ids=repr)
def test_excess(front: Front, answer: bytes, excess: bytes) -> None:
    """Bytes behind a whole answer: it is delivered, and the connection is not used again."""
    front.server.on(b"/x", raw(answer + excess))
    with front.wire() as wire:
        wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read().body == b"hello"
        wire.send(GOOD)
        assert wire.read().body == b"server"
    verify_dropped(front)


@pytest.mark.parametrize(
    "unasked", [EVIL, b"x", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"], ids=repr
)
def test_unasked_on_an_idle_connection(front: Front, unasked: bytes) -> None:
    """What a server sends between requests poisons nobody: the connection is thrown away."""
    go, sent = threading.Event(), threading.Event()

    def script(conversation: Conversation, request: Message) -> None:
        conversation.answer(b"first")
        conversation.hold(go)
        conversation.send(unasked)
        sent.set()

    front.server.on(b"/x", script)
    assert ask(front).body == b"first"
    go.set()
    assert sent.wait(WAIT_S)
    verify_dropped(front)


def test_interim_answers_without_end(front: Front) -> None:
    """Endless 1xx: the client gets an end, whole or cut, in bounded time."""

    def script(conversation: Conversation, request: Message) -> None:
        for _ in range(20_000):
            conversation.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        conversation.answer(b"at last")

    front.server.on(b"/x", script)
    with front.wire() as wire:
        wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        try:
            assert wire.read().status in (200, 502)
        except EndedError:
            assert wire.end == CLOSED
    assert front.balancer.ask(GOOD).body == b"server"


def test_what_is_between_the_server_and_us_stays_there(front: Front) -> None:
    """Hop-by-hop fields and those that Connection names go no further; the others all do."""
    head = (
        b"HTTP/1.1 200 Fine\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\n"
        b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: trailers\r\n"
        b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Kept: \xe9\r\nContent-Length: 2\r\n\r\nok"
    )
    front.server.on(b"/x", raw(head))
    answer = ask(front)
    for name in ("x-private", "keep-alive", "proxy-connection", "upgrade", "te"):
        assert answer.all(name) == [], name
    assert answer.all("set-cookie") == [b"a=1", b"b=2"]
    assert answer.get("x-kept") == b"\xe9"
    assert answer.body == b"ok"


def test_an_answer_cannot_remove_its_framing(front: Front) -> None:
    front.server.on(b"/x", raw(OK + b"Connection: Content-Length\r\nContent-Length: 2\r\n\r\nok"))
    with front.wire() as wire:
        wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read().body == b"ok"
        wire.send(GOOD)
        assert wire.read().body == b"server"


def test_an_early_answer_costs_the_server_its_connection(front: Front) -> None:
    """It still expects a body; what comes next may not be taken for it."""
    front.server.on(b"/x", lambda conversation, _: conversation.answer(b"early"))
    with front.wire() as wire:
        wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"a" * 10)
        assert wire.read().body == b"early"
    verify_dropped(front)
    assert b"/x" not in [each.target for each in front.server.requests]
