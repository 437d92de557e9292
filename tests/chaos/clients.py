"""Clients that never stop asking, and remember of each request how it went.

Four kinds, each a task with a random source of its own: one that keeps its connection, one that
makes a new one each time, one of HTTP/2 with several requests at once, and one that reads large
answers slowly. Most requests are GETs; some are POSTs, whose answer proves that the body came whole.

Laws: a request is told by its id, which stands in its target and so in the access log. What a
client saw is written down and judged elsewhere (chaos.verdict).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import h2.config
import h2.connection
import h2.events

PATIENCE_S = 30.0  # no request may hang: longer than all the times in the file together
LARGE = 400_000  # bytes that no socket's buffers hold at once, so a slow reader is waited for
STREAMS = 4


@dataclass(slots=True)
class Request:
    """What was asked, and what came."""

    id: str
    method: str
    size: int  # of the answer asked for, or of the body sent
    port: int = 0  # the client's own
    began: float = 0.0
    ended: float = 0.0
    status: int = 0
    peer: str = ""
    body: bytes = field(default=b"", repr=False)
    error: str = ""

    @property
    def target(self) -> str:
        return f"/{self.id}?size={self.size}"

    @property
    def content(self) -> bytes:
        return self.id.encode() * self.size if self.method == "POST" else b""

    @property
    def whole(self) -> bool:
        """The answer is the one that was asked for."""
        if self.status != 200 or self.error:
            return False
        if self.method == "POST":
            return self.body == b"%d %d" % (len(self.content), zlib.crc32(self.content))
        return len(self.body) == self.size


class Book:
    """All requests of a run. `going` is false from the moment when clients shall come to an end."""

    def __init__(self, address: tuple[str, int], seed: int) -> None:
        self.address = address
        self.seed = seed
        self.going = True
        self.done: list[Request] = []
        self.numbers = itertools.count()

    def draw(self, random: Random, name: str, large: bool = False) -> Request:
        number = next(self.numbers)
        if large:
            return Request(f"{name}-{number}", "GET", LARGE)
        if random.random() < 0.2:
            return Request(f"{name}-{number}", "POST", random.choice([1, 20, 400]))
        return Request(f"{name}-{number}", "GET", random.choice([0, 2, 500, 9000]))


def begin(request: Request, port: int) -> None:
    request.port = port
    request.began = time.monotonic()


class Wire:
    """A connection of HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.port = writer.get_extra_info("sockname")[1]
        self.usable = True

    @classmethod
    async def open(cls, address: tuple[str, int], limit: int = 1 << 20) -> Wire:
        return cls(*await asyncio.open_connection(*address, limit=limit))

    async def ask(self, request: Request, *, keep: bool, pause_s: float = 0.0) -> None:
        begin(request, self.port)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self.exchange(request, keep, pause_s)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            request.error = type(error).__name__
            self.usable = False
        request.ended = time.monotonic()

    async def exchange(self, request: Request, keep: bool, pause_s: float) -> None:
        content = request.content
        lines = [f"{request.method} {request.target} HTTP/1.1", "Host: chaos"]
        if content:
            lines.append(f"Content-Length: {len(content)}")
        if not keep:
            lines.append("Connection: close")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *headers = head[:-4].split("\r\n")
        request.status = int(status.split(" ")[1])
        said = {name.lower(): value for name, _, value in (one.partition(": ") for one in headers)}
        request.peer = said.get("x-peer", "")
        self.usable = keep and said.get("connection", "") != "close"
        await self.read_body(request, int(said["content-length"]), pause_s)

    async def read_body(self, request: Request, size: int, pause_s: float) -> None:
        parts, left = [], size
        try:
            while left:
                part = await self.reader.read(min(left, 16_384 if pause_s else left))
                if not part:
                    raise EOFError
                parts.append(part)
                left -= len(part)
                if pause_s:
                    await asyncio.sleep(pause_s)  # A slow reader.
        finally:
            request.body = b"".join(parts)

    async def close(self) -> None:
        self.usable = False
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def keeper(book: Book, random: Random, name: str) -> None:
    """Asks one after the other on a connection that it keeps."""
    wire: Wire | None = None
    while book.going:
        if wire is None or not wire.usable or wire.reader.at_eof():
            wire = await again(book, wire)
        request = book.draw(random, name)
        await wire.ask(request, keep=True)
        book.done.append(request)
        await asyncio.sleep(random.random() * 0.01)  # What a client does meanwhile.
    if wire:
        await wire.close()


