"""Bytes that nobody has read yet: whose are they?

Whenever an exchange ends early or oddly, something is left over: the rest of a body, a pipelined
request, bytes behind an answer. Each must go to where it belongs or be thrown away; taken for the
beginning of the next message it is request smuggling or response poisoning, and left lying it is a
connection that hangs or resets.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from support.balancer import site
from support.front import GOOD, Front, Stage
from support.nowhere import refused
from support.recorder import Conversation
from support.wire import CLOSED, Message

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
UPGRADE = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address that refuses connections, for as long as the test holds its port."""
    with refused() as address:
        yield address


# ---- of requests ----


def test_a_body_that_was_sent_in_vain_is_not_the_next_request(front: Front):
    """The server takes the body and leaves: behind our 502 the next request is what follows it."""

    def leave(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.close()

    front.server.on(b"/x", leave)
    with front.wire() as wire:
        wire.send(POST % len(SMUGGLED) + SMUGGLED + GOOD)
        assert wire.read().status == 502
        assert wire.read().body == b"server"
        assert wire.quiet(0.1)
    assert [head.target for head in front.server.heads] == [b"/x", b"/good"]


def test_the_rest_of_a_body_is_not_the_next_request(front: Front):
    """The server leaves amid the body; its rest comes when our answer has been given."""

    def leave(conversation: Conversation, request: Message) -> None:
        conversation.take(len(SMUGGLED))
        conversation.close()

    front.server.on(b"/x", leave)
    with front.wire() as wire:
        wire.send(POST % (2 * len(SMUGGLED)) + b"a" * len(SMUGGLED))
        answer = wire.read()
        assert answer.status == 502
        assert answer.get("connection") == b"close"
        wire.send(SMUGGLED)
        assert wire.ended()
    front.fence()
    assert [head.target for head in front.server.heads] == [b"/x", b"/good"]


def test_early_bytes_of_an_upgrade_that_we_answer_are_never_a_request(stage: Stage, nowhere: str):
    with stage.balancer(site(nowhere)).wire() as wire:
        wire.send(UPGRADE + SMUGGLED)
        assert wire.read().status in (502, 503)
        assert wire.ended()


def test_requests_beyond_the_last_do_not_destroy_its_answer(stage: Stage):
    """Bytes that are unread at a close make it a reset, which takes back what was said before."""
    front = stage.front(requests_max=1)
    with front.wire() as wire:
        wire.send(GOOD * 5000)
        front.server.wait(lambda: front.server.heads)
        answer = wire.read()
        assert answer.get("connection") == b"close"
        assert wire.ended()
        assert wire.end == CLOSED


def test_who_is_one_too_many_reads_why(stage: Stage):
    front = stage.front(connections_max=1)
    with front.wire() as first, front.wire() as wire:
        assert first.send(GOOD).read().status == 200
        first.send(GOOD).read()
        refused = wire.send(GOOD * 10).read()
        assert refused.status == 503
        assert wire.ended()
        assert wire.end == CLOSED


# ---- of answers ----


def test_bytes_behind_a_spliced_answer_are_nobodys_answer(stage: Stage):
    """A body through the pipe ends exactly; what stands behind it has not even been read."""
    front = stage.front()
    body = b"a" * 1_000_000

    def excess(conversation: Conversation, request: Message) -> None:
        conversation.answer(body, rest=EVIL)

    front.server.on(b"/x", excess)
    for _ in range(5):
        assert front.balancer.get("/x").body == body
        assert front.balancer.ask(GOOD).body == b"server"


def test_no_part_of_an_endless_answer_waits_for_the_next(stage: Stage):
    """Every byte that the server has sent reaches the client, however the pieces fell."""
    front = stage.front()
    size = 69_600  # nearly a buffer: more than one chunk of ours can take of it
    go = threading.Event()

    def stream(conversation: Conversation, request: Message) -> None:
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 4_000_000)
        conversation.hold(go)
        conversation.send(b"b" * size)
        sent.set()
        conversation.read_to_end()

    front.server.on(b"/x", stream)
    sent = threading.Event()
    with front.wire() as wire:
        wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").read_head()
        assert count(wire, b"a", 4_000_000)
        front.balancer.counters()  # it has had its turn, and rests
        os.kill(front.balancer.pid, signal.SIGSTOP)  # so that it finds all at once
        go.set()
        assert sent.wait(20)
        time.sleep(0.1)
        os.kill(front.balancer.pid, signal.SIGCONT)
        assert count(wire, b"b", size)


def count(wire, byte: bytes, size: int) -> bool:
    """Takes chunks until this many of the byte have come."""
    while size > 0:
        chunk = int(wire.take_until(b"\r\n"), 16)
        assert wire.take(chunk) == byte * chunk
        assert wire.take(2) == b"\r\n"
        size -= chunk
    return size == 0
