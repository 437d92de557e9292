"""Upgrade: a tunnel after 101, an ordinary answer otherwise, and a WebSocket that lives.

Bytes behind the head of an Upgrade are the danger: to a server that refuses the Upgrade they are
the next request, to one that accepts they are the tunnel's. So they are held until it has decided,
and are never served as the next request (request smuggling by Upgrade).
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve

from support.balancer import Balancer, site
from support.front import GOOD, Front, Stage
from support.recorder import Conversation, Script
from support.service import settled
from support.wire import Message

UPGRADE = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: thing\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def echo(go: threading.Event | None = None, first: bytes = b"") -> Script:
    """Switches (when told to), says `first`, and echoes until the other side has ended."""

    def script(conversation: Conversation, request: Message) -> None:
        assert request.get("upgrade") == b"thing"
        assert b"upgrade" in request.get("connection").lower()
        if go is not None:
            conversation.hold(go)
        conversation.send(SWITCHING + first)
        while conversation.buffer or conversation.fill():
            conversation.send(conversation.take(len(conversation.buffer)))
        conversation.close()

    return script


def test_bytes_pass_both_ways(front: Front):
    front.server.on(b"/x", echo(first=b"welcome"))
    with front.wire() as wire:
        assert wire.send(UPGRADE).read_head().status == 101
        assert wire.take(7) == b"welcome"
        for size in (1, 100, 100_000):
            wire.send(b"a" * size)
            assert wire.take(size) == b"a" * size


def test_requests_in_a_tunnel_are_only_bytes(front: Front):
    front.server.on(b"/x", echo())
    with front.wire() as wire:
        assert wire.send(UPGRADE).read_head().status == 101
        wire.send(SMUGGLED)
        assert wire.take(len(SMUGGLED)) == SMUGGLED


def test_a_tunnel_closes_by_halves(front: Front):
    """The client has said all; what the server still says arrives."""

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(SWITCHING)
        body = conversation.read_to_end()
        conversation.send(body[::-1])
        conversation.close()

    front.server.on(b"/x", script)
    with front.wire() as wire:
        assert wire.send(UPGRADE).read_head().status == 101
        wire.send(b"abc").finish()
        assert wire.read_to_end() == b"cba"


def test_a_server_that_resets_the_tunnel(front: Front):
    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(SWITCHING)
        conversation.take(1)
        conversation.reset()

    front.server.on(b"/x", script)
    with front.wire() as wire:
        assert wire.send(UPGRADE).read_head().status == 101
        wire.send(b"a")
        assert wire.ended()


def test_a_client_that_resets_the_tunnel(front: Front):
    front.server.on(b"/x", echo())
    with front.wire() as wire:
        assert wire.send(UPGRADE).read_head().status == 101
        wire.reset()
    front.server.wait(front.server.gone)


def test_early_bytes_are_held_until_101(front: Front):
    """They reach the server behind its 101, as the tunnel's first bytes."""
    go = threading.Event()
    front.server.on(b"/x", echo(go))
    with front.wire() as wire:
        wire.send(UPGRADE + SMUGGLED)
        front.server.wait(lambda: front.server.heads)
        front.server.settle()
        assert b"smuggled" not in front.server.received
        go.set()
        assert wire.read_head().status == 101
        assert wire.take(len(SMUGGLED)) == SMUGGLED


def test_early_bytes_of_a_refused_upgrade_are_never_a_request(front: Front):
    """Without 101 nobody knows what they were meant to be: the connection ends."""
    with front.wire() as wire:
        wire.send(UPGRADE + SMUGGLED)
        assert wire.read().body == b"server"
        assert wire.ended()
    front.fence()
    assert [each.target for each in front.server.requests] == [b"/x", b"/good"]


def test_a_refused_upgrade_is_an_ordinary_answer(front: Front):
    """What the client says after it has read that is the next request."""
    with front.wire() as wire:
        answer = wire.send(UPGRADE).read()
        assert answer.body == b"server"
        if answer.get("connection") != b"close":
            assert wire.send(GOOD).read().body == b"server"
    assert front.balancer.ask(GOOD).body == b"server"


def test_an_upgrade_with_a_body(front: Front):
    """The body belongs to the request, before the tunnel."""

    def script(conversation: Conversation, request: Message) -> None:
        body = conversation.read_body(request)
        conversation.send(SWITCHING + body)
        conversation.read_to_end()
        conversation.close()

    front.server.on(b"/x", script)
    with front.wire() as wire:
        head = UPGRADE.replace(b"GET", b"POST").replace(
            b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n"
        )
        wire.send(head + b"hello")
        first = wire.read_head()
        if first.status == 101:
            assert wire.take(5) == b"hello"
        else:
            assert first.status in (400, 501, 502)


