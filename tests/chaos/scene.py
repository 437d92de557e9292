"""Four servers that are harmed by turns, a fifth that comes and goes, and an engine that dies once.

A round: clients ask without a pause; every moment a server is killed, hung, slowed, made to answer
500, or brought back; every second the file is loaded anew with other weights, with or without the
guest; if it is to be, the engine is killed amid all this. Then the clients end, the servers are
brought back, and everything must be as it was: nothing in flight at any server, route, filter or in
the queue, no descriptor more, no memory, and requests spread by weight again.

Laws: one server is well at each moment and known to be so (the anchor): another one takes its place
only when the balancer says that it is usable. All choices come from one seed; when they fall is up
to the machine. What the clients saw is judged by chaos.verdict.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from chaos.clients import Book, Request, Wire, crowd
from chaos.peer_process import PeerProcess
from chaos.verdict import Harm, Kill, Run, chance, faults
from support.api import Api
from support.service import Service

NAMES = ("north", "east", "south", "west")
GUEST = "guest"
HARMS = ("kill", "hang", "slow", "errors")
WEIGHTS_AT_REST = [1, 2, 3, 4]
SPREAD_REQUESTS = 800
CHANCE_MIN = 1e-10  # so seldom is a right spread called wrong
LATE_S = 1.2  # a try takes a second at most
REST_S = 40.0
UNDER_WAY = 8  # descriptors of checks of servers and of calls of the API, ours among them
PIPES_KEPT = 2 * 2 * 32 + 3  # ends: 32 pipes of each of two workers; its own three streams
GROWTH_KIB = 12 * 1024  # two rings of log records are touched by and by: 8 MiB; 4 for all else
FIELDS = ["target", "status", "reason", "retries", "server", "protocol", "total_ms", "time_unix"]


class Peer(PeerProcess):
    """A server process that can be harmed, at a port that it keeps."""

    def __init__(self, name: str) -> None:
        self.harms: list[Harm] = []
        super().__init__(name)

    @property
    def well(self) -> bool:
        return not self.harms or self.harms[-1].ended is not None

    @property
    def recovered(self) -> bool:
        """Well for so long that no try from before can still be held against it."""
        return self.well and not (
            self.harms and time.monotonic() - (self.harms[-1].ended or 0) < LATE_S
        )

    def harm(self, how: str, random: Random) -> None:
        self.harms.append(Harm(self.name, how, time.monotonic()))
        if how == "kill":
            self.process.kill()
            self.process.wait()
        elif how == "hang":
            self.process.send_signal(signal.SIGSTOP)
        else:
            self.say("errors" if how == "errors" else f"slow {random.choice([0.2, 1.5])}")

    def heal(self) -> None:
        """Brings it back; until then the harm goes on."""
        how = self.harms[-1].how
        if how == "kill":
            self.end()
            self.rise()
        elif how == "hang":
            self.process.send_signal(signal.SIGCONT)
        else:
            self.say("well")
        self.harms[-1].ended = time.monotonic()


class Scene:
    """`with Scene(seed) as scene: scene.round(seconds, kill=True)`; AssertionError says what is
    wrong."""

    def __init__(self, seed: int) -> None:
        self.seed, self.random = seed, Random(seed)
        self.rounds = self.read = self.grown = 0
        self.said: list[str] = []  # what each round came to
        self.memory: dict[int, int] = {}  # KiB of each engine at its first rest
        self.peers = [Peer(name) for name in NAMES]
        self.guest = Peer(GUEST)
        self.anchor = self.peers[0]
        self.service: Service | None = None
        try:
            self.service = Service(self.config(WEIGHTS_AT_REST, guest=False))
            self.api = Api(self.service.runtime / "admin.sock")
            self.address = self.service.address()
            self.log = self.service.folder / "access.log"
            self.descriptors = min(self.open_descriptors() for _ in range(20))  # checks come and go
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        if self.service is not None:
            self.service.stop()
        for peer in (*self.peers, self.guest):
            peer.end()

    # ---- the file ----

    def config(self, weights: list[int], *, guest: bool) -> dict[str, Any]:
        servers = [
            {"address": peer.address, "weight": weight, "max_in_flight": 20}
            for peer, weight in zip(self.peers, weights, strict=True)
        ]
        if guest:
            servers.append({"address": self.guest.address, "max_in_flight": 20})
        filters = [{"rate_limit": {"rate": "100000/s", "by": "client"}}, {"concurrency": 500}]
        return {
            "access_log": {"to": "access.log", "fields": FIELDS},
            "listeners": {
                "web": {
                    "protocol": "http",
                    "http_versions": [1.1, 2],
                    "routes": [{"name": "all", "backend": "all", "filters": filters}],
                }
            },
            "backends": {
                "all": {
                    "servers": servers,
                    "balance": "random",
                    "health": {
                        "http": "/healthz",
                        "interval": "400ms",
                        "fast_interval": "150ms",
                        "timeout": "2s",
                        "rise": 1,
                        "fall": 2,
                    },
                    "ejection": {
                        "errors_in_a_row": 3,
                        "time": "300ms",
                        "time_max": "1s",
                        "share_max": "75%",
                    },
                    "breaker": {"requests": 5, "window": "1s", "open": "200ms"},
                    "slow_start": "300ms",
                    "connect_timeout": "1s",
                    "read_timeout": "3s",
                    "retry": {
                        "attempts": 3,
                        "on": ["connect", "reset", "timeout", 500],
                        "try_timeout": "1s",
                        "budget": "0%",
                    },
                    "queue": {"size": 1000, "timeout": "20s"},
                }
            },
        }

    async def reload(self, weights: list[int], *, guest: bool) -> None:
        """Refused only while there is no engine."""
        assert self.service is not None
        config = self.config(weights, guest=guest)
        answer = await asyncio.to_thread(self.service.reload, config)
        assert answer["code"] == 0, answer

    # ---- a round ----

    def round(self, seconds: float, *, kill: bool) -> None:
        asyncio.run(self.whole_round(seconds, kill))

    async def whole_round(self, seconds: float, kill: bool) -> None:
        self.rounds += 1
        book = Book(self.address, self.seed)
        clients = list(crowd(book, self.rounds))
        until = time.monotonic() + seconds
        killed = asyncio.create_task(self.kill(seconds / 3)) if kill else None
        doings = [asyncio.create_task(self.harm(until)), asyncio.create_task(self.change(until))]
        try:
            await asyncio.gather(*doings)
            fallen = await killed if killed else None
            for peer in self.peers:
                if not peer.well:
                    await asyncio.to_thread(peer.heal)
            await self.reload(WEIGHTS_AT_REST, guest=False)
            book.going = False
            await asyncio.gather(*clients)
        finally:
            for task in (*clients, *doings, *([killed] if killed else [])):
                task.cancel()
        await asyncio.to_thread(self.rest)
        spread = await self.spread()
        harms = [harm for peer in self.peers for harm in peer.harms]
        run = Run(book.done, self.lines(book.done, fallen), harms, fallen, self.stalls())
        found = faults(run)
        self.report(run, spread)
        assert not found, "\n".join([f"seed {self.seed}: {len(found)} faults", *found[:10]])
        for peer in self.peers:
            peer.harms.clear()

    async def harm(self, until: float) -> None:
        """By turns, every kind; never the anchor."""
        deck: list[str] = []
        moved = time.monotonic()
        while time.monotonic() < until:
            if time.monotonic() - moved > 1.0:
                moved = time.monotonic()
                await self.move_anchor()
            well = [peer for peer in self.peers if peer.well and peer is not self.anchor]
            ill = [peer for peer in self.peers if not peer.well]
            if well and (not ill or self.random.random() < 0.6):
                deck = deck or self.random.sample(HARMS, len(HARMS))
                self.random.choice(well).harm(deck.pop(), self.random)
            else:
                await asyncio.to_thread(self.random.choice(ill).heal)
            await asyncio.sleep(self.random.uniform(0.1, 0.4))  # The pace of the chaos.

    async def move_anchor(self) -> None:
        """To another server, if one is well and is known to be."""
        try:
            known = {one["address"]: one for one in (await self.backend())["servers"]}
        except (OSError, AssertionError):
            return  # there is no engine just now
        others = [one for one in self.peers if one.recovered and trusted(known[one.address])]
        if others:
            self.anchor = self.random.choice(others)

    async def change(self, until: float) -> None:
        """Loads the file every second, each time another one."""
        while time.monotonic() < until:
            weights = [self.random.randint(1, 3) for _ in self.peers]
            with contextlib.suppress(AssertionError, OSError):  # no engine just now
                await self.reload(weights, guest=self.random.random() < 0.5)
            await asyncio.sleep(min(1.0, max(until - time.monotonic(), 0)))  # The pace of reloads.

    async def kill(self, after_s: float) -> Kill:
        """Stops the engine, looks which connections it holds, and kills it."""
        await asyncio.sleep(after_s)  # Amid everything.
        assert self.service is not None
        pid = await asyncio.to_thread(self.service.engine)
        os.kill(pid, signal.SIGSTOP)
        while not stopped(pid):
            await asyncio.sleep(0.001)  # A signal takes its time.
        # The kernel's table may lose a row that moves while it is read.
        held = set().union(*(clients_of(pid, self.address[1]) for _ in range(3)))
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return Kill(at, held)

    # ---- at rest ----

    async def backend(self) -> dict[str, Any]:
        state = await asyncio.to_thread(self.api.get, "/v1/state")
        found: dict[str, Any] = state["backends"][0]
        return found

    def rest(self) -> None:
        """Waits until all is as it was before."""
        assert self.service is not None
        until = time.monotonic() + REST_S
        while busy := self.busy():
            assert time.monotonic() < until, (
                f"seed {self.seed}: never at rest: {busy}; {self.places()}"
            )
            time.sleep(0.05)  # The counters tell of no change.
        pid = self.service.engine()
        memory = memory_kib(pid)
        self.grown = memory - self.memory.setdefault(pid, memory)
        assert self.grown < GROWTH_KIB, f"seed {self.seed}: {self.grown} KiB more than at first"

    def busy(self) -> dict[str, Any]:
        """What is not yet at rest."""
        state = self.api.get("/v1/state")
        backend, route = state["backends"][0], state["listeners"][0]["routes"][0]
        workers = state["workers"]["counters"]
        found = {
            "of servers": sum(one["in_flight"] for one in backend["servers"]),
            "of the route": route["in_flight"],
            "queue": backend["counters"]["waiting"],
            "retrying": backend["counters"]["retrying"],
            "filters": workers["filters_held"],
            "sessions": workers["sessions_opened"] - workers["sessions_closed"],
            "buffers": workers["buffers_large"] + workers["buffers_small"] + workers["pipes"],
            "dropped records": workers["records_dropped"],
            "not usable": [
                one["address"]
                for one in backend["servers"]
                if not one["usable"] or one["share"] != 1
            ],
            "descriptors": max(self.open_descriptors(workers) - self.descriptors - UNDER_WAY, 0),
        }
        return {name: value for name, value in found.items() if value}

    def places(self) -> str:
        """Where the engine's descriptors lead, and how many it says are idle."""
        assert self.service is not None
        pid = self.service.engine()
        names = {peer.port: peer.name for peer in (*self.peers, self.guest)}
        ends = Counter(names.get(port, str(port)) for port in servers_of(pid))
        kinds = Counter(link.partition(":")[0] for link in links_of(pid))
        idle = self.api.get("/v1/state")["workers"]["counters"]["upstream_idle"]
        return f"descriptors {dict(kinds)}, connections {dict(ends)}, idle {idle}"

    def open_descriptors(self, workers: dict[str, Any] | None = None) -> int:
        """Of the engine, but for the two that may stay: idle connections to servers, and pipes for
        large bodies, of which each worker keeps a few."""
        if workers is None:
            workers = self.api.get("/v1/state")["workers"]["counters"]
        assert self.service is not None
        links = links_of(self.service.engine())
        pipes = sum(link.startswith("pipe:") for link in links)
        assert workers["pipes"] or pipes <= PIPES_KEPT, f"{pipes} ends of pipes are open"
        return len(links) - pipes - workers["upstream_idle"]

    async def spread(self) -> float:
        """The chance of a spread like this one, if it is right."""
        wire = await Wire.open(self.address)
        found: Counter[str] = Counter()
        for at in range(SPREAD_REQUESTS):
            request = Request(f"spread-{self.rounds}-{at}", "GET", 2)
            await wire.ask(request, keep=True)
            assert request.whole, request
            found[request.peer] += 1
        await wire.close()
        likely = chance([found[name] for name in NAMES], WEIGHTS_AT_REST)
        assert likely > CHANCE_MIN, f"seed {self.seed}: spread {found} for {WEIGHTS_AT_REST}"
        return likely

    def lines(self, requests: list[Request], kill: Kill | None) -> list[dict[str, Any]]:
        """The round's lines of the access log, once they are all written."""
        until = time.monotonic() + 30
        last = f"/spread-{self.rounds}-{SPREAD_REQUESTS - 1}?".encode()
        while last not in (new := self.log.read_bytes()[self.read :]):
            assert time.monotonic() < until, "the access log does not get its lines"
            time.sleep(0.02)  # A file tells of no change.
        self.read += len(new)
        found = [json.loads(line) for line in new.splitlines()]
        return [line for line in found if not line["target"].startswith("/spread-")]

    def stalls(self) -> list[tuple[float, float]]:
        """When a server that nobody had stopped did not come to its turn: the machine's doing."""
        return [
            (began, ended)
            for peer in (*self.peers, self.guest)
            for began, ended in peer.tell()["late"]
            if not any(harm.how == "hang" and harm.overlaps(began, ended) for harm in peer.harms)
        ]

    def report(self, run: Run, spread: float) -> None:
        harms = Counter(harm.how for harm in run.harms)
        retried = sum(bool(line["retries"]) for line in run.lines)
        longest = max(request.ended - request.began for request in run.requests)
        outcomes = ", ".join(
            f"{kind} {status} {reason or 'served'}: {count}"
            for (kind, status, reason), count in sorted(run.outcomes.items(), key=str)
        )
        self.said.append(
            f"round {self.rounds}: {len(run.requests)} requests, {retried} retried,"
            f" longest {longest:.2f} s; harms {dict(harms)}; engine killed with"
            f" {len(run.kill.held) if run.kill else 0} connections, {run.excepted} requests lost;"
            f" {len(run.stalls)} stalls of the machine, {run.stalled} requests lost;"
            f" {self.grown} KiB grown; spread likely {spread:.3f}\n  {outcomes}"
        )


