"""Random clients of HTTP/2: frames in any order, honest and broken, against a server of any mood.

Each seed is one connection's life: requests with and without bodies, resets, windows that open by
odd steps, padding, trailers, broken frames, bytes changed on their way, and an end at any moment. The
server answers in one of several ways, some of them wrong. A failure names its seed.

Laws: the balancer stays alive, the server can read strictly whatever it gets, each answer that ends
is whole, and afterwards no buffer and no stream is left over.
"""

from __future__ import annotations

import random
import threading

import pytest
from hyperframe.frame import ContinuationFrame, PriorityFrame, SettingsFrame

from support.front import Front, Stage
from support.http2 import Http2, request
from support.http2_stage import front_of, scripted
from support.recorder import Conversation
from support.service import settled
from support.wire import EndedError, Message

SEEDS = 60
MOODS = [b"/whole", b"/chunks", b"/large", b"/early", b"/cut", b"/close", b"/wrong", b"/gone"]


def moods(front: Front) -> None:
    large = bytes(range(256)) * 700

    def whole(conversation: Conversation, asked: Message) -> None:
        conversation.answer(conversation.read_body(asked)[:1000])

    def chunks(conversation: Conversation, asked: Message) -> None:
        conversation.read_body(asked)
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for size in (1, 17, 300, 5000):
            conversation.send(b"%x\r\n%s\r\n" % (size, b"c" * size))
        conversation.send(b"0\r\nX-Sum: 1\r\n\r\n")

    def early(conversation: Conversation, asked: Message) -> None:
        conversation.answer(b"early", b"413 Too Large")

    def cut(conversation: Conversation, asked: Message) -> None:
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        conversation.close()

    def close(conversation: Conversation, asked: Message) -> None:
        conversation.read_body(asked)
        conversation.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"z" * 3000)
        conversation.close()

    scripts = [
        whole,
        chunks,
        lambda conversation, asked: (conversation.read_body(asked), conversation.answer(large)),
        early,
        cut,
        close,
        lambda conversation, asked: conversation.send(b"HTTP/1.1 nonsense\r\n\r\n"),
        lambda conversation, asked: conversation.reset(),
    ]
    for path, script in zip(MOODS, scripts, strict=True):
        scripted(front, path, script)


class Life:
    """One random connection."""

    def __init__(self, front: Front, seed: int) -> None:
        self.dice = random.Random(seed)
        window = self.dice.choice([0, 1, 100, 65_535, 1 << 20])
        wire = front.wire()
        wire.socket.settimeout(0.02)  # a read that finds nothing ends the life
        self.http = Http2(wire, {4: window})
        self.open: list[int] = []

    def live(self) -> None:
        steps = [self.ask, self.ask, self.data, self.data, self.grant, self.grant, self.read]
        steps += [self.reset, self.ping, self.settings, self.trailers, self.odd]
        try:
            for _ in range(self.dice.randrange(5, 120)):
                self.dice.choice(steps)()
        except (EndedError, TimeoutError, ConnectionError):
            pass
        if self.dice.random() < 0.3:
            self.http.wire.reset()
        else:
            self.http.wire.close()

    def ask(self) -> None:
        path = self.dice.choice(MOODS).decode()
        end = self.dice.random() < 0.5
        method = "GET" if end else "POST"
        more = [("cookie", f"c{at}=1") for at in range(self.dice.randrange(4))]
        if not end and self.dice.random() < 0.3:
            more.append(("content-length", str(self.dice.randrange(9000))))
        if self.dice.random() < 0.1:
            more.append(("x-large", "y" * self.dice.randrange(60_000)))
        id = self.http.ask(request(method, path, *more), end=end)
        if not end:
            self.open.append(id)

    def data(self) -> None:
        if self.open:
            id = self.dice.choice(self.open)
            room = max(0, min(self.http.window(0), self.http.window(id), 16_000))
            end = self.dice.random() < 0.3
            size = self.dice.randrange(room + 1)
            pad = self.dice.choice([0, 0, 5]) if size + 6 < room else 0
            self.http.data(id, bytes(size), end, pad)
            if end:
                self.open.remove(id)

    def trailers(self) -> None:
        if self.open:
            id = self.open.pop()
            self.http.send(self.http.head([("x-sum", "1")], id=id))

    def grant(self) -> None:
        id = self.dice.choice([0, *range(1, self.http.next_id, 2)])
        self.http.grant(id, self.dice.choice([1, 7, 1000, 65_535, 1 << 20]))

    def reset(self) -> None:
        if self.http.next_id > 1:
            self.http.reset(self.dice.randrange(1, self.http.next_id, 2))

    def ping(self) -> None:
        self.http.ping()

    def settings(self) -> None:
        self.http.send(SettingsFrame(0, {4: self.dice.choice([0, 10, 65_535, 1 << 20])}))

    def read(self) -> None:
        for _ in range(self.dice.randrange(1, 30)):
            self.http.read()

    def odd(self) -> None:
        """Seldom, for most of it ends the connection."""
        if self.dice.random() < 0.7:
            return
        head = self.http.head(request("GET", "/whole")).serialize()
        at = self.dice.randrange(len(head))
        self.http.wire.send(
            self.dice.choice(
                [
                    head[:at] + bytes([self.dice.randrange(256)]) + head[at + 1 :],
                    head[:at],
                    self.dice.randbytes(self.dice.randrange(1, 300)),
                    PriorityFrame(3, depends_on=1).serialize(),
                    ContinuationFrame(1, b"x").serialize(),
                    head.replace(b"\x05", b"\x01", 1),
                ]
            )
        )


@pytest.mark.sanitize
def test_random_lives(stage: Stage):
    front = front_of(stage, streams_max=20, send_timeout="2s", body_timeout="2s")
    moods(front)
    lives = [threading.Thread(target=Life(front, seed).live) for seed in range(SEEDS)]
    for at in range(0, SEEDS, 10):
        for life in lives[at : at + 10]:
            life.start()
        for life in lives[at : at + 10]:
            life.join()
        front.balancer.verify_alive()
    assert front.balancer.ask(b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    front.server.settle()
    assert settled(lambda: front.balancer.order("busy") == 0)
    workers = front.balancer.counters()["workers"]
    assert workers["http2_streams"] > SEEDS // 4  # on a slow machine many lives end early
