"""Layer 4 against Layer 7, measured on this machine.

The same requests go to one origin directly and through a listener: served by a kernel plane (where
`network` finds that it can be), by the relay, and by routes that look into the request. An engine
with one worker serves one of them at a time. The balancer has a core to itself where there are two;
the load and the origin share the other. So the rate is what one core of the balancer gives with a
busy neighbour, and the robust figures are CPU times per request.

In the kernel planes no process of the balancer has anything to do: packets are rewritten by the
core that sends them. Only the CPU time of the whole path (load, origin, balancer, and the kernel's
work on packets, which is charged to whoever runs) can be compared with the other ways.

The load is modest on purpose: one thread, keep-alive connections, one request repeated, seconds
rather than minutes. `make bench` is the thorough one.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fourseven.demo.network import Place
from fourseven.demo.processes import Child, Failed, cpu_us, free_port, open_files

CONNECTIONS = 64
RATE_PER_SECOND = 5_000  # far below saturation: latency then is the path's, not the queue's
IDLE_CONNECTIONS = 2_000  # enough to tell bytes per connection from noise
FILES_SPARE = 200  # descriptors that a process needs besides its connections
WARM_SECONDS = 0.3

FILE = """\
workers: 1
shutdown_timeout: 1s
listeners:
  measured: {{bind: {bind}, {rest}}}
backends:
  origin: {{servers: ["{origin}"], return_path: masquerade}}
"""
SIMPLE = "backend: origin, plane: {plane}"
ROUTES = """\
routes: [
    {match: {path: /videos/}, backend: origin},
    {match: {path: /billing/}, backend: origin},
    {match: {device: mobile}, backend: origin},
    {backend: origin}]"""
RELAY, HTTP = "relay", "HTTP"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one way to the origin costs. The balancer's part is 0 for the direct way."""

    requests_per_second: float
    p50_us: float
    p99_us: float
    path_us: float  # of all who take part
    cpu_us: float = 0.0
    idle_bytes: float | None = None  # None: no process holds anything
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    direct: Figures
    layer4: Figures
    layer7: Figures
    cores: int
    memory: int  # bytes of the balancer's processes at the end of Layer 7
    planes: dict[str, Figures]  # of the kernel
    apart: bool  # in a network of its own, not on loopback
    notes: tuple[str, ...]  # why a plane is not here


def compare(
    place: Place,
    folder: Path,
    start: Callable[[Path, Path, set[int], Sequence[str]], Child],
    seconds: float,
    tell: Callable[[str], None],
) -> Comparison:
    """`start(file, log, cores, program)` runs the balancer; everything is gone at the return."""
    open_files()
    balancer_cores, load_cores = split_cores()
    command = [sys.executable, "-m", "fourseven.demo.traffic", "origin", "--address", place.origin]
    found, notes, memory = {}, list(place.notes), 0
    with contextlib.ExitStack() as stack:
        with place.server():
            origin = Child(command, folder / "origin.log", cores=load_cores, speaks=True)
        stack.callback(origin.stop)
        port = int(origin.read_line())
        tell("measuring the direct way")
        direct = Way(place, origin, load_cores, place.origin, port).measure(seconds)
        for name in (*place.planes, RELAY, HTTP):
            tell(f"measuring {name}")
            way = Way(place, origin, load_cores, place.front, free_port())
            file = folder / f"{name}.yaml"
            file.write_text(way.file(name, port))
            # One for each: what the first took of memory, the second would get for nothing.
            with place.balancer():
                way.balancer = start(file, folder / f"{name}.log", balancer_cores, place.program)
            try:
                way.wait()
                found[name] = way.measure(seconds, resting=name not in place.planes)
                memory = way.balancer.memory()
            except Failed as failed:
                if name not in place.planes:
                    raise
                notes.append(f"No {name}: {str(failed).strip().splitlines()[-1]}")
            finally:
                way.balancer.stop()
    cores = len(os.sched_getaffinity(0))
    relay, http = found.pop(RELAY), found.pop(HTTP)
    return Comparison(direct, relay, http, cores, memory, found, place.apart, tuple(notes))


