"""One run: fourseven, nginx and haproxy at the same works, taking turns.

For each work all peers are started side by side on one core (an idle one costs nothing), each is
checked once (the bytes of the answer, the headers it adds, that it keeps upstream connections), and
then every round measures each peer, in an order that rotates, so that a slow minute of the machine
falls on all of them. The result is bench/RESULTS.md.

Laws: a figure counts only when every request of its round was answered rightly. Everything started
is stopped by its process id, on errors and on Ctrl-C too.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import loads, machine, report, watch
from bench.figures import Memory, Sample, neighbours, rotated, summarise
from bench.origin import MESSAGE, Origin, body
from bench.peers import PEERS
from bench.peers.peer import Peer, install
from bench.works import (
    EVERYTHING,
    FULL,
    GRPC,
    IDLE,
    RATE,
    RATE_PER_SECOND,
    RELAY,
    RESUMED,
    STREAMS,
    THROUGHPUT,
    WORKS,
    WRK,
    Work,
    route_target,
)
from fourseven.demo.processes import Child, Failed, free_port, open_files

FORWARDED = "127.0.0.1 {} bench.example.test"  # what the origin must be told by each proxy
IDLE_MIN = 2_000  # fewer cannot be told from the noise of a process's memory
FILES_SPARE = 1_000  # descriptors that a proxy needs besides its clients: upstream, logs
QUIET_PERCENT = 5  # beyond, caches and batches are no longer ours alone, and figures drift
NEW_UPSTREAM_MAX = 0.02  # connections per request: more says that upstream keep-alive is off


@dataclass
class Proxy:
    """A running peer within one work."""

    peer: Peer
    server: Child
    port: int
    answer_bytes: int = 0
    cookie: str = ""  # with everything on: of a client that has been here
    metrics: tuple[str, str] = ("", "")  # likewise, where they are read
    log: Path | None = None  # likewise, the access log
    samples: list[Sample] = field(default_factory=list)


def main() -> int:
    options = arguments()
    peers = present(options.peers)
    machine.isolate(options.congestion)
    machine.prepare()
    proxy_cores, load_cores = machine.cores()
    files = open_files()
    bench = Bench(peers, options.rounds, options.seconds, proxy_cores, load_cores)
    works = [
        replace(work, connections=min(work.connections, files - FILES_SPARE))
        for work in WORKS
        if not options.only or work.name in options.only
    ]
    described = machine.describe() | {
        "peers": ", ".join(peer.version() for peer in peers),
        "rounds": f"{options.rounds} of {options.seconds} s",
    }
    with Origin(load_cores) as origin, contextlib.suppress(KeyboardInterrupt):
        for work in works:
            bench.measure(work, origin)
    rounds = [one for peers in bench.found.values() for some in peers.values() for one in some]
    median, worst = neighbours(rounds)
    described["others' share of the two cores"] = f"median {median:.0f} %, worst {worst:.0f} %"
    if median > QUIET_PERCENT:
        print(f"not a quiet machine: others took {median:.0f} % of the measured cores")
    file = report.write(described, works, bench.found, bench.memory, bench.direct, options.output)
    print(f"written: {file}")
    return 1 if bench.failed else 0


class Bench:
    """One run: who is measured, how long, and what was found."""

    def __init__(
        self, peers: list[Peer], rounds: int, seconds: float, proxy: set[int], load: set[int]
    ) -> None:
        self.peers, self.rounds, self.seconds = peers, rounds, seconds
        self.proxy_cores, self.load_cores = proxy, load
        self.found: dict[str, dict[str, list[Sample]]] = {}
        self.memory: dict[str, Memory] = {}
        self.direct: list[Sample] = []
        self.failed = False

    def measure(self, work: Work, origin: Origin) -> None:
        print(f"{work.name}: {work.title}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            folder.chmod(0o755)  # nginx's worker is another user when root starts it
            with self.started(work, origin, folder) as proxies:
                steps = {THROUGHPUT: self.throughput, RATE: self.rate, IDLE: self.idle}
                steps[work.measure](work, proxies, origin, folder)
        for proxy in proxies.values():
            self.say(work, proxy)

    @contextlib.contextmanager
    def started(self, work: Work, origin: Origin, folder: Path) -> Iterator[dict[str, Proxy]]:
        """All peers, running and checked; a peer that fails its check is reported and left out."""
        with contextlib.ExitStack() as stack:
            proxies = {}
            for peer in self.peers:
                home = folder / peer.name
                home.mkdir()
                home.chmod(0o755)
                port = free_port()
                setup = work.setup.at(port, origin.port, origin.grpc_port, origin.other_port)
                file = peer.write(setup, home)
                command = peer.command(file)
                log = home / "log"
                server = Child(command, log, cores=self.proxy_cores, environment=peer.environment())
                stack.callback(server.stop)
                try:
                    server.wait_for_port(port)
                    proxy = Proxy(peer, server, port)
                    if work.setup.kind == EVERYTHING:
                        proxy.cookie = peer.cookie(loads.told_cookie(port, work.path))
                        proxy.metrics = peer.metrics(setup, home)
                        proxy.log = home / "access.log"
                    proxy.answer_bytes = verify(work, port, proxy.cookie)
                except (Failed, OSError) as error:
                    print(f"  {peer.name} is left out: {error}", flush=True)
                    self.failed = True
                    continue
                proxies[peer.name] = proxy
            yield proxies

    def throughput(
        self, work: Work, proxies: dict[str, Proxy], origin: Origin, folder: Path
    ) -> None:
        routes = work.setup.routes
        targets = loads.write_targets(routes, folder / "targets") if routes else None
        for turn in range(-1, self.rounds):  # round -1 warms up and is thrown away
            for name in rotated(list(proxies), max(turn, 0)):
                proxy = proxies[name]
                seconds = self.seconds if turn >= 0 else 1
                before = origin.counts(), proxy.server.cpu_us(), Clock(proxy, origin)
                load = self.load(work, proxy, seconds, targets)
                unlogged = proxy.log and watch.lines_missing(proxy.log, load["requests"])
                cpu = proxy.server.cpu_us() - before[1]
                others = before[2].others_percent()
                # Then every answer has the bytes of the one that was checked.
                whole = work.tool == WRK and not routes and not work.setup.gzip
                served = load["bytes"] / proxy.answer_bytes if whole else load["requests"]
                errors = load["errors"] or reuse_error(work, before[0], origin.counts())
                errors = errors or unlogged or uncompressed(work, load)
                if turn >= 0:
                    proxy.samples.append(sample(served, load, cpu, errors, others))
        self.found[work.name] = {name: proxy.samples for name, proxy in proxies.items()}

    def load(self, work: Work, proxy: Proxy, seconds: float, targets: Path | None) -> dict:
        port = proxy.port
        if work.tool in (FULL, RESUMED):
            return loads.handshakes(port, work, seconds, self.load_cores)
        if work.tool == STREAMS:
            return loads.streams(port, work, seconds, self.load_cores)
        if work.setup.kind == EVERYTHING:
            with watch.scraping(*proxy.metrics):
                return loads.wrk(port, work, seconds, self.load_cores, None, cookie=proxy.cookie)
        return loads.wrk(port, work, seconds, self.load_cores, targets)

    def rate(self, work: Work, proxies: dict[str, Proxy], origin: Origin, _: Path) -> None:
        for turn in range(self.rounds):
            self.direct.append(self.paced(work, origin.port, None))
            for name in rotated(list(proxies), turn):
                proxy = proxies[name]
                proxy.samples.append(self.paced(work, proxy.port, proxy.server))
        self.found[work.name] = {name: proxy.samples for name, proxy in proxies.items()}

    def paced(self, work: Work, port: int, server: Child | None) -> Sample:
        before = server.cpu_us() if server else 0.0
        load = loads.paced(port, work, RATE_PER_SECOND, self.seconds, self.load_cores)
        cpu = server.cpu_us() - before if server else 0.0
        return sample(load["requests"], load, cpu, load["errors"])

    def idle(self, work: Work, proxies: dict[str, Proxy], _: Origin, __: Path) -> None:
        if work.connections < IDLE_MIN:
            print(f"  left out: the limit of open files allows only {work.connections} connections")
            self.failed = True
            return
        for name, proxy in proxies.items():
            with loads.Idle(proxy.port, work.path, work.setup.tls) as idle:
                idle.add(100)  # pools and caches are taken before the first figure
                before = proxy.server.memory()
                idle.add(work.connections)
                time.sleep(0.2)  # frees that wait for the next turn of a loop
                total = proxy.server.memory()
                alive = idle.alive()
            if alive < work.connections:
                print(f"  {name} kept only {alive} of {work.connections} connections", flush=True)
                self.failed = True
                continue
            self.memory[memory_name(work, name)] = Memory(
                (total - before) / work.connections, total
            )

    def say(self, work: Work, proxy: Proxy) -> None:
        name = proxy.peer.name
        kept = self.memory.get(memory_name(work, name))
        if kept is not None and work.measure == IDLE:
            grown, total = kept.grown_bytes, kept.total_bytes
            print(f"  {name:10} {grown:10,.0f} bytes a connection, {total:,} in all", flush=True)
        if work.measure == IDLE:
            return
        for one in proxy.samples:
            if one.errors:
                print(f"  {name:10} a round does not count: {one.errors}", flush=True)
        found = summarise(proxy.samples)
        if found is None:
            self.failed = True
            return
        print(
            f"  {name:10} {found.cpu_us:8.1f} µs CPU/request"
            f" {found.requests_per_second:10,.0f} req/s"
            f"  p50 {found.p50_us:8.0f} µs  p99 {found.p99_us:8.0f} µs"
            f"  ({found.rounds} rounds, spread {found.spread_percent:.0f} %)",
            flush=True,
        )


def memory_name(work: Work, peer: str) -> str:
    return f"{peer}, TLS" if work.setup.tls else peer


class Clock:
    """Watches the measured cores for a while: whose time was it?"""

    def __init__(self, proxy: Proxy, origin: Origin) -> None:
        self.ours = (proxy.server, origin.server)
        self.begun = self.read()

    def read(self) -> tuple[float, float, float]:
        """Now, the cores' busy time, and ours of it: proxy, origin and load (which has ended)."""
        load = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = sum(one.cpu_us() for one in self.ours) + 1e6 * (load.ru_utime + load.ru_stime)
        return 1e6 * time.monotonic(), machine.busy_us(), ours

    def others_percent(self) -> float:
        passed, busy, ours = (now - then for now, then in zip(self.read(), self.begun, strict=True))
        return max(0.0, 100 * (busy - ours) / (passed * len(set().union(*machine.cores()))))


