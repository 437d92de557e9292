"""Layer 4 against Layer 7, measured on this machine.

One file has two listeners in front of one origin: a relay, and one whose routes look into the
request. An engine with one worker serves it. The same requests go to the origin directly, through
the relay, and through the router. The balancer has a core to itself where there are two; the load
and the origin share the other. So the rate is what one core of the balancer gives with a busy
neighbour, and the robust figure is the balancer's CPU time per request.

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fourseven.demo.processes import Child, Failed, free_port, open_files

ADDRESS = "127.0.0.1"
CONNECTIONS = 64
RATE_PER_SECOND = 5_000  # far below saturation: latency then is the path's, not the queue's
IDLE_CONNECTIONS = 2_000  # enough to tell bytes per connection from noise
FILES_SPARE = 200  # descriptors that a process needs besides its connections
WARM_SECONDS = 0.3

FILE = """\
workers: 1
listeners:
  relay: {{bind: {address}:{layer4}, backend: origin}}
  router:
    bind: {address}:{layer7}
    routes:
      - {{match: {{path: /videos/}}, backend: origin}}
      - {{match: {{path: /billing/}}, backend: origin}}
      - {{match: {{device: mobile}}, backend: origin}}
      - {{backend: origin}}
backends:
  origin: {{servers: ["{address}:{origin}"]}}
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one way to the origin costs. The balancer's part is 0 for the direct way."""

    requests_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float = 0.0
    idle_bytes: float = 0.0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    direct: Figures
    layer4: Figures
    layer7: Figures
    cores: int
    memory: int  # bytes of the balancer's processes at the end of Layer 7


def compare(
    folder: Path,
    start: Callable[[Path, Path, set[int]], Child],
    seconds: float,
    tell: Callable[[str], None],
) -> Comparison:
    """`start(file, log, cores)` runs the balancer; everything is gone when this returns."""
    open_files()
    balancer_cores, load_cores = split_cores()
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "fourseven.demo.traffic", "origin"]
        origin = Child(command, folder / "origin.log", cores=load_cores, speaks=True)
        stack.callback(origin.stop)
        ports = {"origin": int(origin.read_line()), "layer4": free_port(), "layer7": free_port()}
        file = folder / "measured.yaml"
        file.write_text(FILE.format(address=ADDRESS, **ports))
        tell("measuring the direct way")
        direct = measure(ports["origin"], None, seconds, load_cores)
        found = []
        for name, title in (("layer4", "Layer 4"), ("layer7", "Layer 7")):
            tell(f"measuring {title}")
            # One for each layer: what the first took of memory, the second would get for nothing.
            balancer = start(file, folder / f"{name}.log", balancer_cores)
            stack.callback(balancer.stop)
            balancer.wait_for_port(ports[name])
            found.append(measure(ports[name], balancer, seconds, load_cores))
            memory = balancer.memory()
            balancer.stop()
        layer4, layer7 = found
        return Comparison(direct, layer4, layer7, len(os.sched_getaffinity(0)), memory)


def measure(port: int, balancer: Child | None, seconds: float, cores: set[int]) -> Figures:
    load(port, 0.0, WARM_SECONDS, cores)
    before = balancer.cpu_us() if balancer else 0.0
    fast = load(port, 0.0, seconds, cores)
    cpu = balancer.cpu_us() - before if balancer else 0.0
    paced = load(port, RATE_PER_SECOND, seconds, cores)
    return Figures(
        requests_per_second=1e6 * fast["requests"] / fast["duration_us"],
        p50_us=paced["p50_us"],
        p99_us=paced["p99_us"],
        cpu_us=cpu / fast["requests"] if fast["requests"] else 0.0,
        idle_bytes=idle_bytes(port, balancer) if balancer else 0.0,
        errors=int(fast["errors"] + paced["errors"]),
    )


def load(port: int, rate: float, seconds: float, cores: set[int]) -> dict[str, float]:
    """Runs the load tool as a process of its own."""
    command = [sys.executable, "-m", "fourseven.demo.traffic", "load", ADDRESS, str(port)]
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


def idle_bytes(port: int, balancer: Child) -> float:
    """How many bytes the balancer grows by for each connection that had an answer and now waits."""
    # A relay holds two descriptors for each connection.
    count = min(IDLE_CONNECTIONS, (open_files() - FILES_SPARE) // 3)
    with idle(port, count // 10):  # pools and caches are taken before the first figure
        before = balancer.memory()
        with idle(port, count):
            return (balancer.memory() - before) / count


@contextlib.contextmanager
def idle(port: int, count: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            target = (ADDRESS, port)
            connection = stack.enter_context(socket.create_connection(target, timeout=10))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: demo.example.test\r\n\r\n")
            if not connection.recv(65_536).startswith(b"HTTP/1.1 200"):
                raise Failed("a connection that was to rest got no answer")
        yield


def split_cores() -> tuple[set[int], set[int]]:
    """The balancer's core and the load's; the same one when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return {allowed[-1]}, set(allowed[:1])
