"""Fixtures of the relay's tests: what was started is stopped, and nothing is left of it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from support.opened import left, opened
from support.relay import Nobody, Relay, Server, Udp, echo


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No descriptor stays behind."""
    before = opened()
    yield
    assert not left(before), "descriptors are left"


@pytest.fixture
def serve(nothing_left) -> Iterator[Callable[..., Server]]:
    """Starts TCP servers and stops them."""
    made: list[Server] = []

    def make(what=echo, host="127.0.0.1") -> Server:
        made.append(Server(what, host))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def serve_udp(nothing_left) -> Iterator[Callable[..., Udp]]:
    """Starts UDP servers and stops them."""
    made: list[Udp] = []

    def make(*args, **more) -> Udp:
        made.append(Udp(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def nobody(nothing_left) -> Iterator[Callable[..., Nobody]]:
    """Addresses where nobody listens, for as long as the test runs."""
    made: list[Nobody] = []

    def make(kind: socket.SocketKind = socket.SOCK_STREAM) -> Nobody:
        made.append(Nobody(kind))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def relay(serve, serve_udp) -> Iterator[Callable[..., Relay]]:
    """Starts relays; at the end no session is open and nothing in flight."""
    made: list[Relay] = []

    def make(servers, udp=False, host="127.0.0.1", workers=1, before=None, **more) -> Relay:
        made.append(Relay(udp, host, workers))
        if before is not None:
            before(made[-1])
        made[-1].publish(servers, **more)
        return made[-1]

    yield make
    for one in made:
        one.close()
    made.clear()