def trusted(server: dict[str, Any]) -> bool:
    """The balancer knows that it is well."""
    return server["state"] == "up" and not server["circuit_open"]


def stopped(pid: int) -> bool:
    """All threads of a process are: a worker could take a connection until it is."""
    states = [
        path.read_text().rpartition(")")[2] for path in Path(f"/proc/{pid}").glob("task/*/stat")
    ]
    return all(state.split()[0] == "T" for state in states)


def links_of(pid: int) -> list[str]:
    """What its descriptors are."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


def connections_of(pid: int) -> list[tuple[int, int]]:
    """(own port, the other end's) of the TCP sockets that it has open."""
    inodes = {link[8:-1] for link in links_of(pid) if link.startswith("socket:[")}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [
        (int(row[1].rpartition(":")[2], 16), int(row[2].rpartition(":")[2], 16))
        for row in rows
        if row[9] in inodes
    ]


def clients_of(pid: int, port: int) -> set[int]:
    """Ports of clients whose connections to this port the process has open."""
    return {theirs for ours, theirs in connections_of(pid) if ours == port and theirs}


def servers_of(pid: int) -> list[int]:
    """Ports to which it has connections."""
    return [theirs for _, theirs in connections_of(pid)]


def memory_kib(pid: int) -> int:
    """Anonymous resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if "RssAnon" in line).split()[1])
