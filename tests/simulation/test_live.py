"""Simulated conversations through the running engine: client, balancer and server, all at random.

Both sides speak from one seed: pipelined requests of every framing and spelling, answers likewise,
bodies whose sizes lie about the engine's buffers, everything in random pieces, servers that close.
Then the server must have read what the client meant, and the client what the server meant, each in
order and each once.

A failure prints its seed; FOURSEVEN_SIMULATION=SEED:1 replays what is said and how it is cut (how
the pieces meet on the way is up to the system).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from random import Random

import pytest

from simulation.conversation import CHUNKED, CLOSE, LENGTH, NONE, Meaning, meaning, spell, split
from support.front import Front, Stage
from support.recorder import Conversation
from support.service import settled
from support.wire import Message

FIRST, COUNT = map(int, os.environ.get("FOURSEVEN_SIMULATION", "0:120").split(":"))
# Where buffers end: a small one, what is joined to a head, what is spliced, a large one.
EDGES = [0, 1, 4096, 16_384, 65_536, 69_632, 131_072, 200_000]
# A request without a body may be told as one of length 0 (RFC 9110 8.6).
FRAMINGS = {NONE: ("none", "length"), LENGTH: ("length",), CHUNKED: ("chunked",)}


@pytest.fixture(scope="module")
def live() -> Iterator[Front]:
    stage = Stage()
    try:
        yield stage.front(workers=1)
    finally:
        stage.strike()


def resized(random: Random, made: Meaning) -> Meaning:
    """Some bodies lie about the edges of the engine's buffers."""
    if made.framing != NONE and random.random() < 0.4:
        size = max(0, random.choice(EDGES) + random.randint(-300, 300))
        made.body = random.randbytes(size)
    return made


def talk(random: Random) -> list[tuple[Meaning, Meaning]]:
    """Requests with their answers; only the last request may close the connection."""
    pairs = []
    for _ in range(random.randint(1, 8)):
        request = resized(random, meaning(random))
        request.keep_alive = True
        pairs.append((request, resized(random, meaning(random, answers=request.method))))
    pairs[-1][0].keep_alive = random.random() < 0.7
    return pairs


class Server:
    """Answers one talk: the request's number stands in its fields."""

    def __init__(self, random: Random, pairs: list[tuple[Meaning, Meaning]]) -> None:
        self.random = random
        self.pairs = pairs
        self.seen: list[tuple[int, Message]] = []

    def script(self, conversation: Conversation, request: Message) -> None:
        number = int(request.get("x-own-number"))
        conversation.read_body(request)
        self.seen.append((number, request))
        answer = self.pairs[number][1]
        for piece in split(self.random, spell(self.random, answer, answer=True)):
            conversation.send(piece)
            if self.random.random() < 0.02:
                time.sleep(0.001)  # Lets the pieces arrive apart.
        if answer.framing == CLOSE or not answer.keep_alive:
            conversation.close()


def own(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return sorted((name.lower(), said) for name, said in headers if name[:6].lower() == b"x-own-")


def verify_request(seen: Message, made: Meaning) -> None:
    assert seen.method == made.method
    assert seen.target == made.path + (b"" if made.query is None else b"?" + made.query)
    assert own(seen.headers) == sorted(made.fields)
    assert seen.body == made.body
    assert seen.framing in FRAMINGS[made.framing]
    assert [(name.lower(), said) for name, said in seen.trailers] == made.trailers


def verify_answer(seen: Message, made: Meaning) -> None:
    assert seen.status == made.status
    assert own(seen.headers) == sorted(made.fields)
    assert seen.body == made.body
    assert [(name.lower(), said) for name, said in seen.trailers] == made.trailers


def play(live: Front, seed: int) -> None:
    random = Random(f"live {seed}")
    pairs = talk(random)
    for number, (request, _) in enumerate(pairs):
        request.fields.append((b"x-own-number", b"%d" % number))
    server = Server(Random(f"server {seed}"), pairs)
    live.server.scripts.clear()
    live.server.on(b"", server.script)
    pieces = [
        piece for made, _ in pairs for piece in split(random, spell(random, made, answer=False))
    ]
    with live.wire() as wire:
        sending = threading.Thread(target=wire.send, args=pieces)
        sending.start()
        for request, answer in pairs:
            verify_answer(wire.read(request.method), answer)
        sending.join()
        if not pairs[-1][0].keep_alive:
            assert wire.ended()
    assert [number for number, _ in server.seen] == list(range(len(pairs)))
    for number, seen in server.seen:
        verify_request(seen, pairs[number][0])
    assert not live.server.faults


def test_live(live: Front):
    for seed in range(FIRST, FIRST + COUNT):
        try:
            play(live, seed)
        except Exception as error:
            live.balancer.verify_alive()
            pytest.fail(
                f"seed {seed}: {type(error).__name__}: {error!s:.2000}\n"
                f"replay: FOURSEVEN_SIMULATION={seed}:1 python -m pytest {os.path.relpath(__file__)}"
            )
        live.server.forget()
    # The client has the whole answer a moment before the worker has counted it.
    assert settled(lambda: in_flight(live) == [0]), in_flight(live)


def in_flight(live: Front) -> list[int]:
    return [row["in_flight"] for row in live.balancer.counters()["servers"].values()]
