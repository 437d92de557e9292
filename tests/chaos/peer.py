"""A server that can be harmed: a process of its own, which counts what it has at once.

usage: python -m chaos.peer NAME PORT   (port 0: any; prints the port; ends with its standard input)

It answers HTTP/1.1: a GET with as many bytes as its target asks for (`?size=`), a POST with the
length and the CRC of the body that came, `/healthz` with 200. Its standard input says how it fares:

    well            at once
    slow SECONDS    every answer that much later, checks included
    errors          500 to all but checks
    hold            no answer until it is to fare otherwise; then all of them
    tell            prints its counts as one line of JSON, and begins the peaks anew

To kill it, or to hang it (SIGSTOP: its kernel goes on taking connections), is the business of who
started it. Every answer says who gave it: `X-Peer`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import socket
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
SIZE = re.compile(rb"[?&]size=(\d+)")
LOOK_S, LATE_S = 0.1, 0.4  # how often it looks whether it has its turn; from when it has not
TOOK = re.compile(rb"[?&]took_ms=(\d+)")


class Counts:
    def __init__(self) -> None:
        self.asked = self.now = self.open = 0
        self.most = self.most_open = 0
        # From when to when (monotonic) this process did not come to its turn.
        self.late: list[tuple[float, float]] = []

    def tell(self) -> dict[str, Any]:
        told = dict(vars(self))
        self.most, self.most_open, self.late = self.now, self.open, []
        return told


class Peer:
    """How the whole server fares."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.delay_s = 0.0
        self.errors = False
        self.held: list[Callable[[], None]] | None = None
        self.counts = Counts()
        self.watched = select.poll()

    def obey(self, words: list[str]) -> None:
        if words == ["tell"]:
            print(json.dumps(self.counts.tell()), flush=True)
            return
        self.delay_s = float(words[1]) if words[0] == "slow" else 0.0
        self.errors = words[0] == "errors"
        held, self.held = self.held or [], [] if words[0] == "hold" else None
        for answer in held:
            answer()


class Conversation(asyncio.Protocol):
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.came = bytearray()
        self.answering = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        counts = self.peer.counts
        counts.open += 1
        self.peer.watched.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        # One that the other side has closed before counts no longer, though its end is not yet read.
        counts.most_open = max(counts.most_open, counts.open - len(self.peer.watched.poll(0)))

    def connection_lost(self, error: Exception | None) -> None:
        self.peer.watched.unregister(self.transport.get_extra_info("socket").fileno())
        self.peer.counts.open -= 1
        if self.answering:
            self.peer.counts.now -= 1
            self.answering = False

    def data_received(self, data: bytes) -> None:
        self.came += data
        self.next()

    def next(self) -> None:
        """One request at a time, as soon as all of it is here."""
        end = self.came.find(b"\r\n\r\n")
        if self.answering or end < 0:
            return
        head = bytes(self.came[: end + 2])
        length = LENGTH.search(head)
        size = end + 4 + (int(length[1]) if length else 0)
        if len(self.came) < size:
            return
        body = bytes(self.came[end + 4 : size])
        del self.came[:size]
        check = b" /healthz" in head.split(b"\r\n", 1)[0]
        counts = self.peer.counts
        self.answering = True
        counts.now += 1
        counts.asked += not check
        counts.most = max(counts.most, counts.now)
        took = TOOK.search(head)
        delay_s = self.peer.delay_s + (int(took[1]) / 1000 if took else 0)
        if self.peer.held is not None:
            self.peer.held.append(lambda: self.answer(head, body, check))
        elif delay_s:
            asyncio.get_running_loop().call_later(delay_s, self.answer, head, body, check)
        else:
            self.answer(head, body, check)

    def answer(self, head: bytes, body: bytes, check: bool) -> None:
        if not self.answering:
            return  # the other side has left
        self.answering = False
        self.peer.counts.now -= 1
        status = b"200 OK"
        if self.peer.errors and not check:
            status, content = b"500 Internal Server Error", b"made to fail"
        elif head.startswith(b"POST"):
            content = b"%d %d" % (len(body), zlib.crc32(body))
        else:
            size = SIZE.search(head)
            content = b"x" * (int(size[1]) if size else 2)
        self.transport.write(
            b"HTTP/1.1 %s\r\nX-Peer: %s\r\nContent-Length: %d\r\n\r\n"
            % (status, self.peer.name, len(content))
            + content
        )
        self.next()


async def serve(name: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    peer = Peer(name)
    ended = loop.create_future()
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    await loop.create_server(lambda: Conversation(peer), sock=listening)
    print(listening.getsockname()[1], flush=True)

    words = b""

    def heard() -> None:
        """Several lines may have come at once; one that a file object kept would not be heard of."""
        nonlocal words
        data = os.read(sys.stdin.fileno(), 4096)
        *lines, words = (words + data).split(b"\n")
        for line in lines:
            peer.obey(line.decode().split())
        if not data and not ended.done():
            ended.set_result(None)

    loop.add_reader(sys.stdin, heard)
    while not ended.done():
        before = time.monotonic()
        await asyncio.wait([ended], timeout=LOOK_S)
        if time.monotonic() - before > LOOK_S + LATE_S:
            peer.counts.late.append((before, time.monotonic()))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