@dataclass(slots=True)
class Way:
    """One way from the client to the origin; without a balancer it is the direct one."""

    place: Place
    origin: Child
    cores: set[int]  # of the load
    address: str
    port: int
    balancer: Child | None = None

    def file(self, name: str, origin_port: int) -> str:
        """What the balancer is to serve: one listener, in the way of that name."""
        rest = ROUTES if name == HTTP else SIMPLE.format(plane=name)
        origin = f"{self.place.origin}:{origin_port}"
        return FILE.format(bind=f"{self.address}:{self.port}", rest=rest, origin=origin)

    def wait(self) -> None:
        """Until it is served, and by the plane that it is to be: before, the relay answers."""
        assert self.balancer is not None
        self.balancer.wait_for_words("engine.ready")
        with self.place.client():
            self.balancer.wait_for_port(self.port, self.address)

    def measure(self, seconds: float, resting: bool = False) -> Figures:
        self.load(0.0, WARM_SECONDS)
        balancer, others = self.balancer_us(), self.others_us()
        fast = self.load(0.0, seconds)
        balancer, others = self.balancer_us() - balancer, self.others_us() - others
        paced = self.load(RATE_PER_SECOND, seconds)
        count = fast["requests"] or 1
        return Figures(
            requests_per_second=1e6 * fast["requests"] / fast["duration_us"],
            p50_us=paced["p50_us"],
            p99_us=paced["p99_us"],
            path_us=(balancer + others + fast["cpu_us"]) / count,
            cpu_us=balancer / count,
            idle_bytes=self.idle_bytes() if resting else None,
            errors=int(fast["errors"] + paced["errors"]),
        )

    def load(self, rate: float, seconds: float) -> dict[str, float]:
        with self.place.client():
            return load(self.address, self.port, rate, seconds, self.cores)

    def balancer_us(self) -> float:
        return self.balancer.cpu_us() if self.balancer else 0.0

    def others_us(self) -> float:
        """Of the origin, and of the kernel's threads for packets; the load counts its own."""
        return self.origin.cpu_us() + sum(map(cpu_us, packet_threads()))

    def idle_bytes(self) -> float:
        """How much the balancer grows by for each connection that had an answer and now waits."""
        assert self.balancer is not None
        # A relay holds two descriptors for each connection.
        count = min(IDLE_CONNECTIONS, (open_files() - FILES_SPARE) // 3)
        with self.place.client(), idle(self.address, self.port, count // 10):
            before = self.balancer.memory()  # pools and caches were taken before
            with idle(self.address, self.port, count):
                return (self.balancer.memory() - before) / count


def load(address: str, port: int, rate: float, seconds: float, cores: set[int]) -> dict[str, float]:
    """Runs the load tool as a process of its own."""
    command = [sys.executable, "-m", "fourseven.demo.traffic", "load", address, str(port)]
    command += ["--connections", str(CONNECTIONS), "--rate", str(rate), "--seconds", str(seconds)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + 20,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    if done.returncode:
        raise Failed(f"the load ended with {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def idle(address: str, port: int, count: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            made = socket.create_connection((address, port), timeout=10)
            connection = stack.enter_context(made)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: demo.example.test\r\n\r\n")
            if not connection.recv(65_536).startswith(b"HTTP/1.1 200"):
                raise Failed("a connection that was to rest got no answer")
        yield


def split_cores() -> tuple[set[int], set[int]]:
    """The balancer's core and the load's; the same one when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return {allowed[-1]}, set(allowed[:1])


def packet_threads() -> list[int]:
    """The kernel's threads that take over packets when there are many."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if comm.read_text().startswith("ksoftirqd/"):
                found.append(int(comm.parent.name))
    return found