def sample(
    served: float, load: dict, cpu_us: float, errors: str, others_percent: float = 0.0
) -> Sample:
    return Sample(
        requests_per_second=1e6 * served / load["duration_us"],
        p50_us=load["p50_us"],
        p99_us=load["p99_us"],
        cpu_us=cpu_us / served if served else 0.0,
        errors=errors,
        others_percent=others_percent,
    )


def verify(work: Work, port: int, cookie: str = "") -> int:
    """Checks one answer byte for byte, and the headers added; the bytes of a whole answer."""
    host, path = "bench.example.test", work.path
    if work.setup.kind == GRPC:
        return verify_call(work, port)
    if work.setup.routes:
        host, path = route_target(work.setup.routes - 1)
    tls = work.setup.tls
    status, got, answer_bytes = loads.ask(port, path, host, tls, cookie)
    if status != 200 or got != body(work.size):
        raise Failed(f"GET {path}: status {status}, {len(got)} bytes, not the origin's answer")
    if work.setup.routes:
        status, _, _ = loads.ask(port, "/no-such-route", "no.example.test")
        if status < 400:
            raise Failed(f"a request that no route takes got {status}")
    elif work.setup.kind != RELAY:
        told = loads.ask(port, "/headers", tls=tls)[1]
        wanted = FORWARDED.format("https" if tls else "http").encode()
        if told != wanted:
            raise Failed(f"the origin was told {told!r}, not {wanted!r}")
    return answer_bytes


