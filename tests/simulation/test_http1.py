"""Simulated HTTP/1 conversations through the readers: what was meant is what is read.

Each seed makes a pipelined conversation (conversation.py), splits it at random, and reads it with
the product's readers message by message: request heads, bodies of every framing, answers. Then
faults are injected: the stream is cut at a random byte (never a whole message more than was sent
whole), or a byte of it is changed (whatever is decided, every split decides it alike).

A failure prints its seed; FOURSEVEN_SIMULATION=SEED:1 replays it, and FOURSEVEN_SIMULATION=0:50000
runs many.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import pytest

from fourseven.protocols import probe
from simulation.conversation import (
    CHUNKED,
    CLOSE,
    LENGTH,
    METHOD_IDS,
    Meaning,
    meaning,
    spell,
    split,
)
from support.wire import Memory, read_chunked

FIRST, COUNT = map(int, os.environ.get("FOURSEVEN_SIMULATION", "0:1000").split(":"))
LENGTH_OF_A_TALK = 8


def seeds(play: Callable[[Random], None]) -> None:
    """Plays with each seed, and says which one failed."""
    for seed in range(FIRST, FIRST + COUNT):
        try:
            play(Random(f"{play.__name__} {seed}"))
        except Exception as error:
            file = os.path.relpath(__file__)
            pytest.fail(
                f"seed {seed}: {type(error).__name__}: {error}\n"
                f"replay: FOURSEVEN_SIMULATION={seed}:1 python -m pytest {file} -k {play.__name__}"
            )


def read_body(random: Random, found: dict, stream: bytes) -> tuple[bytes, list, bytes] | None:
    """The body, its trailers and what stands behind it; None where it is not whole."""
    if found["framing"] == LENGTH:
        size = found["content_length"]
        return (stream[:size], [], stream[size:]) if len(stream) >= size else None
    if found["framing"] == CLOSE:
        return stream, [], b""
    if found["framing"] != CHUNKED:
        return b"", [], stream
    kept = probe.chunked(split(random, stream), 0)
    decoded = probe.chunked(split(random, stream), 1)
    assert kept["result"] == decoded["result"]
    if kept["result"] < 0:
        return None
    assert kept["done"] == decoded["done"]
    if not kept["done"]:
        return None
    assert kept["rest"] == decoded["rest"]
    return decoded["out"], canonical_trailers(kept["out"], decoded["out"]), kept["rest"]


def canonical_trailers(out: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
    """The trailers of rewritten chunks; the rewriting is itself canonical, and means the same."""
    again = probe.chunked([out], 0)
    assert again["out"] == out, "rewritten twice is not rewritten once"
    said, trailers = read_chunked(Memory(out))
    assert said == body
    return trailers


def verify(found: dict, made: Meaning, answer: bool) -> None:
    """The reader found what was meant."""
    assert found["result"] > 0, found
    assert found["framing"] == made.framing, found
    assert bool(found["keep_alive"]) == made.keep_alive, found
    own = [
        (name.lower(), said) for name, said, *_ in found["fields"] if name[:6].lower() == b"x-own-"
    ]
    assert sorted(own) == sorted(made.fields)
    if made.framing == LENGTH:
        assert found["content_length"] == len(made.body)
    if answer:
        assert found["status"] == made.status
        return
    assert found["method"] == made.method
    assert found["path"] == made.path
    assert found["query"] == made.query
    assert found["host"] == made.host


def test_requests():
    def requests(random: Random) -> None:
        talk = [meaning(random) for _ in range(random.randint(1, LENGTH_OF_A_TALK))]
        stream = b"".join(spell(random, made, answer=False) for made in talk)
        for made in talk:
            found = probe.request(stream, random.choice([0, 1, 5, 64]))
            verify(found, made, answer=False)
            body, trailers, stream = read_body(random, found, stream[found["result"] :])
            assert body == made.body
            assert [(name.lower(), said) for name, said in trailers] == made.trailers
        assert stream == b""

    seeds(requests)


def test_answers():
    def answers(random: Random) -> None:
        talk: list[tuple[bytes, Meaning]] = []
        while len(talk) < LENGTH_OF_A_TALK and not (talk and talk[-1][1].framing == CLOSE):
            method = random.choice(list(METHOD_IDS))
            talk.append((method, meaning(random, answers=method)))
        stream = b"".join(spell(random, made, answer=True) for _, made in talk)
        for method, made in talk:
            found = probe.response(stream, METHOD_IDS[method], random.choice([0, 1, 5, 64]))
            verify(found, made, answer=True)
            body, _, stream = read_body(random, found, stream[found["result"] :])
            assert body == made.body
        assert stream == b""

    seeds(answers)


def whole_messages(random: Random, stream: bytes, step: int) -> list[tuple]:
    """Reads until nothing whole is left; the last entry says why it ended."""
    read: list[tuple] = []
    while stream:
        found = probe.request(stream, step)
        if found["result"] <= 0:
            return [*read, ("head", found["result"], found["fault"])]
        body = read_body(random, found, stream[found["result"] :])
        if body is None:
            return [*read, ("body", found["method"], found["path"])]
        read.append((found["method"], found["path"], found["host"], body[0], tuple(body[1])))
        stream = body[2]
    return [*read, ("end",)]


def test_a_cut_stream_never_gains_a_message():
    def cut(random: Random) -> None:
        talk = [meaning(random) for _ in range(random.randint(1, 4))]
        spelt = [spell(random, made, answer=False) for made in talk]
        stream = b"".join(spelt)
        at = random.randrange(len(stream))
        *read, _ = whole_messages(random, stream[:at], random.choice([0, 3, 50]))
        ends = [sum(map(len, spelt[: n + 1])) for n in range(len(spelt))]
        assert len(read) == sum(end <= at for end in ends)
        for seen, made in zip(read, talk, strict=False):
            assert seen[0] == made.method
            assert seen[3] == made.body

    seeds(cut)


def test_a_changed_byte_is_read_alike_by_every_split():
    def changed(random: Random) -> None:
        talk = [meaning(random) for _ in range(random.randint(1, 3))]
        stream = bytearray(b"".join(spell(random, made, answer=False) for made in talk))
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(stream))
            action = random.choice(["change", "drop", "double"])
            if action == "change":
                stream[at] = random.choice([*b"\r\n\0 \t:;,0aF/%.-+", random.randrange(256)])
            elif action == "drop" and len(stream) > 1:
                del stream[at]
            else:
                stream.insert(at, stream[at])
        stream += b"\r\n\r\n"  # a head that is not whole may be refused now or when it is
        whole = whole_messages(random, bytes(stream), 0)
        for step in (1, 7, 100):
            assert whole_messages(random, bytes(stream), step) == whole

    seeds(changed)
