"""Connections that live on: kept, pipelined, half closed, of HTTP/1.0, and lost at a bad moment."""

from __future__ import annotations

import threading

import pytest

from support.front import GOOD, Front, Stage
from support.recorder import Conversation, Script, raw
from support.service import settled
from support.wire import CLOSED, Message, chunked


def get(path: str, *lines: str, version: str = "1.1") -> bytes:
    head = "".join(f"{line}\r\n" for line in ("Host: a", *lines))
    return f"GET {path} HTTP/{version}\r\n{head}\r\n".encode()


def echo(conversation: Conversation, request: Message) -> None:
    """Answers with the target and the body."""
    body = conversation.read_body(request)
    conversation.answer(request.target + b" " + body)


# ---- kept ----


def test_one_connection_on_each_side_serves_all(front: Front):
    with front.wire() as wire:
        for _ in range(20):
            assert wire.send(GOOD).read().body == b"server"
    front.server.settle()
    assert heads_by_connection(front) == [20]


def test_a_client_that_leaves_does_not_cost_the_servers_connection(front: Front):
    for _ in range(5):
        assert front.balancer.ask(GOOD).status == 200
    front.server.settle()
    assert heads_by_connection(front) == [5]


@pytest.mark.parametrize("line", ["Connection: close", "connection: CLOSE", "Connection: x, close"])
def test_close_is_honoured(front: Front, line: str):
    with front.wire() as wire:
        answer = wire.send(get("/a", line) + get("/never")).read()
        assert answer.get("connection") == b"close"
        assert wire.ended()
        assert wire.end == CLOSED
    front.server.settle()
    assert [each.target for each in front.server.requests] == [b"/a"]


# ---- pipelined ----


def test_pipelining_keeps_the_order(front: Front):
    front.server.on(b"", echo)
    with front.wire() as wire:
        wire.send(b"".join(get(f"/{n}") for n in range(50)))
        assert [wire.read().body for _ in range(50)] == [b"/%d " % n for n in range(50)]
    front.server.settle()
    assert [each.target for each in front.server.requests] == [b"/%d" % n for n in range(50)]


def test_pipelining_with_bodies_of_both_framings(front: Front):
    front.server.on(b"", echo)
    bodies = [bytes([65 + n]) * (n * 977) for n in range(30)]
    with front.wire() as wire:
        for number, body in enumerate(bodies):
            wire.send(framed(b"POST /%d HTTP/1.1\r\nHost: a\r\n" % number, body, number % 2 == 1))
        for number, body in enumerate(bodies):
            assert wire.read().body == b"/%d " % number + body


def framed(head: bytes, body: bytes, in_chunks: bool) -> bytes:
    if in_chunks:
        parts = [body[at : at + 1000] for at in range(0, len(body), 1000)]
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*parts)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_a_pipeline_that_ends_amid_a_head_waits_for_the_rest(front: Front):
    stream = GOOD * 3
    with front.wire() as wire:
        wire.send(stream[:-10])
        assert wire.read().body == wire.read().body == b"server"
        wire.send(stream[-10:])
        assert wire.read().body == b"server"


def test_a_slow_first_answer_holds_the_second(front: Front):
    go = threading.Event()

    def slow(conversation: Conversation, request: Message) -> None:
        conversation.hold(go)
        conversation.answer(b"slow")

    front.server.on(b"/slow", slow)
    with front.wire() as wire:
        wire.send(get("/slow") + GOOD)
        front.server.wait(lambda: front.server.heads)
        assert wire.quiet(0.05)
        go.set()
        assert wire.read().body == b"slow"
        assert wire.read().body == b"server"


def test_a_client_that_leaves_amid_its_pipeline(front: Front):
    """What it had not yet been answered is forgotten, and nobody else gets it."""
    for _ in range(10):
        with front.wire() as wire:
            wire.send(GOOD * 20)
            wire.read()
            wire.reset()
    front.server.on(b"/after", echo)
    assert front.balancer.ask(get("/after")).body == b"/after "


# ---- HTTP/1.0 ----


def test_an_old_client_gets_a_close(front: Front):
    with front.wire() as wire:
        assert wire.send(get("/a", version="1.0")).read().body == b"server"
        assert wire.ended()


def test_an_old_client_may_keep_alive(front: Front):
    with front.wire() as wire:
        for _ in range(3):
            answer = wire.send(get("/a", "Connection: keep-alive", version="1.0")).read()
            assert answer.body == b"server"
            assert (answer.get("connection") or b"").lower() == b"keep-alive"


def test_an_old_client_never_gets_chunks(front: Front):
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"he", b"llo")
    front.server.on(b"/x", raw(answer))
    with front.wire() as wire:
        seen = wire.send(get("/x", "Connection: keep-alive", version="1.0")).read()
        assert seen.framing == "close"
        assert seen.body == b"hello"