def verify_call(work: Work, port: int) -> int:
    """The message and, behind it, the trailer without which a client would take it for failed."""
    seen = loads.call(port, work.path).encode(errors="replace")
    if MESSAGE not in seen or b"grpc-status: 0" not in seen:
        raise Failed(f"a gRPC call got no answer: {seen[-300:]!r}")
    return 0


def uncompressed(work: Work, load: dict) -> str:
    """Half the bytes is what even a poor compressor reaches with these answers."""
    if not work.setup.gzip or load["bytes"] < load["requests"] * work.size // 2:
        return ""
    return "the answers were not compressed"


def reuse_error(work: Work, before: tuple[int, int], after: tuple[int, int]) -> str:
    accepted, requests = after[0] - before[0], after[1] - before[1]
    if work.setup.kind == RELAY:
        return ""
    allowed = work.connections * work.streams + NEW_UPSTREAM_MAX * requests
    return f"{accepted} upstream connections for {requests} requests" if accepted > allowed else ""


def present(names: list[str]) -> list[Peer]:
    """The peers that can run here; the reason of each absence is printed."""
    if missing := loads.missing():
        install(tuple(loads.PROGRAMS.values()))
        missing = loads.missing()
    if missing:
        raise SystemExit(missing)
    found = []
    for name in names:
        if reason := PEERS[name].missing():
            if not machine.isolated():  # else it was said before the namespace was entered
                print(f"{name} is left out: {reason}", flush=True)
            continue
        found.append(PEERS[name])
    if not found:
        raise SystemExit("no peer can run here")
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [work.name for work in WORKS]
    split = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--only", type=split, default=[], help=f"some of {','.join(names)}")
    parser.add_argument("--peers", type=split, default=list(PEERS), help="who is measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 second")
    parser.add_argument(
        "--congestion", default="cubic", help="for all alike (root only); 'system' leaves it"
    )
    parser.add_argument("--output", type=Path, default=report.HERE, help="folder of the results")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 1.0
    if unknown := set(options.only) - set(names) | (set(options.peers) - set(PEERS)):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options
