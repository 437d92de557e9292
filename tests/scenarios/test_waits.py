"""Every wait has an end: what the client sees when a timeout strikes, and that nothing else does.

The timeouts are short ones of the file (a few tenths of a second). That it came too early shows in
the time that has passed since before it began; too late is whatever exceeds LATE_S, for the machine
may be busy. Where a test must itself do something within the short time, and the machine stood still
meanwhile, `again` asks again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from support.again import again
from support.balancer import site
from support.front import GOOD, Front, Stage
from support.recorder import Conversation
from support.wire import EndedError, Message, Wire

LATE_S = 15.0
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


@contextlib.contextmanager
def takes(at_least_s: float) -> Iterator[None]:
    """The block takes about this long."""
    before = time.monotonic()
    yield
    took = time.monotonic() - before
    assert at_least_s * 0.9 <= took < at_least_s + LATE_S, f"{took:.3f} s"


@contextlib.contextmanager
def dripping(wire: Wire, piece: bytes, step_s: float = 0.02) -> Iterator[None]:
    """The client sends a piece now and then, as long as the block lasts."""
    enough = threading.Event()

    def drip() -> None:
        while not enough.wait(step_s):
            wire.send(piece)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@pytest.mark.parametrize(
    "sent", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"], ids=repr
)
@again(0.3)
def test_a_slow_head(stage: Stage, sent: bytes):
    front = stage.front(head_timeout="300ms")
    with takes(0.3), front.wire() as wire:
        wire.send(sent)
        assert wire.read().status == 408
        assert wire.ended()


@again(0.3)
def test_a_head_that_drips(stage: Stage):
    """The time is for the whole head: a byte now and then does not prolong it."""
    front = stage.front(head_timeout="300ms")
    with takes(0.3), front.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\nX-A: ")
        with dripping(wire, b"a"):
            assert wire.read().status == 408


@again(0.3)
def test_a_second_head_that_is_slow(stage: Stage):
    front = stage.front(head_timeout="300ms", idle_timeout="60s")
    with front.wire() as wire:
        assert wire.send(GOOD).read().status == 200
        with takes(0.3):
            wire.send(b"GET / HT")
            assert wire.read().status == 408


def test_a_connection_that_says_nothing_is_closed(stage: Stage):
    front = stage.front(head_timeout="300ms", idle_timeout="300ms")
    with takes(0.3), front.wire() as wire:
        assert wire.read_to_end()[:12] in (b"", b"HTTP/1.1 408")


@again(0.3)
def test_an_idle_connection_is_closed_without_a_word(stage: Stage):
    front = stage.front(idle_timeout="300ms")
    with takes(0.3), front.wire() as wire:
        assert wire.send(GOOD).read().status == 200
        assert wire.ended()


@pytest.mark.parametrize("size", [4095, 4096, 4097])
@again(0.3)
def test_an_idle_connection_is_not_taken_for_a_slow_head(stage: Stage, size: int):
    """Whether the last request filled a buffer exactly, nobody waits for a head that has not begun."""
    front = stage.front(head_timeout="300ms", idle_timeout="60s")
    with front.wire() as wire:
        wire.send(GOOD[:-2] + b"X: " + b"a" * (size - len(GOOD) - 5) + b"\r\n\r\n")
        assert wire.read().status == 200
        assert wire.quiet(0.6)


@again(1.0)
def test_an_idle_time_begins_anew_with_each_answer_of_our_own(stage: Stage):
    """The route answers by itself: no server is involved, and the connection is used all the same."""
    config = site("127.0.0.1:1", idle_timeout="1s")
    config["listeners"]["web"]["routes"] = [{"filters": [{"respond": 204}]}]
    del config["backends"]
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        for _ in range(2):
            assert wire.send(GOOD).read().status == 204
            assert wire.quiet(0.6)
        assert wire.send(GOOD).read().status == 204
        assert wire.ended()


@again(1.0)
def test_a_head_time_begins_anew_behind_an_answer_of_our_own(stage: Stage):
    config = site("127.0.0.1:1", head_timeout="1s")
    config["listeners"]["web"]["routes"] = [{"filters": [{"respond": 204}]}]
    del config["backends"]
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        wire.send(GOOD[:5])
        for _ in range(2):
            assert wire.quiet(0.6)
            wire.send(GOOD[5:] + GOOD[:5])  # the head is whole, and the next one begun
            assert wire.read().status == 204


def test_a_slow_body_by_its_rate(stage: Stage):
    """Bytes come, but too few."""
    front = stage.front(body_rate_min="1MiB")
    with front.wire(timeout_s=12) as wire:
        wire.send(POST)
        with dripping(wire, b"a"):
            assert wire.read().status == 408
    front.server.wait(front.server.gone)
    assert front.server.requests == []


def test_a_slow_body_by_its_time(stage: Stage):
    front = stage.front(body_timeout="400ms")
    with takes(0.4), front.wire() as wire:
        wire.send(POST)
        with dripping(wire, b"a" * 100):
            assert wire.read().status == 408
    front.server.wait(front.server.gone)
    assert front.server.requests == []


def test_a_body_that_keeps_its_rate_is_let_be(stage: Stage):
    front = stage.front(body_rate_min="1KiB")
    with front.wire() as wire:
        wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")
        wire.send_each([b"a" * 200] * 50, 0.02)
        assert wire.read().status == 200


@pytest.mark.parametrize("waits_for", ["the client's head", "the server's answer"])
@again(0.5)
def test_who_has_kept_his_time_does_not_pay_for_ours(stage: Stage, waits_for: str):
    """We stand still for longer than the timeouts: what came meanwhile is looked at before them."""
    front = stage.front({"response_timeout": "500ms"}, head_timeout="500ms", idle_timeout="500ms")
    go = threading.Event()

    def late(conversation: Conversation, request: Message) -> None:
        conversation.hold(go)
        conversation.answer(b"late")

    front.server.on(b"/x", late)
    with front.wire() as wire:
        assert wire.send(GOOD).read().status == 200
        if waits_for == "the server's answer":
            wire.send(GET)
            front.server.wait(lambda: len(front.server.heads) == 2)
        front.balancer.counters()  # it has had its turn, and rests
        os.kill(front.balancer.pid, signal.SIGSTOP)
        go.set()
        if waits_for == "the client's head":
            wire.send(GET)
        time.sleep(0.7)  # Time is what this is about.
        os.kill(front.balancer.pid, signal.SIGCONT)
        assert wire.read().body == b"late"


@contextlib.contextmanager
def deaf_server() -> Iterator[str]:
    """An address where connecting neither succeeds nor fails: its queue is full."""
    with contextlib.ExitStack() as closing:
        listening = closing.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = closing.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_cannot_be_connected_in_time(stage: Stage):
    with deaf_server() as address:
        config = site(address)
        config["backends"]["all"] |= {"connect_timeout": "300ms", "retries": 0}
        balancer = stage.balancer(config)
        with takes(0.3):
            assert balancer.ask(GET).status in (503, 504)


@again(0.2)
def test_a_deaf_server_is_passed_over(stage: Stage):
    """The other one gets the request, even a POST: nothing of it had been sent."""
    with deaf_server() as address:
        server = stage.server()
        config = site(address, server.address)
        config["backends"]["all"] |= {"connect_timeout": "200ms", "retries": 1}
        balancer = stage.balancer(config)
        for _ in range(4):
            assert (
                balancer.ask(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").status
                == 200
            )


def silent(conversation: Conversation, request: Message) -> None:
    conversation.read_body(request)
    conversation.read_to_end()
    conversation.close()


@again(0.3)
def test_a_server_that_does_not_answer(stage: Stage):
    front = stage.front({"response_timeout": "300ms"})
    front.server.on(b"/x", silent)
    with front.wire() as wire, takes(0.3):
        assert wire.send(GET).read().status == 504
    front.server.wait(front.server.gone)
    assert len(front.server.heads) == 1, "a request that timed out was sent again"


def test_a_server_that_stops_amid_its_head(stage: Stage):
    front = stage.front({"response_timeout": "300ms", "read_timeout": "300ms"})

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-")
        conversation.read_to_end()
        conversation.close()

    front.server.on(b"/x", script)
    with front.wire() as wire, takes(0.3):
        assert wire.send(GET).read().status == 504


def test_a_server_that_stops_amid_its_body(stage: Stage):
    front = stage.front({"read_timeout": "300ms"})

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        conversation.read_to_end()
        conversation.close()

    front.server.on(b"/x", script)
    with front.wire() as wire, takes(0.3), pytest.raises(EndedError):
        wire.send(GET).read()
    front.server.wait(front.server.gone)


@again(0.3)
def test_a_long_upload_is_no_slow_answer(stage: Stage):
    """The response timeout runs from the request's last byte."""
    front = stage.front({"response_timeout": "300ms"})
    with front.wire() as wire:
        wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 600\r\n\r\n")
        wire.send_each([b"a" * 10] * 60, 0.01)
        assert wire.read().status == 200


def test_a_client_that_takes_nothing(stage: Stage):
    front = stage.front(send_timeout="300ms")

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", b"a" * 100_000_000
        )
        conversation.close()

    front.server.on(b"/x", script)
    with front.wire(receive_buffer=4096) as wire:
        wire.send(GET)
        front.server.wait(lambda: front.server.heads)
        front.server.wait(front.server.gone)
        with pytest.raises(EndedError):
            wire.read()


def test_an_idle_upstream_connection_is_closed(stage: Stage):
    front = stage.front({"idle_timeout": "300ms"})
    with takes(0.3):
        assert front.balancer.ask(GOOD).status == 200
        front.server.wait(lambda: not front.server.open())
    assert front.balancer.ask(GOOD).status == 200


def test_a_tunnel_that_is_idle(stage: Stage):
    front: Front = stage.front(tunnel_timeout="300ms")

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        )
        conversation.read_to_end()
        conversation.close()

    front.server.on(b"/x", script)
    with takes(0.3), front.wire() as wire:
        wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        assert wire.read_head().status == 101
        assert wire.ended()
    front.server.wait(front.server.gone)