def test_an_old_server_that_closes_ends_its_body(front: Front):
    front.server.on(b"/x", raw(b"HTTP/1.0 200 OK\r\n\r\n" + b"hello" * 10_000, then=CLOSED))
    with front.wire() as wire:
        assert wire.send(get("/x")).read().body == b"hello" * 10_000


def test_an_old_server_may_keep_alive(front: Front):
    answer = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nold"
    front.server.on(b"/x", raw(answer))
    with front.wire() as wire:
        for _ in range(3):
            assert wire.send(get("/x")).read().body == b"old"


def test_an_old_server_without_keep_alive_is_not_asked_again(front: Front):
    front.server.on(b"/x", raw(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold"))
    for _ in range(3):
        assert front.balancer.ask(get("/x")).body == b"old"
    front.server.settle()
    assert heads_by_connection(front) == [1, 1, 1]


def test_a_server_that_says_close_is_not_asked_again(front: Front):
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    front.server.on(b"/x", raw(answer))
    with front.wire() as wire:
        for _ in range(3):
            seen = wire.send(get("/x")).read()
            assert seen.body == b"ok"
            assert seen.get("connection") != b"close"
    front.server.settle()
    assert heads_by_connection(front) == [1, 1, 1]


def heads_by_connection(front: Front) -> list[int]:
    return [len(each.heads) for each in front.server.conversations if each.heads]


# ---- half closed ----


def test_a_client_that_has_said_all_still_gets_its_answers(front: Front):
    with front.wire() as wire:
        wire.send(GOOD * 3).finish()
        assert [wire.read().body for _ in range(3)] == [b"server"] * 3
        assert wire.ended()


def test_a_client_that_has_said_all_gets_a_late_answer(front: Front):
    go = threading.Event()

    def late(conversation: Conversation, request: Message) -> None:
        conversation.hold(go)
        conversation.answer(b"late")

    front.server.on(b"/late", late)
    with front.wire() as wire:
        wire.send(get("/late")).finish()
        front.server.wait(lambda: front.server.heads)
        assert wire.quiet(0.05)
        go.set()
        assert wire.read().body == b"late"


def test_a_client_that_ends_amid_its_body(front: Front):
    """It gets no 2xx, and the server never sees a whole request."""
    with front.wire() as wire:
        wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").finish()
        assert not wire.read_to_end().startswith(b"HTTP/1.1 2")
    front.fence()
    front.server.wait(lambda: front.server.gone() or b"/x" not in front.server.received)
    assert [each.target for each in front.server.requests] == [b"/good"]


def test_a_client_that_ends_amid_its_head(front: Front):
    with front.wire() as wire:
        wire.send(b"GET /x HTTP/1.1\r\nHost").finish()
        assert not wire.read_to_end().startswith(b"HTTP/1.1 2")
    front.fence()
    assert [each.target for each in front.server.heads] == [b"/good"]


def test_a_client_that_says_nothing_gets_nothing(front: Front):
    with front.wire() as wire:
        wire.finish()
        assert wire.read_to_end() == b""


# ---- the keep-alive race: a server hangs up just when it is asked again ----


def once_then_leave(reset: bool) -> Script:
    """Answers the first request of a connection, and leaves unanswered at the second."""

    def script(conversation: Conversation, request: Message) -> None:
        if len(conversation.heads) == 1:
            conversation.read_body(request)
            conversation.answer(b"once")
        elif reset:
            conversation.reset()
        else:
            conversation.close()

    return script


races = pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"


@races
def test_the_race_is_invisible_for_what_can_be_repeated(stage: Stage, reset: bool):
    front = stage.front()
    front.server.on(b"/x", once_then_leave(reset))
    with front.wire() as wire:
        for _ in range(6):
            assert wire.send(get("/x")).read().body == b"once"


@races
def test_the_race_costs_a_post_a_502(stage: Stage, reset: bool):
    """A POST is never sent twice: nobody knows what the first one has done."""
    front = stage.front()
    front.server.on(b"/x", once_then_leave(reset))
    with front.wire() as wire:
        assert wire.send(get("/x")).read().body == b"once"
        assert wire.send(POST).read().status == 502
    front.server.settle()
    assert [each.method for each in front.server.heads].count(b"POST") == 1


def test_an_idle_connection_that_the_server_closed_is_not_used(front: Front):
    """Noticed in time, it costs nothing, not even a POST."""
    front.balancer.ask(GOOD)
    front.server.settle()
    front.server.cut()
    assert settled(lambda: front.balancer.counters()["workers"]["upstream_idle"] == 0)
    assert front.balancer.ask(POST).status == 200
