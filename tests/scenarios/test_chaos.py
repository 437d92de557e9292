"""Everything at once goes wrong, and the engine keeps serving and leaks nothing.

Clients that pipeline, vandals that leave amid everything, servers that reset, cut and fall silent,
too few descriptors. Meanwhile good requests are answered; afterwards nothing is in flight, no
descriptor more is open, and memory is where it was after the first half.

FOURSEVEN_CHAOS=200000 asks for that many requests; `make test` does with fewer. Random choices come
from one seed, FOURSEVEN_CHAOS_SEED; the scheduling of the machine is not in our hands.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from random import Random

import pytest

from support.balancer import TESTS, Balancer, site
from support.front import GOOD, Stage
from support.wire import OPEN, EndedError, Wire

REQUESTS = int(os.environ.get("FOURSEVEN_CHAOS", "12000"))
SEED = int(os.environ.get("FOURSEVEN_CHAOS_SEED", "47"))
BATCH = 50
GROWTH_KIB = 4 * 1024


@contextlib.contextmanager
def blunt_server(per_mille: int) -> Iterator[str]:
    """The address of a server process that misbehaves that often."""
    command = [sys.executable, "-m", "scenarios.blunt", str(SEED), str(per_mille)]
    with subprocess.Popen(
        command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield f"127.0.0.1:{int(child.stdout.readline())}"
        finally:
            child.stdin.close()
            child.wait(10)


class Loader:
    """A client that pipelines batches and counts what it got."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.sent = 0
        self.answered = 0
        self.cut = 0

    def run(self, requests: int) -> None:
        wire = self.balancer.wire(timeout_s=20)
        while self.sent < requests:
            self.sent += BATCH
            wire.send(GOOD * BATCH)
            heads = self.heads(wire)
            self.answered += heads
            if heads < BATCH or wire.end != OPEN:
                self.cut += 1
                wire.close()
                wire = self.balancer.wire(timeout_s=20)
        wire.close()

    def heads(self, wire: Wire) -> int:
        """Reads until the batch is answered or the connection has ended; counts the heads."""
        while answers(wire) < BATCH and wire.fill():
            pass
        heads = wire.buffer.count(b"HTTP/1.1 ")
        wire.buffer.clear()
        return heads


def answers(wire: Wire) -> int:
    """Answers whose body is here: the server's `hello`, or our own page with its line's end."""
    return (
        wire.buffer.count(b"\r\n\r\nhello") + wire.buffer.count(b"\n") - wire.buffer.count(b"\r\n")
    )


VANDALS: list[Callable[[Random, Wire], None]] = [
    lambda random, wire: None,
    lambda random, wire: wire.reset(),
    lambda random, wire: wire.send(GOOD[: random.randrange(1, len(GOOD))]),
    lambda random, wire: wire.send(random.randbytes(random.randrange(1, 2000))).read_to_end(),
    lambda random, wire: wire.send(GOOD * random.randrange(1, 20)).reset(),
    lambda random, wire: wire.send(GOOD).finish().read_to_end(),
    lambda random, wire: wire.send(GOOD * 3).take(random.randrange(1, 40)),
    lambda random, wire: wire.send(
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
        b"a" * random.randrange(1000),
    ).reset(),
    lambda random, wire: wire.send(
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
    ),
    lambda random, wire: wire.send(
        b"GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"
    ),
]


def vandalise(balancer: Balancer, stop: threading.Event) -> None:
    """Until told to stop: a connection, a misdeed, and away, often without a goodbye."""
    random = Random(SEED)
    abandoned: list[Wire] = []
    while not stop.is_set():
        wire = balancer.wire(timeout_s=5)
        with contextlib.suppress(OSError, EndedError):
            random.choice(VANDALS)(random, wire)
        abandoned.append(wire)
        if len(abandoned) > 40:  # half-open meanwhile
            abandoned.pop(random.randrange(len(abandoned))).close()
        stop.wait(0.002)
    for wire in abandoned:
        wire.close()


def verify_at_rest(balancer: Balancer) -> dict:
    """Waits until nothing is in flight, no client is connected, and no buffer is held; returns the
    counters, which are read once more then: their parts are not of one moment."""
    until = time.monotonic() + 30
    while True:
        workers = balancer.at_rest()["workers"]
        held = workers["buffers_large"] + workers["buffers_small"]
        if held == 0 and workers["sessions_opened"] == workers["sessions_closed"]:
            return balancer.counters()
        assert time.monotonic() < until, workers
        time.sleep(0.05)  # The counters tell of no change.


def test_chaos(stage: Stage):
    """REQUESTS in two halves; the second one may cost no memory and no descriptor."""
    with blunt_server(0) as good, blunt_server(30) as bad:
        config = site(good, bad, head_timeout="500ms", idle_timeout="5s")
        config["backends"]["all"] |= {"response_timeout": "100ms", "read_timeout": "100ms"}
        balancer = stage.balancer(config, workers=2)
        half(balancer)
        verify_at_rest(balancer)
        memory = balancer.memory_kib()
        answered = half(balancer)
        counters = verify_at_rest(balancer)
        idle = counters["workers"]["upstream_idle"]
        assert balancer.memory_kib() - memory < GROWTH_KIB
        assert balancer.descriptors() <= 60 + idle
        assert answered > 0.9 * (REQUESTS // 2)
        assert balancer.ask(GOOD).status in (200, 502, 504)


def half(balancer: Balancer) -> int:
    """Half of the requests by two loaders, with a vandal beside them; how many were answered."""
    stop = threading.Event()
    vandal = threading.Thread(target=vandalise, args=(balancer, stop))
    loaders = [Loader(balancer) for _ in range(2)]
    threads = [threading.Thread(target=each.run, args=(REQUESTS // 4,)) for each in loaders]
    vandal.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    vandal.join()
    return sum(loader.answered for loader in loaders)


def test_too_few_descriptors(stage: Stage):
    """The engine waits for descriptors, and is as good as new when there are some."""
    server = stage.server()
    balancer = stage.balancer(site(server.address), files_max=64)
    assert balancer.ask(GOOD).status == 200
    for _ in range(3):
        with contextlib.ExitStack() as closing:
            wires = [closing.enter_context(balancer.wire()) for _ in range(100)]
            for wire in wires:
                wire.send(GOOD)
            statuses = [wire.read().status for wire in wires[:10]]
            assert set(statuses) <= {200, 502, 503}
        assert eventually_served(balancer)
    verify_at_rest(balancer)
    assert balancer.descriptors() < 64


def eventually_served(balancer: Balancer) -> bool:
    """A new client is answered with 200, within seconds."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with contextlib.suppress(EndedError, TimeoutError):
            if balancer.ask(GOOD, timeout_s=5).status == 200:
                return True
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crowd_of_idle_connections(stage: Stage, workers: int):
    """They cost little and hinder nobody."""
    server = stage.server()
    patient = site(server.address, head_timeout="5m", idle_timeout="5m")  # a thousand take a while
    balancer = stage.balancer(patient, workers=workers)
    balancer.ask(GOOD)
    before = balancer.memory_kib()
    with contextlib.ExitStack() as closing:
        wires = [closing.enter_context(balancer.wire()) for _ in range(1000)]
        for wire in wires:  # one after the other: a crowd that asks at once is another test
            assert wire.send(GOOD).read().status == 200
        assert (balancer.memory_kib() - before) / 1000 < 8
        assert balancer.ask(GOOD).status == 200
    verify_at_rest(balancer)
