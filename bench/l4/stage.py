"""One way, set up: its lab, two servers of each kind, and the measurements that go through it.

The client has one core, the servers share the other, and the balancer's process (where a way has
one) may use both; for the round trip all of them share one core, so that no wake-up across cores
is part of the figure. Every namespace has the same congestion control.

Laws: a measurement gives (value, why it does not count). Datagrams are counted where they arrive,
by the servers' kernels, read or not.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from bench import loads, machine
from bench.l4.ways import BULK, HTTP, PING, SOURCE, UDP, VIP, Way
from bench.origin import Origin
from bench.works import WEB, Work
from fourseven.demo.processes import START_PATIENCE_SECONDS, Child, Failed, tree
from support.lab import Lab

ROOT = SOURCE.parent
SPEAKS = {"environment": {"PYTHONPATH": f"{ROOT}:{SOURCE}"}, "speaks": True}
KEEP = Work("requests", "", WEB)
NEW = Work("connections", "", WEB, close=True)
Measured = tuple[float, str]


class Stage:
    """A way, running. Use it as a context."""

    def __init__(self, way: Way, congestion: str) -> None:
        self.way, self.congestion = way, congestion
        self.lab: Lab = way.lab()
        self.process: Child | None = None
        self.open = contextlib.ExitStack()
        self.server_cores, self.client_cores = machine.cores()

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
        cores = self.server_cores
        with self.lab.inside(name):
            opened.enter_context(Origin(cores, "0.0.0.0", HTTP))
        origin = [sys.executable, "-m", "fourseven.demo.traffic", "origin"]
        origin += ["--address", "0.0.0.0", "--port", str(PING), "--size", "1"]
        own = [sys.executable, "-m", "bench.l4.traffic"]
        for command in (
            origin,
            [*own, "bulk-server", "0.0.0.0", str(BULK)],
            [*own, "sink", "0.0.0.0", str(UDP)],
        ):
            self.lab.start(name, *command, cores=cores, **SPEAKS).read_line()

    def wait(self) -> None:
        """Returns once every port is served; raises with the log when its process ended."""
        until = time.monotonic() + START_PATIENCE_SECONDS
        for port in (HTTP, PING, BULK):
            while not self.answers(port):
                ended = self.process is not None and self.process.process.poll() is not None
                if ended or time.monotonic() > until:
                    said = self.process.log_tail() if self.process else ""
                    raise Failed(f"{self.way.name} does not serve {VIP}:{port}\n{said}")
                time.sleep(0.05)

    def answers(self, port: int) -> bool:
        """Both servers do: the first few connections meet each of them."""
        for _ in range(4):
            made = self.lab.socket("client", socket.AF_INET, socket.SOCK_STREAM)
            made.settimeout(1)
            try:
                made.connect((VIP, port))
                if port == HTTP:
                    made.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    if not made.recv(1):
                        return False
            except OSError:
                return False
            finally:
                self.lab.sockets.remove(made)
                made.close()
        return True

    def pin(self, cores: set[int]) -> None:
        """The balancer's process, all its threads."""
        for pid in tree(self.process.process.pid) if self.process else ():
            for thread in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread), cores)

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
        found = loads.wrk(HTTP, work, seconds, self.client_cores, None, VIP)
        return 1e6 * found["requests"] / found["duration_us"], found["errors"]

    def ping(self, seconds: float) -> Measured:
        """One request in flight; client, balancer and server on one core."""
        self.pin(self.server_cores)
        try:
            command = [sys.executable, "-m", "fourseven.demo.traffic", "load", VIP, str(PING)]
            command += ["--connections", "1", "--seconds", str(seconds)]
            found = self.tool(command, seconds, self.server_cores)
        finally:
            self.pin(self.server_cores | self.client_cores)
        return found["p50_us"], f"{found['errors']} failed" if found["errors"] else ""

    def bulk_up(self, seconds: float) -> Measured:
        return self.bulk("up", seconds)

    def bulk_down(self, seconds: float) -> Measured:
        return self.bulk("down", seconds)

    def bulk(self, way: str, seconds: float) -> Measured:
        found = self.own("bulk", BULK, way, str(seconds), seconds=seconds)
        return found["bytes"] * 8e-3 / found["duration_us"], "" if found["bytes"] else "no bytes"

    def datagrams(self, seconds: float) -> Measured:
        before = self.arrived()
        found = self.own("datagrams", UDP, str(seconds), seconds=seconds)
        count = self.arrived() - before
        return 1e6 * count / found["duration_us"], "" if count else "none arrived"

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

    def own(self, kind: str, port: int, *more: str, seconds: float) -> dict[str, float]:
        command = [sys.executable, "-m", "bench.l4.traffic", kind, VIP, str(port), *more]
        return self.tool(command, seconds, self.client_cores)

    def tool(self, command: list[str], seconds: float, cores: set[int]) -> dict[str, float]:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{SOURCE}"}
        patience = seconds + loads.TIMEOUT_SECONDS + 5
        found: dict[str, float] = json.loads(loads.run(command, cores, patience, environment))
        return found


MEASURES: dict[str, Callable[[Stage, float], Measured]] = {
    "bulk-up": Stage.bulk_up,
    "bulk-down": Stage.bulk_down,
    "requests": Stage.requests,
    "connections": Stage.connections,
    "ping": Stage.ping,
    "datagrams": Stage.datagrams,
}
