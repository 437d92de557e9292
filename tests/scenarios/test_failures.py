"""Servers that are not there, die or lie: 502, 503 and 504 as they should, retries where they may.

A try is repeated only where repeating is safe, and a failed server costs no client that another one
could have served.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.balancer import site
from support.front import GOOD, Stage
from support.nowhere import refused
from support.recorder import Conversation
from support.wire import Message

POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
PUT = POST.replace(b"POST", b"PUT")
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address that refuses connections, for as long as the test holds its port."""
    with refused() as address:
        yield address


def test_nobody_there(stage: Stage, nowhere: str):
    balancer = stage.balancer(site(nowhere))
    with balancer.wire() as wire:
        for request in (GET, POST, GET):
            assert wire.send(request).read().status in (502, 503)


def test_nobody_there_with_a_large_body(stage: Stage, nowhere: str):
    balancer = stage.balancer(site(nowhere))
    with balancer.wire() as wire:
        wire.send(
            b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n", b"a" * 3_000_000
        )
        assert wire.read().status in (502, 503)


@pytest.mark.parametrize("request_", [GET, POST], ids=["get", "post"])
def test_the_other_one_is_there(stage: Stage, nowhere: str, request_: bytes):
    """A connection that was refused has carried nothing: even a POST goes to the other one."""
    server = stage.server()
    balancer = stage.balancer(site(nowhere, server.address))
    with balancer.wire() as wire:
        for _ in range(10):
            assert wire.send(request_).read().status == 200
    server.settle()
    assert len(server.requests) == 10


def test_without_retries_a_failure_is_seen(stage: Stage, nowhere: str):
    server = stage.server()
    config = site(nowhere, server.address)
    config["backends"]["all"]["retries"] = 0
    balancer = stage.balancer(config)
    statuses = [balancer.ask(GET).status for _ in range(6)]
    assert statuses.count(200) == 3
    assert set(statuses) - {200} <= {502, 503}


def leave(conversation: Conversation, request: Message) -> None:
    conversation.read_body(request)
    conversation.close()


@pytest.mark.parametrize(
    ("request_", "reached"), [(GET, 2), (PUT, 2), (POST, 1)], ids=["get", "put", "post"]
)
def test_a_server_that_leaves_without_an_answer(stage: Stage, request_: bytes, reached: int):
    """What is idempotent is tried once more (`retries: 1`), at the other server; a POST is not."""
    servers = [stage.server("first"), stage.server("second")]
    for server in servers:
        server.on(b"/x", leave)
    balancer = stage.balancer(site(*(server.address for server in servers)))
    assert balancer.ask(request_).status == 502
    for server in servers:
        server.settle()
    assert sum(len(server.heads) for server in servers) == reached
    assert max(len(server.heads) for server in servers) == 1


def test_a_retry_hides_a_server_that_leaves(stage: Stage):
    bad, good = stage.server("bad"), stage.server("good")
    bad.on(b"/x", leave)
    balancer = stage.balancer(site(bad.address, good.address))
    for _ in range(6):
        assert balancer.ask(GET).body == b"good"


def test_a_retried_body_arrives_whole(stage: Stage):
    bad, good = stage.server("bad"), stage.server("good")
    bad.on(b"/x", leave)
    balancer = stage.balancer(site(bad.address, good.address))
    body = bytes(range(256)) * 4
    request = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1024\r\n\r\n" + body
    for _ in range(4):
        assert balancer.ask(request).body == b"good"
    good.settle()
    assert {each.body for each in good.requests} == {body}


def test_a_server_that_comes_back(stage: Stage):
    server = stage.server()
    balancer = stage.balancer(site(server.address))
    assert balancer.ask(GOOD).status == 200
    server.stop()
    stage.servers.clear()
    assert balancer.ask(GOOD).status in (502, 503)
    again = stage.server("again", port=server.port)
    assert balancer.ask(GOOD).body == b"again"
    assert again.requests


def test_no_route(stage: Stage):
    server = stage.server()
    config = site(server.address)
    config["listeners"]["web"]["routes"] = [{"match": {"host": "elsewhere"}, "backend": "all"}]
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        assert wire.send(GET).read().status == 404
        assert wire.send(POST + GET).read().status == 404
        assert wire.read().status == 404
    assert server.received == b""


def test_our_own_answers_to_head_have_no_body(stage: Stage, nowhere: str):
    balancer = stage.balancer(site(nowhere))
    with balancer.wire() as wire:
        for _ in range(2):
            answer = wire.send(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n").read(b"HEAD")
            assert answer.status in (502, 503)


def test_in_flight_comes_back_to_zero(stage: Stage, nowhere: str):
    """Whatever went wrong, nothing counts as in flight afterwards."""
    bad = stage.server("bad")
    bad.on(b"/x", leave)
    balancer = stage.balancer(site(bad.address, nowhere))
    for request in (GET, POST, PUT) * 5:
        assert balancer.ask(request).status in (502, 503)
    balancer.at_rest()
