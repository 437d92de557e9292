"""One way, set up: its lab, two servers of each kind, and the measurements that go through it.

Client, servers and the balancer's process (where a way has one) share one core, and a rate is per
second of that core's time which went to this path: the client, the servers, the balancer, and the
kernel's work on the packets, which it charges to whoever happens to run. So the figure is the cost
of the whole path, a neighbour's share of the core does not count, and no wake-up across cores, dear
and erratic in a virtual machine, is part of it. Every namespace has the same congestion control.

Laws: a measurement gives (value, why it does not count). Datagrams are counted where they arrive,
by the servers' kernels, read or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from bench import loads, machine
from bench.l4 import packets
from bench.l4.ways import BULK, ECHO, HTTP, PING, SOURCE, UDP, VIP, Way
from bench.origin import Origin
from bench.works import WEB, Work
from fourseven.demo.processes import START_PATIENCE_SECONDS, Child, Failed, cpu_us, tree
from support.lab import Lab

ROOT = SOURCE.parent
DEMO = [sys.executable, "-m", "fourseven.demo.traffic"]
SPEAKS = {"environment": {"PYTHONPATH": f"{ROOT}:{SOURCE}:{ROOT}/tests"}, "speaks": True}
KEEP = Work("requests", "", WEB)
NEW = Work("connections", "", WEB, close=True)
Measured = tuple[float, str]
LOST_MAX = 0.01  # of the packets fed: beyond, the rate is not one of forwarding


class Stage:
    """A way, running. Use it as a context."""

    def __init__(self, way: Way, congestion: str) -> None:
        self.way, self.congestion = way, congestion
        self.lab: Lab = way.lab()
        self.process: Child | None = None
        self.open = contextlib.ExitStack()
        self.cores, _ = machine.cores()
        self.origins: list[Child] = []
        self.turn = 0
        self.softirq = softirq_threads(self.cores)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            lab = opened.enter_context(self.lab)
            if self.congestion != "system":
                self.set_congestion()
            lab.spaces["client"].sysctl([("ipv4/ip_local_port_range", "10000 65000")])
            for name in lab.servers:
                self.serve(name, opened)
            self.process = self.way.start(lab)
            self.wait()
            self.pin()
            self.open = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def set_congestion(self) -> None:
        """By route, as only that permits any that the kernel has; it binds both ends."""
        for name in self.lab.spaces:
            routes = self.lab.run(name, "ip", "-4", "route", "show").stdout.splitlines()
            chosen = f"congctl {self.congestion}"
            self.lab.ip(name, *(f"route replace {route} {chosen}" for route in routes))

    def serve(self, name: str, opened: contextlib.ExitStack) -> None:
        """An HTTP server, one for round trips, one for bulk, and a sink, on every address."""
        cores = self.cores
        with self.lab.inside(name):
            origin_of = opened.enter_context(Origin(cores, "0.0.0.0", HTTP))
        self.origins.append(origin_of.server)
        own = [sys.executable, "-m", "bench.l4.traffic"]
        for command in (
            [*DEMO, "echo", "--address", "0.0.0.0", "--port", str(PING)],
            [*own, "bulk-server", "0.0.0.0", str(BULK)],
            [*own, "sink", "0.0.0.0", str(UDP)],
            [sys.executable, "-m", "support.lab_servers", "echo", str(ECHO), name],
        ):
            self.lab.start(name, *command, cores=cores, **SPEAKS).read_line()

    def wait(self) -> None:
        """Returns once every port is served; raises with the log when its process ended."""
        until = time.monotonic() + START_PATIENCE_SECONDS
        for port in (HTTP, PING, BULK, ECHO):
            while not (self.way.ready(self.lab) and self.answers(port)):
                ended = self.process is not None and self.process.process.poll() is not None
                if ended or time.monotonic() > until:
                    said = self.process.log_tail() if self.process else ""
                    raise Failed(f"{self.way.name} does not serve {VIP}:{port}\n{said}")
                time.sleep(0.05)

    def answers(self, port: int) -> bool:
        """Both servers do: the first few connections meet each of them."""
        return all(self.answered(port) for _ in range(4))

    def answered(self, port: int) -> bool:
        with self.lab.inside("client"), socket.socket() as made:
            made.settimeout(1)
            try:
                made.connect((VIP, port))
                if port == HTTP:
                    made.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    return bool(made.recv(1))
            except OSError:
                return False
        return True

    def pin(self) -> None:
        """The balancer's process, all its threads, to the core."""
        for pid in tree(self.process.process.pid) if self.process else ():
            for thread in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread), self.cores)

    def cpu_us(self) -> float:
        """Of servers, balancer and the kernel's own threads so far; the client counts its own."""
        children = (*self.lab.children, *self.origins)
        return sum(child.cpu_us() for child in children) + sum(map(cpu_us, self.softirq))

    # ---- measurements ----

    def measure(self, name: str, seconds: float) -> Measured:
        """One round of one work."""
        with self.lab.inside("client"):
            return MEASURES[name](self, seconds)

    def requests(self, seconds: float) -> Measured:
        return self.wrk(KEEP, seconds)

    def connections(self, seconds: float) -> Measured:
        return self.wrk(NEW, seconds)

    def wrk(self, work: Work, seconds: float) -> Measured:
        before, own = self.cpu_us(), ended_us()
        found = loads.wrk(HTTP, work, seconds, self.cores, None, VIP)
        spent = self.cpu_us() - before + ended_us() - own
        return 1e6 * found["requests"] / spent, found["errors"]

    def ping(self, seconds: float) -> Measured:
        """One byte there and back at a time, by the clock on the wall."""
        command = [*DEMO, "bounce", VIP, str(PING), "--seconds", str(seconds)]
        found = self.tool(command, seconds)
        return found["p50_us"], "" if found["count"] else "no round trip"

    def bulk_up(self, seconds: float) -> Measured:
        return self.bulk("up", seconds)

    def bulk_down(self, seconds: float) -> Measured:
        return self.bulk("down", seconds)

    def bulk(self, way: str, seconds: float) -> Measured:
        found, spent = self.own("bulk", BULK, way, str(seconds), seconds=seconds)
        return found["bytes"] * 8e-3 / spent, "" if found["bytes"] else "no bytes"

    def datagrams(self, seconds: float) -> Measured:
        before = self.arrived()
        _, spent = self.own("datagrams", UDP, str(seconds), seconds=seconds)
        count = self.arrived() - before
        return 1e6 * count / spent, "" if count else "none arrived"

    def arrived(self) -> int:
        """Datagrams that the servers' kernels took to their sockets, whether there was room."""
        total = 0
        for name in self.lab.servers:
            with self.lab.inside(name):
                lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
            names, values = (line.split()[1:] for line in lines if line.startswith("Udp:"))
            row = dict(zip(names, map(int, values), strict=True))
            total += row["InDatagrams"] + row["RcvbufErrors"]
        return total

    def own(
        self, kind: str, port: int, *more: str, seconds: float
    ) -> tuple[dict[str, float], float]:
        """One of traffic.py's: what it says, and the CPU time of the whole path."""
        command = [sys.executable, "-m", "bench.l4.traffic", kind, VIP, str(port), *more]
        before = self.cpu_us()
        found = self.tool(command, seconds)
        return found, self.cpu_us() - before + found["cpu_us"]

    def tool(self, command: list[str], seconds: float) -> dict[str, float]:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{SOURCE}"}
        patience = seconds + loads.TIMEOUT_SECONDS + 5
        found: dict[str, float] = json.loads(loads.run(command, self.cores, patience, environment))
        return found

    def packets(self, flows: int, seconds: float) -> Measured:
        """Millions a second; see packets.py."""
        self.turn += 1
        spent, count, fed = packets.rate(
            self.lab, self.way.name, flows, seconds, self.cores, self.turn, self.softirq
        )
        lost = 1 - count / fed if fed else 1.0
        return count / spent, f"{lost:.0%} were lost" if lost > LOST_MAX else ""


def ended_us() -> float:
    """CPU time of the children that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e6 * (used.ru_utime + used.ru_stime)


def softirq_threads(cores: set[int]) -> list[int]:
    """The kernel's threads that take over packets when there are many."""
    wanted = {f"ksoftirqd/{core}" for core in cores}
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text().strip() in wanted:
                found.append(int(entry.name))
    return found


MEASURES: dict[str, Callable[[Stage, float], Measured]] = {
    "bulk-up": Stage.bulk_up,
    "bulk-down": Stage.bulk_down,
    "requests": Stage.requests,
    "connections": Stage.connections,
    "ping": Stage.ping,
    "datagrams": Stage.datagrams,
    "pps-64": lambda stage, seconds: stage.packets(64, seconds),
    "pps-16k": lambda stage, seconds: stage.packets(1 << 14, seconds),
    "pps-new": lambda stage, seconds: stage.packets(0, seconds),
}
