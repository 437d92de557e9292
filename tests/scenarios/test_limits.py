"""Limits of the file: what is over them is refused in the words of HTTP, and nothing else suffers."""

from __future__ import annotations

import threading

import pytest

from support.balancer import site
from support.front import GOOD, Front, Stage
from support.recorder import Conversation
from support.wire import CLOSED, EndedError, Message, chunked

POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"


def get(target: bytes = b"/x", *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET %s HTTP/1.1" % target, b"Host: a", *lines, b"", b""])


def status(front: Front, request: bytes) -> int:
    """The status of the answer, after which the connection is closed if it is a refusal."""
    with front.wire() as wire:
        answer = wire.send(request).read()
        if answer.status >= 400:
            assert wire.ended()
            assert wire.end == CLOSED
        return answer.status


# ---- sizes ----


def test_a_body_over_the_limit_by_its_length(stage: Stage):
    front = stage.front(body_max=1000)
    assert status(front, POST + b"Content-Length: 1000\r\n\r\n" + b"a" * 1000) == 200
    assert status(front, POST + b"Content-Length: 1001\r\n\r\n" + b"a" * 1001) == 413
    assert status(front, POST + b"Content-Length: 9000000000000000000\r\n\r\n") == 413
    front.fence()
    assert [each.target for each in front.server.heads] == [b"/x", b"/good"]


def test_a_body_over_the_limit_by_its_chunks(stage: Stage):
    """Found out on the way: the server never sees a whole request."""
    front = stage.front(body_max=1000)
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert status(front, head + chunked(b"a" * 500, b"a" * 500)) == 200
    assert status(front, head + chunked(b"a" * 500, b"a" * 501)) == 413
    assert status(front, head + chunked(*[b"a"] * 1001)) == 413
    front.server.settle()
    assert [len(each.body) for each in front.server.requests] == [1000]


def test_a_body_over_the_limit_that_was_to_be_asked_for(stage: Stage):
    front = stage.front(body_max=1000)
    assert status(front, POST + b"Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n") == 413


def test_the_heads_size_and_count_and_target_are_the_files(stage: Stage):
    front = stage.front(head_max="2KiB", headers_max=4, target_max=100)
    assert status(front, get(b"/" + b"a" * 99)) == 200
    assert status(front, get(b"/" + b"a" * 100)) == 414
    assert status(front, get(b"/x", b"X-A: " + b"a" * 1900)) == 200
    assert status(front, get(b"/x", b"X-A: " + b"a" * 2100)) == 431
    assert status(front, get(b"/x", *[b"X-A: b"] * 3)) == 200
    assert status(front, get(b"/x", *[b"X-A: b"] * 4)) == 431


def test_requests_on_one_connection(stage: Stage):
    front = stage.front(requests_max=3)
    with front.wire() as wire:
        wire.send(GOOD * 5)
        assert [wire.read().get("connection") for _ in range(2)] == [None, None]
        assert wire.read().get("connection") == b"close"
        assert wire.ended()
    front.server.settle()
    assert len(front.server.requests) == 3


# ---- counts ----


def refused(front: Front) -> bool:
    """A new connection is turned away: 503, or closed without a word."""
    with front.wire() as wire:
        wire.send(GOOD)
        try:
            answer = wire.read()
        except EndedError:
            return True
        return answer.status == 503


def test_connections_at_once(stage: Stage):
    front = stage.front(connections_max=2)
    with front.wire() as first:
        first.send(GOOD).read()
        with front.wire() as second:
            second.send(GOOD).read()
            assert refused(front)
            assert refused(front)
            assert first.send(GOOD).read().status == 200
        front.server.wait(lambda: not refused(front))  # the second one's place is free again
        assert first.send(GOOD).read().status == 200
    counters = front.balancer.counters()
    assert counters["listeners"]["web"]["refused_limit"] >= 2


def holding(go: threading.Event):
    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.hold(go)
        conversation.answer(b"held")

    return script


def test_requests_at_once_at_one_server(stage: Stage):
    """With one server full there is 503; it says when to come again, and later there is room."""
    go = threading.Event()
    server = stage.server()
    server.on(b"/x", holding(go))
    config = site(server.address)
    config["backends"]["all"]["servers"] = [{"address": server.address, "max_in_flight": 1}]
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        wire.send(get())
        server.wait(lambda: server.heads)
        turned_away = balancer.ask(GOOD)
        assert turned_away.status == 503
        assert turned_away.get("retry-after") is not None
        go.set()
        assert wire.read().body == b"held"
    assert balancer.ask(GOOD).status == 200


def test_a_full_server_is_passed_over(stage: Stage):
    go = threading.Event()
    first, second = stage.server("first"), stage.server("second")
    for server in (first, second):
        server.on(b"/x", holding(go))
    config = site()
    config["backends"]["all"]["servers"] = [
        {"address": server.address, "max_in_flight": 1} for server in (first, second)
    ]
    balancer = stage.balancer(config)
    with balancer.wire() as one, balancer.wire() as two:
        one.send(get())
        two.send(get())
        first.wait(lambda: first.heads and second.heads)
        assert balancer.ask(GOOD).status == 503
        go.set()
        assert one.read().body == two.read().body == b"held"
    assert balancer.ask(GOOD).status == 200


@pytest.mark.parametrize("idle_max", [0, 1])
def test_idle_upstream_connections(stage: Stage, idle_max: int):
    front = stage.front({"idle_max": idle_max})
    for _ in range(3):
        assert front.balancer.ask(GOOD).status == 200
    front.server.wait(lambda: len(front.server.open()) == idle_max)