def test_an_old_client_cannot_upgrade(front: Front):
    """RFC 9110 7.8: an Upgrade in HTTP/1.0 is ignored."""
    assert front.balancer.ask(UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0")).status == 200
    front.server.settle()
    assert front.server.requests[0].all("upgrade") == []


# ---- a real WebSocket, by a library ----


def talk(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@pytest.fixture
def websocket(stage: Stage) -> Iterator[Balancer]:
    server: Server = serve(talk, "127.0.0.1", 0, max_size=None)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield stage.balancer(site(f"127.0.0.1:{server.socket.getsockname()[1]}"))
    finally:
        server.shutdown()
        serving.join()


def dial(balancer: Balancer) -> ClientConnection:
    host, port = balancer.address
    return connect(f"ws://{host}:{port}/chat", max_size=None, proxy=None, open_timeout=20)


def test_a_websocket_lives(websocket: Balancer):
    with dial(websocket) as connection:
        for message in ("hello", "é", b"\x00\xff", "", "a" * 70_000, bytes(range(256)) * 20_000):
            connection.send(message)
            assert connection.recv(timeout=20) == message
        assert connection.ping().wait(20)


def test_pieces_and_close_codes_go_through(stage: Stage):
    """A message in pieces stays one in pieces, both ways; so does the reason of an end."""
    ended: queue.Queue[tuple[int | None, str]] = queue.Queue()

    def pieces(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                got = [part for part in connection.recv_streaming() if part]  # the last is empty
                if got == ["bye"]:
                    connection.close(4001, "at the server")
                connection.send(iter(got))
        assert connection.close_reason is not None
        ended.put((connection.close_code, connection.close_reason))

    server = serve(pieces, "127.0.0.1", 0)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        balancer = stage.balancer(site(f"127.0.0.1:{server.socket.getsockname()[1]}"))
        with dial(balancer) as connection:
            connection.send(iter(["one", "two", "three"]))
            assert [part for part in connection.recv_streaming() if part] == ["one", "two", "three"]
            connection.send("bye")
            with pytest.raises(ConnectionClosed) as closed:
                connection.recv(timeout=10)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "at the server")
        assert ended.get(timeout=10) == (4001, "at the server")
        with dial(balancer) as connection:
            connection.close(4002, "at the client")
        assert ended.get(timeout=10) == (4002, "at the client")
    finally:
        server.shutdown()
        serving.join()


def test_many_websockets_at_once(websocket: Balancer):
    with contextlib.ExitStack() as closing:
        connections = [closing.enter_context(dial(websocket)) for _ in range(50)]
        for number, connection in enumerate(connections):
            connection.send(f"message {number}")
        for number, connection in enumerate(connections):
            assert connection.recv(timeout=20) == f"message {number}"
    with pytest.raises(ConnectionClosed):
        connections[0].recv(timeout=1)


def test_a_websocket_lives_through_reloads(websocket: Balancer):
    with dial(websocket) as connection:
        for number in range(20):
            websocket.reload(websocket.config)
            connection.send(str(number))
            assert connection.recv(timeout=20) == str(number)


def test_what_a_client_says_after_the_servers_end_arrives(front: Front):
    """The server's half is closed first; when the client has said all, none of it is lost."""
    body = b"a" * 50_000
    got: list[bytes] = []

    def script(conversation: Conversation, request: Message) -> None:
        conversation.send(SWITCHING)
        conversation.finish()
        got.append(conversation.read_to_end())
        conversation.close()

    front.server.on(b"/x", script)
    with front.wire() as wire:
        assert wire.send(UPGRADE).read_head().status == 101
        assert wire.ended()
        os.kill(front.balancer.pid, signal.SIGSTOP)  # so that it finds bytes and end at once
        wire.send(body).finish()
        os.kill(front.balancer.pid, signal.SIGCONT)
        front.server.wait(front.server.gone)
    assert [len(each) for each in got] == [len(body)]


def test_a_tunnel_at_rest_holds_no_buffer(stage: Stage):
    front = stage.front()
    front.server.on(b"/x", echo(first=b"welcome"))
    with front.wire() as wire:
        assert wire.send(UPGRADE).read_head().status == 101
        assert wire.take(7) == b"welcome"
        wire.send(b"a" * 100_000)
        assert wire.take(100_000) == b"a" * 100_000
        front.server.settle()

        def held() -> int:
            workers = front.balancer.counters()["workers"]
            return workers["buffers_large"] + workers["buffers_small"]

        assert settled(lambda: held() == 0)
