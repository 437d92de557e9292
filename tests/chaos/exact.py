"""Limits, asked under load by many at once: never exceeded, and reached.

What a server has at once is counted by the server itself (chaos.peer). A rate is judged by what it
should admit whatever the machine does: the bucket was full before the first request was sent, and
empty when the last refusal came, so this lies between burst + rate * (the shortest time that there
can have been between the two) - 1 and burst + rate * (the longest). The clients go on until both are
close enough together to judge by 1 %.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from chaos.peer_process import PeerProcess
from support.balancer import Balancer, Config, site
from support.service import settled
from support.wire import Wire

RATE, BURST = 500, 250
CLOSE = 0.02  # of what is admitted: so far apart the two bounds may be where a soak is to tell
BATCH = 20
PATIENCE_S = 30.0
ATTEMPTS = 5


NONE = {"match": {"path": "/none"}, "filters": [{"respond": {"status": 404}}]}


@dataclass(slots=True)
class Batch:
    """Pipelined requests: between when they were sent and answered, and how many were admitted."""

    sent: float
    ended: float
    admitted: int
    refused: int


@dataclass(slots=True)
class Admitted:
    """What a rate limit let pass, and the two numbers between which it must be, however long the
    machine stood still and whenever it did."""

    count: int
    least: float
    most: float

    @property
    def right(self) -> bool:
        """Never too many. What is too little by 1 % may be a worker that was kept from its core
        between reading the clock and the request."""
        return self.least * 0.99 <= self.count <= self.most

    @property
    def close(self) -> bool:
        """So near that nothing else would be right."""
        return self.most - self.least <= CLOSE * self.least


def ask(wire: Wire, size: int) -> Batch:
    sent = time.monotonic()
    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * size)
    statuses = Counter(wire.read(b"GET").status for _ in range(size))
    assert set(statuses) <= {200, 429}, statuses
    return Batch(sent, time.monotonic(), statuses[200], statuses[429])


class Crowd:
    """Connections to all workers, and what was asked on them."""

    def __init__(self, wires: list[Wire]) -> None:
        self.wires = wires
        self.lock = threading.Lock()
        self.began = time.monotonic()
        self.batches = [ask(wires[0], 1)]  # alone: the beginning is known to a millisecond

    def press(self, seconds: float, clients: int) -> None:
        """Far more than the rate, by so many at once."""
        until = time.monotonic() + seconds

        def client(at: int) -> None:
            mine = itertools.cycle(self.wires[at::clients])
            while time.monotonic() < until:
                batch = ask(next(mine), BATCH)
                with self.lock:
                    self.batches.append(batch)
                time.sleep(0.01)  # So many batches at once are crowd enough.

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(client, range(clients)))

    def judged(self) -> Admitted:
        """At a refusal the bucket is empty, and it was full when all began."""
        least = BURST - 1.0
        before: list[Batch] = []
        for run in runs(
            sorted((one for one in self.batches if one.refused), key=lambda one: one.sent)
        ):
            least += taken(run, run)
            if before:  # it may have been full again meanwhile, and then all of that was taken
                least += min(BURST, taken(before[-1:], run[:1]))
            before = run
        most = BURST + RATE * (max(one.ended for one in self.batches) - self.began) + 1
        return Admitted(sum(one.admitted for one in self.batches), least if before else 0.0, most)


def runs(refused: list[Batch]) -> Iterator[list[Batch]]:
    """Refusals that follow so soon upon one another that the bucket was never full between them."""
    run = refused[:1]
    for earlier, later in itertools.pairwise(refused):
        if later.ended - earlier.sent > BURST / RATE:
            yield run
            run = []
        run.append(later)
    if run:
        yield run


def taken(first: list[Batch], last: list[Batch]) -> float:
    """What came in between a refusal of the first and one of the last: when it was within its batch
    nobody knows."""
    began, ended = min(one.ended for one in first), max(one.sent for one in last)
    return max(RATE * (ended - began) - 1, 0.0)


def rate(balancer: Balancer, seconds: float, clients: int) -> Admitted:
    with contextlib.ExitStack() as closing:
        crowd = Crowd(at_all_workers(balancer, closing))
        crowd.press(seconds, clients)
        for wire in crowd.wires[:10]:
            crowd.batches.append(ask(wire, BATCH))  # alone again: so is the end
        return crowd.judged()


def rate_site(server: str, rate: str = f"{RATE}/s") -> Config:
    limited = {"filters": [{"rate_limit": {"rate": rate, "burst": BURST}}]}
    return site(server, routes=[NONE, {"backend": "all", **limited}])


def verify_rate(workers: int, seconds: float, close: bool = False) -> Admitted:
    """The server counts what came. `close`: once more, where the machine stood still so often that
    the two bounds are too far apart."""
    for _ in range(ATTEMPTS):
        with (
            PeerProcess("one") as peer,
            Balancer(rate_site(peer.address), workers=workers) as balancer,
        ):
            found = rate(balancer, seconds, clients=4 * workers)
            assert found.right, found
            assert peer.tell()["asked"] == found.count
            if found.close or not close:
                return found
    raise AssertionError("the machine stands still too often for a rate to be judged")


def verify_burst(workers: int) -> int:
    """Where nothing comes in meanwhile, so many pass and not one more, whatever the machine does."""
    with (
        PeerProcess("one") as peer,
        Balancer(rate_site(peer.address, "1/d"), workers=workers) as balancer,
        contextlib.ExitStack() as closing,
    ):
        wires = at_all_workers(balancer, closing)[: 2 * BURST // BATCH]
        with ThreadPoolExecutor(4 * workers) as pool:
            batches = list(pool.map(lambda wire: ask(wire, BATCH), wires))
            batches += pool.map(lambda wire: ask(wire, BATCH), wires)
        assert sum(one.admitted for one in batches) == peer.tell()["asked"] == BURST
    return BURST


# ---- what a server has at once ----

WORK_MS = 4
CLIENTS, EACH = 16, 20
QUEUE = {"size": 100, "timeout": "60s"}


@dataclass(frozen=True, slots=True)
class Limit:
    """How a file says it, what the server must never see more of, and what others are told."""

    name: str
    most: int
    counted: str = "most"  # of chaos.peer.Counts
    server: tuple[tuple[str, Any], ...] = ()
    backend: tuple[tuple[str, Any], ...] = ()
    filters: tuple[dict[str, Any], ...] = ()
    refused: frozenset[int] = frozenset()

    @property
    def room(self) -> int:
        """How many may wait."""
        return int(dict(self.backend).get("queue", {"size": 0})["size"])

    @property
    def waiting(self) -> int:
        """How many of CLIENTS wait while the server has all that it may have."""
        return min(self.room, CLIENTS - self.most)


LIMITS = [
    Limit("max_in_flight", 3, server=(("max_in_flight", 3),), backend=(("queue", QUEUE),)),
    Limit("max_connections", 5, "most_open", (("max_connections", 5),), (("queue", QUEUE),)),
    Limit("requests", 3, backend=(("limits", {"requests": 3}), ("queue", QUEUE))),
    Limit("max_in_flight alone", 3, server=(("max_in_flight", 3),), refused=frozenset({503})),
    Limit("concurrency", 4, filters=({"concurrency": 4},), refused=frozenset({503})),
    Limit(
        "concurrency by client",
        4,
        filters=({"concurrency": {"max": 4, "by": "client"}},),
        refused=frozenset({503}),
    ),
    Limit(
        "queue",
        2,
        server=(("max_in_flight", 2),),
        backend=(("queue", {**QUEUE, "size": 5}),),
        refused=frozenset({503}),
    ),
]


def limited(limit: Limit, peer: PeerProcess) -> Config:
    config = site(routes=[NONE, {"backend": "all", "filters": list(limit.filters)}])
    place = {"address": peer.address, **dict(limit.server)}
    config["backends"]["all"] = {"servers": [place], **dict(limit.backend)}
    return config


def reached(limit: Limit, balancer: Balancer, peer: PeerProcess, wires: list[Wire]) -> int:
    """So many clients ask at once of a server that keeps them waiting: it has as many as it may
    have, and the others wait or are refused. How many the server answered in the end."""
    asking = wires[:: len(wires) // CLIENTS][:CLIENTS]
    answered = limit.most + limit.waiting
    most = 0

    def is_full() -> bool:
        nonlocal most
        told = peer.tell()
        most = max(most, told[limit.counted])
        waiting = balancer.counters()["backends"]["all"]["waiting"]
        refused, _, _ = select.select([wire.socket for wire in asking], [], [], 0)
        found = told["now"], waiting, len(refused)
        return found == (limit.most, limit.waiting, CLIENTS - answered)

    peer.say("hold")
    for wire in asking:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert settled(is_full), (limit.name, peer.tell(), balancer.counters()["backends"])
    peer.say("well")
    statuses = Counter(wire.read(b"GET").status for wire in asking)
    assert statuses == Counter({200: answered}) + Counter(
        dict.fromkeys(limit.refused, CLIENTS - answered)
    ), (limit.name, statuses)
    assert max(most, peer.tell()[limit.counted]) == limit.most, limit.name
    return answered


def served(wires: list[Wire]) -> Counter[int]:
    """So many clients, each asking one request after the other on its connections; statuses."""

    def client(at: int) -> Counter[int]:
        found: Counter[int] = Counter()
        for wire in (wires[at::CLIENTS] * EACH)[:EACH]:
            wire.send(b"GET /?took_ms=%d HTTP/1.1\r\nHost: a\r\n\r\n" % WORK_MS)
            found[wire.read(b"GET").status] += 1
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(client, range(CLIENTS)), Counter())


def at_all_workers(balancer: Balancer, closing: contextlib.ExitStack) -> list[Wire]:
    """Connections of which every worker has some, if the kernel is so kind, and two in any case.
    When they come one by one, an idle machine gives them all to the same worker; so the process
    sleeps while they come."""
    wires: list[Wire] = []

    def enough() -> bool:
        taken = [n > 0 for n in balancer.counters()["workers"]["accepted_by_worker"]]
        return all(taken) or (len(wires) >= 256 and sum(taken) >= 2)

    while not wires or not enough():
        assert len(wires) < 1000, "one worker gets all"
        os.kill(balancer.pid, signal.SIGSTOP)
        try:
            fresh = [closing.enter_context(balancer.wire(timeout_s=PATIENCE_S)) for _ in range(64)]
            for wire in fresh:
                wire.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        finally:
            os.kill(balancer.pid, signal.SIGCONT)
        for wire in fresh:
            assert wire.read(b"GET").status == 404
        wires += fresh
    return wires


@contextlib.contextmanager
def watched(balancer: Balancer) -> Iterator[list[int]]:
    """How many waited in the queue, each time that we looked."""
    seen: list[int] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.002):
            seen.append(balancer.counters()["backends"]["all"]["waiting"])

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        stop.set()
        looking.join()


def verify_limit(limit: Limit, workers: int) -> int:
    """The most that the server had at once, which is the limit: reached, and never exceeded."""
    with PeerProcess("one") as peer:
        config = limited(limit, peer)
        with Balancer(config, workers=workers) as balancer:
            peer.tell()
            with contextlib.ExitStack() as closing:
                wires = at_all_workers(balancer, closing)
                answered = reached(limit, balancer, peer, wires)
                with watched(balancer) as waiting:
                    statuses = served(wires)
            counts = peer.tell()
            assert counts[limit.counted] <= limit.most, (limit.name, counts)
            assert set(statuses) <= {200} | limit.refused, (limit.name, statuses)
            assert counts["asked"] == answered + statuses[200]
            assert max(waiting, default=0) <= min(limit.room, CLIENTS), "the queue's own bound"
            assert settled(lambda: is_at_rest(balancer.counters())), balancer.counters()
    return limit.most


def is_at_rest(seen: dict[str, Any]) -> bool:
    """The worker counts what has ended a moment after its client has seen it."""
    return seen["backends"]["all"]["waiting"] == 0 and seen["workers"]["filters_held"] == 0


def verify_all(seconds: float) -> Iterator[str]:
    """Everything, with 2 and 4 workers; a line for each."""
    for workers in (2, 4):
        found = verify_rate(workers, seconds, close=True)
        yield (
            f"{workers} workers: {RATE}/s with burst {BURST} for {seconds:g} s and a moment:"
            f" {found.count} admitted, {found.least:.0f} to {found.most:.0f} would be exact"
        )
        yield f"{workers} workers: burst: {verify_burst(workers)} of {BURST}"
        for limit in LIMITS:
            yield f"{workers} workers: {limit.name}: {verify_limit(limit, workers)} of {limit.most}"
