"""Delays that nobody ordered: a balancer between two parties must not make them wait for its kernel.

A server that writes its head and its body one after the other, with Nagle's algorithm on, keeps the
body until the head is acknowledged (RFC 896); a receiver with nothing to send acknowledges after
40 ms (RFC 1122 4.2.3.2). Many servers in scripting languages do so, on each kept connection.

A busy machine takes as long now and then, the kernel each time: so what is wanted is one round of
exchanges without the delay.
"""

from __future__ import annotations

import socket
import statistics
import time

from support.front import GOOD, Front
from support.recorder import Conversation
from support.wire import Message

EXCHANGES = 40  # before the first look: a young connection acknowledges at once
ROUND = 10
WAIT_S = 20.0  # for a round in which the machine is not busy itself
DELAYED_S = 0.040  # the shortest delay of Linux: TCP_DELACK_MIN


def test_a_body_behind_its_head_comes_at_once(front: Front):
    def in_two_writes(conversation: Conversation, request: Message) -> None:
        conversation.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        conversation.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        conversation.socket.sendall(b"body")

    front.server.on(b"/good", in_two_writes)
    took: list[float] = []
    until = time.monotonic() + WAIT_S
    with front.wire() as wire:
        while len(took) < EXCHANGES or statistics.median(took[-ROUND:]) >= DELAYED_S / 2:
            assert time.monotonic() < until, f"each time: {sorted(took[-ROUND:])}"
            begun = time.monotonic()
            wire.send(GOOD)
            assert wire.read().body == b"body"
            took.append(time.monotonic() - begun)