async def newcomer(book: Book, random: Random, name: str) -> None:
    """A connection for each request."""
    while book.going:
        wire = await again(book, None)
        request = book.draw(random, name)
        await wire.ask(request, keep=False)
        book.done.append(request)
        await wire.close()
        await asyncio.sleep(random.random() * 0.02)  # What a client does meanwhile.


async def slow_reader(book: Book, random: Random, name: str) -> None:
    """Takes large answers in small sips."""
    while book.going:
        wire = await again(book, None, limit=16_384)
        request = book.draw(random, name, large=True)
        await wire.ask(request, keep=False, pause_s=0.02)
        book.done.append(request)
        await wire.close()


async def again(book: Book, old: Wire | None, **more: Any) -> Wire:
    if old is not None:
        await old.close()
    return await Wire.open(book.address, **more)


class Http2:
    """One connection of HTTP/2, with a few requests at once."""

    def __init__(self, book: Book, random: Random, name: str) -> None:
        self.book, self.random, self.name = book, random, name
        self.engine = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self.open: dict[int, Request] = {}

    async def run(self) -> None:
        """Until the clients shall end, or the connection does."""
        self.reader, self.writer = await asyncio.open_connection(*self.book.address)
        self.port = self.writer.get_extra_info("sockname")[1]
        self.engine.initiate_connection()
        try:
            while self.book.going or self.open:
                while self.book.going and len(self.open) < STREAMS:
                    self.ask(self.book.draw(self.random, self.name))
                self.writer.write(self.engine.data_to_send())
                async with asyncio.timeout(PATIENCE_S):
                    data = await self.reader.read(65_536)
                if not data:
                    raise EOFError
                for event in self.engine.receive_data(data):
                    self.take(event)
                await asyncio.sleep(self.random.random() * 0.02)  # What a client does meanwhile.
            self.writer.write(self.engine.data_to_send())
        except (OSError, EOFError, TimeoutError) as error:
            for request in self.open.values():
                self.end(request, type(error).__name__)
        finally:
            self.writer.close()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()

    def ask(self, request: Request) -> None:
        stream = self.engine.get_next_available_stream_id()
        content = request.content
        fields = [
            (":method", request.method),
            (":scheme", "http"),
            (":authority", "chaos"),
            (":path", request.target),
        ]
        if content:
            fields.append(("content-length", str(len(content))))
        begin(request, self.port)
        self.open[stream] = request
        self.engine.send_headers(stream, fields, end_stream=not content)
        if content:
            self.engine.send_data(stream, content, end_stream=True)

    def take(self, event: Any) -> None:
        request = self.open.get(getattr(event, "stream_id", 0))
        if isinstance(event, h2.events.DataReceived):
            self.engine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if request is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            said = dict(event.headers)
            request.status, request.peer = int(said[":status"]), said.get("x-peer", "")
        elif isinstance(event, h2.events.DataReceived):
            request.body += event.data
        elif isinstance(event, h2.events.StreamEnded):
            self.end(self.open.pop(event.stream_id), "")
        elif isinstance(event, h2.events.StreamReset):
            self.end(self.open.pop(event.stream_id), f"RST_STREAM {event.error_code}")

    def end(self, request: Request, error: str) -> None:
        request.error, request.ended = error, time.monotonic()
        self.book.done.append(request)


async def multiplexer(book: Book, random: Random, name: str) -> None:
    while book.going:
        await Http2(book, random, name).run()


KINDS = {"keeper": keeper, "newcomer": newcomer, "slow": slow_reader, "h2": multiplexer}
CROWD = {"keeper": 3, "newcomer": 2, "slow": 2, "h2": 2}


def crowd(book: Book, round_number: int) -> Iterator[asyncio.Task[None]]:
    """All clients of a round, at work."""
    for kind, count in CROWD.items():
        for at in range(count):
            name = f"{kind}{at}-{round_number}"
            random = Random(f"{book.seed} {name}")
            yield asyncio.create_task(KINDS[kind](book, random, name), name=name)
