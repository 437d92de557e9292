"""Large bodies: every byte arrives, and the balancer keeps next to none of them.

Memory is the engine's anonymous resident memory. What it may grow by is a few buffers; a balancer
that took in what the other side does not take would grow by the body.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable

import pytest

from support.front import GOOD, Front
from support.recorder import Conversation
from support.wire import Message

MIB = 1 << 20
LARGE = 100 * MIB
BLOCK = bytes(range(256)) * 4096  # 1 MiB
WANTED = hashlib.sha256(BLOCK * (LARGE // MIB)).hexdigest().encode()
GROWTH_KIB = 8 * 1024
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


def swallow(take: Callable[[int], bytes], size: int) -> bytes:
    """Takes `size` bytes and returns their digest, without keeping them."""
    seen = hashlib.sha256()
    while size:
        piece = take(min(size, MIB))
        seen.update(piece)
        size -= len(piece)
    return seen.hexdigest().encode()


def verify_stalls(count: list[int]) -> None:
    """Returns once the count has stood still for a while."""
    last, since = -1, time.monotonic()
    until = since + 20
    while time.monotonic() - since < 0.3:
        assert time.monotonic() < until, "it never stalls"
        if count[0] != last:
            last, since = count[0], time.monotonic()
        time.sleep(0.02)  # A stall is the absence of events: time is all there is to wait for.


def sender(sent: list[int]) -> Callable[[Conversation, Message], None]:
    """A server that sends LARGE, and counts what it could get rid of."""

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        for _ in range(LARGE // MIB):
            conversation.send(BLOCK)
            sent[0] += MIB

    return script


def receiver(conversation: Conversation, request: Message) -> None:
    """A server that answers with the digest of a LARGE body."""

    def take(size: int) -> bytes:
        conversation.received.clear()  # the record is not for this one
        return conversation.take(size)

    conversation.requests.append(request)
    conversation.answer(swallow(take, LARGE))


@pytest.fixture
def steady(front: Front):
    """The front, warm; fails where its memory has grown by more than a few buffers."""
    front.balancer.ask(GOOD)
    before = front.balancer.memory_kib()
    yield front
    assert front.balancer.memory_kib() - before < GROWTH_KIB


def test_a_large_answer(steady: Front):
    steady.server.on(b"/x", sender([0]))
    with steady.wire() as wire:
        assert wire.send(GET).read_head().get("content-length") == b"%d" % LARGE
        assert swallow(wire.take, LARGE) == WANTED
        assert wire.send(GOOD).read().body == b"server"


def test_a_slow_reader_stops_the_server(steady: Front):
    """Backpressure: what the client does not take, the server cannot send."""
    sent = [0]
    steady.server.on(b"/x", sender(sent))
    before = steady.balancer.memory_kib()
    with steady.wire(receive_buffer=65_536) as wire:
        wire.send(GET).read_head()
        verify_stalls(sent)
        assert sent[0] < LARGE // 2, "nobody holds the server back"
        assert steady.balancer.memory_kib() - before < GROWTH_KIB
        assert swallow(wire.take, LARGE) == WANTED


def test_a_large_request(steady: Front):
    steady.server.on(b"/x", receiver)
    with steady.wire() as wire:
        wire.send(POST % LARGE, *[BLOCK] * (LARGE // MIB))
        assert wire.read().body == WANTED


def test_a_slow_server_stops_the_client(steady: Front):
    go = threading.Event()

    def script(conversation: Conversation, request: Message) -> None:
        conversation.hold(go, 30)
        receiver(conversation, request)

    steady.server.on(b"/x", script)
    before = steady.balancer.memory_kib()
    sent = [0]
    with steady.wire(timeout_s=30) as wire:

        def send() -> None:
            wire.send(POST % LARGE)
            for _ in range(LARGE // MIB):
                wire.send(BLOCK)
                sent[0] += MIB

        sending = threading.Thread(target=send)
        sending.start()
        verify_stalls(sent)
        assert sent[0] < LARGE // 2, "nobody holds the client back"
        assert steady.balancer.memory_kib() - before < GROWTH_KIB
        go.set()
        assert wire.read().body == WANTED
        sending.join()


def test_both_ways_at_once(steady: Front):
    """An echo that answers while it still reads: neither direction may wait for the other."""
    size = 20 * MIB

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        left = size
        while left:
            piece = conversation.take(max(1, len(conversation.buffer)))
            conversation.received.clear()
            conversation.send(piece)
            left -= len(piece)
        conversation.requests.append(request)

    steady.server.on(b"/x", script)
    with steady.wire(timeout_s=30) as wire:
        blocks = [BLOCK] * (size // MIB)
        sending = threading.Thread(target=wire.send, args=(POST % size, *blocks))
        sending.start()
        assert wire.read_head().status == 200
        wanted = hashlib.sha256(b"".join(blocks)).hexdigest().encode()
        assert swallow(wire.take, size) == wanted
        sending.join()


def test_a_client_that_asks_and_never_listens(steady: Front):
    """Its answers fill its own window, then its questions are no longer read."""
    page = b"a" * 20_000  # so that it takes few of them
    steady.server.on(b"/good", lambda conversation, _: conversation.answer(page))
    sent = [0]
    before = steady.balancer.memory_kib()
    with steady.wire(receive_buffer=4096) as wire:
        wire.socket.setblocking(False)
        batch = GOOD * 1000
        until = time.monotonic() + 20
        stalled = 0
        while stalled < 15:
            assert time.monotonic() < until, "it reads on and on"
            try:
                sent[0] += wire.socket.send(batch[sent[0] % len(GOOD) :])
                stalled = 0
            except BlockingIOError:
                stalled += 1
                time.sleep(0.02)  # A stall is the absence of events.
        assert steady.balancer.memory_kib() - before < GROWTH_KIB
        assert steady.balancer.ask(GOOD).status == 200
