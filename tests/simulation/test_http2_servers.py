"""Random servers of HTTP/2: answers of any mood, honest and broken, to random clients.

The clients are those of test_http2 (a seed is one connection's life) and some of HTTP/1.1; the
server's dice decide, call by call, what it says: whole and cut answers, resets, refusals, GOAWAY,
limits that change, windows that open late, frames against the rules, bytes that are none.

Laws: the balancer stays alive, the server can read strictly whatever it gets, and afterwards no
stream counts as in flight, no buffer is held, and a good request is served.
"""

from __future__ import annotations

import contextlib
import random
import threading

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    GoAwayFrame,
    PingFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from simulation.test_http2 import MOODS, Life
from support.front import Stage
from support.http2_back import Back, back_of, in_flight
from support.http2_server import Call, shut
from support.service import settled
from support.wire import AnswerError, EndedError

SEEDS = 40


class Mood:
    """One server's: a die, and what each face of it does."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.lock = threading.Lock()
        honest = [self.whole, self.whole, self.chunks, self.large, self.bare, self.interim]
        self.faces = [
            *honest,
            *honest,
            self.refused,
            self.reset,
            self.cut,
            self.settings,
            self.ping,
        ]
        self.rare = [self.goaway, self.gone, self.wrong, self.silent]

    def __call__(self, call: Call) -> None:
        with self.lock:
            rare = self.dice.random() < 0.06
            face = self.dice.choice(self.rare if rare else self.faces)
        with contextlib.suppress(OSError, EndedError):
            face(call)

    def size(self, most: int) -> int:
        with self.lock:
            return self.dice.randrange(most)

    def whole(self, call: Call) -> None:
        call.answer(bytes(self.size(3000)), ("x-mood", "whole"))

    def chunks(self, call: Call) -> None:
        call.head(("x-mood", "chunks"))
        for _ in range(self.size(8)):
            call.data(bytes(self.size(2000)))
        call.tail(("x-sum", "1"))

    def large(self, call: Call) -> None:
        call.head()
        room = call.talk.room(call.id)
        call.data(bytes(self.size(min(16_000, max(1, room)))), end=True)

    def bare(self, call: Call) -> None:
        call.head(status=["204", "304", "200"][self.size(3)], end=True)

    def interim(self, call: Call) -> None:
        call.head(("link", "</a>"), status="103").answer(b"after")

    def refused(self, call: Call) -> None:
        call.cancel(7)

    def reset(self, call: Call) -> None:
        call.head().data(b"part").cancel(self.size(14))

    def cut(self, call: Call) -> None:
        call.head(("content-length", "9")).data(b"part", end=True)

    def settings(self, call: Call) -> None:
        values = {3: 1 + self.size(30), 4: [0, 10, 65_535, 1 << 20][self.size(4)]}
        call.talk.put(SettingsFrame(0, values))
        call.answer(b"settled")

    def ping(self, call: Call) -> None:
        call.talk.put(
            PingFrame(0, b"12345678"), WindowUpdateFrame(0, window_increment=1 + self.size(99))
        )
        call.answer(b"ping")

    def goaway(self, call: Call) -> None:
        call.talk.put(GoAwayFrame(0, last_stream_id=max(0, call.id - 2 * self.size(3))))
        call.answer(b"last")

    def gone(self, call: Call) -> None:
        shut(call.talk)

    def wrong(self, call: Call) -> None:
        with self.lock:
            junk = self.dice.randbytes(self.dice.randrange(1, 200))
        call.talk.send([junk, ContinuationFrame(call.id, b"x").serialize()][self.size(2)])

    def silent(self, call: Call) -> None:
        """The balancer's time ends it."""


def plain_life(back: Back, seed: int) -> None:
    """A client of HTTP/1.1, which may leave at any moment."""
    dice = random.Random(seed)
    for _ in range(6):
        path = dice.choice(MOODS)
        body = bytes(dice.randrange(5000))
        head = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (path, len(body))
        try:
            with back.wire(timeout_s=1.0) as wire:
                wire.send(head + body[: dice.choice([len(body), len(body) // 2])])
                if dice.random() < 0.8:
                    wire.read()
        except (AnswerError, TimeoutError, ConnectionError):
            continue


@pytest.mark.sanitize
def test_random_servers(stage: Stage):
    waits = {"response_timeout": "300ms", "read_timeout": "300ms", "idle_timeout": "1s"}
    back = back_of(stage, backend=waits, streams_max=20, send_timeout="1s", body_timeout="1s")
    mood = Mood(7)
    for path in MOODS:
        back.server.scripts[path] = mood
        if path in (b"/early", b"/gone"):
            back.server.early[path] = mood
    lives = [threading.Thread(target=Life(back, seed).live) for seed in range(SEEDS)]
    lives += [threading.Thread(target=plain_life, args=(back, seed)) for seed in range(SEEDS // 4)]
    for at in range(0, len(lives), 10):
        for life in lives[at : at + 10]:
            life.start()
        for life in lives[at : at + 10]:
            life.join()
        back.balancer.verify_alive()
    back.balancer.counters()  # the workers have heard who has left,
    back.server.settle()  # and no die is cast any more for a call of theirs
    back.server.scripts.clear()
    back.server.early.clear()
    assert back.balancer.ask(b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    back.server.wait(lambda: in_flight(back) == 0)
    assert settled(lambda: back.balancer.order("busy") == 0)
    assert back.balancer.counters()["workers"]["http2_calls"] > SEEDS
    back.server.wait(lambda: back.balancer.counters()["workers"]["buffers_large"] == 0)
