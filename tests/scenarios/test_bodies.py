"""Bodies both ways: chunks, trailers, 100-continue, interim and early answers, cuts, HEAD."""

from __future__ import annotations

import hashlib
import socket

import pytest

from support.front import GOOD, Front
from support.recorder import Conversation, raw
from support.wire import EndedError, Message, chunked

OK = b"HTTP/1.1 200 OK\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*lines: str, path: str = "/x") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: a", *lines, "", ""]).encode()


def digest(conversation: Conversation, request: Message) -> None:
    """Answers with the body's size and digest."""
    conversation.answer(summary(conversation.read_body(request)))


def summary(body: bytes) -> bytes:
    return b"%d %s" % (len(body), hashlib.sha256(body).hexdigest().encode())


# ---- chunks and trailers ----


def test_chunks_of_a_server(front: Front):
    parts = [b"a" * size for size in (1, 10, 4095, 4096, 65_536, 3)]
    front.server.on(b"/x", raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*parts)))
    with front.wire() as wire:
        for _ in range(3):
            answer = wire.send(GET).read()
            assert answer.body == b"".join(parts)
            assert answer.framing == "chunked"


def test_chunks_of_a_server_byte_by_byte(front: Front):
    sent = OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"he", b"llo", trailers=b"X: 1\r\n")

    def script(conversation: Conversation, request: Message) -> None:
        for at in range(len(sent)):
            conversation.send(sent[at : at + 1])

    front.server.on(b"/x", script)
    assert front.balancer.get("/x").body == b"hello"


@pytest.mark.parametrize("step", [1, 7, 10**6], ids=["bytes", "sevens", "whole"])
def test_chunks_of_a_client(front: Front, step: int):
    front.server.on(b"/x", digest)
    parts = [bytes([65 + n]) * n * n for n in range(1, 20)]
    sent = post("Transfer-Encoding: chunked") + chunked(*parts)
    with front.wire() as wire:
        wire.send_each([sent[at : at + step] for at in range(0, len(sent), step)])
        assert wire.read().body == summary(b"".join(parts))


def test_forbidden_trailers_of_a_server_are_dropped(front: Front):
    trailers = b"X-Sum: 1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"
    body = chunked(b"hello", trailers=trailers)
    front.server.on(b"/x", raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body))
    with front.wire() as wire:
        for _ in range(3):
            answer = wire.send(GET).read()
            assert answer.body == b"hello"
            kept = {name.lower() for name, _ in answer.trailers}
            assert kept <= {b"x-sum"}


# ---- Expect: 100-continue ----

EXPECTING = post("Expect: 100-continue", "Content-Length: 5")


def test_a_server_says_continue(front: Front):
    def script(conversation: Conversation, request: Message) -> None:
        assert request.get("expect") == b"100-continue"
        conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        conversation.answer(conversation.read_body(request))

    front.server.on(b"/x", script)
    with front.wire() as wire:
        assert wire.send(EXPECTING).read_head().status == 100
        wire.send(b"hello")
        assert wire.read().body == b"hello"
        assert wire.send(GOOD).read().body == b"server"


@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"413 Too Large", b"401 Who"])
def test_a_server_refuses_before_the_body(front: Front, status: bytes):
    """The client learns it at once, without having sent its body."""
    front.server.on(b"/x", lambda conversation, _: conversation.answer(b"no", status=status))
    with front.wire() as wire:
        answer = wire.send(EXPECTING).read()
        assert answer.start.split(b" ")[1] == status.split(b" ")[0]
        assert answer.body == b"no"
    assert front.balancer.ask(GOOD).body == b"server"


def test_a_refused_body_that_was_sent_all_the_same_is_no_request(front: Front):
    """The body came together with the head; it is never read as the next request."""
    front.server.on(b"/x", lambda conversation, _: conversation.answer(b"no", status=b"413 No"))
    body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with front.wire() as wire:
        wire.send(post("Expect: 100-continue", f"Content-Length: {len(body)}") + body)
        assert wire.read().status == 413
    front.fence()
    assert b"/smuggled" not in [each.target for each in front.server.heads]


def test_a_silent_server_gets_the_body_when_the_client_sends_it(front: Front):
    with front.wire() as wire:
        wire.send(EXPECTING)
        front.server.wait(lambda: front.server.heads)
        assert wire.quiet(0.05)
        wire.send(b"hello")
        assert wire.read().body == b"server"
    assert front.server.requests[0].body == b"hello"


def test_an_old_client_expects_nothing(front: Front):
    """RFC 9110 10.1.1: an expectation in HTTP/1.0 is ignored, and 100 is not for it."""

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        conversation.answer(conversation.read_body(request))

    front.server.on(b"/x", script)
    head = EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = front.balancer.ask(head + b"hello")
    assert answer.body == b"hello"
    assert answer.interim == []


# ---- interim answers ----

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


def test_early_hints_are_passed(front: Front):
    front.server.on(b"/x", raw(HINTS + HINTS + OK + b"Content-Length: 2\r\n\r\nok"))
    with front.wire() as wire:
        answer = wire.send(GET).read()
        assert answer.body == b"ok"
        assert [each.status for each in answer.interim] == [103, 103]
        assert answer.interim[0].get("link") == b"</a.css>; rel=preload"
        assert wire.send(GOOD).read().body == b"server"


def test_an_old_client_gets_no_interim_answers(front: Front):
    front.server.on(b"/x", raw(HINTS + OK + b"Content-Length: 2\r\n\r\nok"))
    answer = front.balancer.ask(b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n")
    assert answer.interim == []
    assert answer.body == b"ok"


# ---- answers that come before the request is whole ----


def test_an_answer_before_the_body_is_whole(front: Front):
    """It is passed at once, while the client is still sending."""
    front.server.on(b"/x", lambda conversation, _: conversation.answer(b"early", status=b"403 No"))
    with front.wire() as wire:
        wire.send(post("Content-Length: 1000000") + b"a" * 1000)
        answer = wire.read()
        assert answer.status == 403
        assert answer.body == b"early"
    assert front.balancer.ask(GOOD).body == b"server"


def test_an_early_answer_and_the_rest_of_a_large_body(front: Front):
    """The client sends all of it all the same; it gets its answer, not a reset."""

    def script(conversation: Conversation, request: Message) -> None:
        conversation.answer(b"early", status=b"413 No", headers=b"Connection: close\r\n")
        conversation.finish()
        conversation.read_to_end()
        conversation.close()

    front.server.on(b"/x", script)
    with front.wire() as wire:
        wire.send(post("Content-Length: 4194304"), b"a" * (4 << 20))
        assert wire.read().body == b"early"
    assert front.balancer.ask(GOOD).body == b"server"


# ---- transfers that are cut ----

ENDED = [
    OK + b"Content-Length: 100000\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n10000\r\n",
]


@pytest.mark.parametrize("answer", ENDED, ids=["length", "chunked"])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_server_that_dies_amid_its_body(front: Front, answer: bytes, reset: bool):
    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(answer + b"a" * 5000)
        if reset:
            conversation.reset()
        else:
            conversation.close()

    front.server.on(b"/x", script)
    with front.wire() as wire:
        wire.send(GET)
        with pytest.raises(EndedError):
            wire.read()
    assert front.balancer.ask(GOOD).body == b"server"


def test_a_body_that_ends_with_the_connection_is_cut_by_a_reset(front: Front):
    """Only a FIN is the end of it."""

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(OK + b"\r\n" + b"a" * 100_000)
        conversation.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conversation.reset()

    front.server.on(b"/x", script)
    with front.wire() as wire:
        wire.send(GET)
        try:
            status = wire.read().status
        except EndedError:
            status = 502
        assert status == 502  # the reset may overtake the head


def test_a_client_that_dies_amid_its_body_never_makes_a_whole_request(front: Front):
    with front.wire() as wire:
        wire.send(post("Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
        front.server.wait(lambda: front.server.heads)
        wire.reset()
    front.server.wait(front.server.gone)
    assert front.server.requests == []
    assert front.balancer.ask(GOOD).body == b"server"


def test_a_client_that_leaves_amid_the_answer_frees_the_server(front: Front):
    def endless(conversation: Conversation, request: Message) -> None:
        conversation.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                conversation.socket.sendall(b"1000\r\n" + b"a" * 0x1000 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            conversation.close()

    front.server.on(b"/x", endless)
    with front.wire() as wire:
        wire.send(GET).take(100_000)
    front.server.wait(front.server.gone)


# ---- HEAD ----


def test_head_has_no_body_and_the_length_of_get(front: Front):
    with front.wire() as wire:
        for _ in range(3):
            answer = wire.send(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n").read(b"HEAD")
            assert answer.get("content-length") == b"6"
            assert wire.send(GOOD).read().body == b"server"
