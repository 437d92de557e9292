"""The relay under test: a data plane in this process, real servers on loopback, real clients.

In this process, so that a test sees the counters and the descriptors as they are.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fourseven.balancing.round_robin import RoundRobin
from fourseven.control.dataplane import DataPlane
from fourseven.features import Algorithm
from fourseven.plan import All, BackendPlan, Expression, ListenerPlan, Plan, RoutePlan, ServerPlan
from fourseven.snapshot.layout import ListenerMode
from support.turns import caught_up

PATIENCE_S = 20.0  # a machine that is shared; a test that passes never waits for it


def until(holds: Callable[[], object], what: str = "it") -> None:
    """Waits until something holds that no event tells of."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.002)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Nobody:
    """An address where nobody listens. It is held: a port that is merely free is somebody's in a
    moment, for other tests run beside this one."""

    def __init__(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_DGRAM:  # it hears itself alone; others get an ICMP error
            self.socket.connect(self.socket.getsockname())

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.socket.getsockname())

    def close(self) -> None:
        self.socket.close()


def reset(sock: socket.socket) -> None:
    """Closes it with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Server:
    """A TCP server; `serve(connection, number)` runs in a thread for each connection."""

    def __init__(self, serve: Callable[[socket.socket, int], object], host: str = "127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.create_server((host, 0), family=family, backlog=1024)
        self.serve = serve
        self.accepted = 0
        self.threads: list[threading.Thread] = []
        self.open: set[socket.socket] = set()
        self.faults: list[BaseException] = []
        self.acceptor = threading.Thread(target=self.accept)
        self.acceptor.start()

    @property
    def address(self) -> str:
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.run, args=(connection, self.accepted))
            self.accepted += 1
            self.threads.append(thread)
            thread.start()

    def run(self, connection: socket.socket, number: int) -> None:
        try:
            with connection:
                self.open.add(connection)
                connection.settimeout(PATIENCE_S)
                self.serve(connection, number)
        except OSError as fault:
            self.faults.append(fault)
        finally:
            self.open.discard(connection)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.acceptor.join()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()


def echo(connection: socket.socket, number: int = 0) -> None:
    while data := connection.recv(65_536):
        connection.sendall(data)


class Udp:
    """A UDP server that answers each datagram with `answer(data)`, if that is not None."""

    def __init__(
        self, answer: Callable[[bytes], bytes | None] = lambda data: data, host: str = "127.0.0.1"
    ):
        self.socket = socket.socket(
            socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM
        )
        self.socket.bind((host, 0))
        self.answer = answer
        self.got: list[bytes] = []
        self.log: list[tuple[bytes, object]] = []
        self.peers: set[object] = set()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    address = Server.address

    def run(self) -> None:
        while True:
            data, peer = self.socket.recvfrom(65_536)
            if data == b"stop it" and peer[1] == self.socket.getsockname()[1]:
                return
            self.got.append(data)
            self.peers.add(peer)
            self.log.append((data, peer))
            answer = self.answer(data)
            if answer is not None:
                self.socket.sendto(answer, peer)

    def close(self) -> None:
        self.socket.sendto(b"stop it", self.socket.getsockname())
        self.thread.join()
        self.socket.close()


class Relay:
    """One listener, one backend, and the workers behind them."""

    def __init__(self, udp: bool, host: str, workers: int):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        self.udp = udp
        self.sockets: list[socket.socket] = []
        port = 0
        for _ in range(workers if udp else 1):
            one = socket.socket(family, kind)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((host, port))
            port = one.getsockname()[1]
            if not udp:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.listen(1024)
            one.setblocking(False)
            self.sockets.append(one)
        self.port = port
        self.host = host
        self.plane = DataPlane(workers)
        self.plan: Plan | None = None
        self.running = False

    def publish(
        self,
        servers: list[str] | list[tuple[str, int]],
        algorithm: Algorithm | None = None,
        match: Expression = All(),  # noqa: B008 (frozen)
        backend: dict[str, object] | None = None,
        max_in_flight: int = 0,
        **listener: object,
    ) -> None:
        algorithm = algorithm or RoundRobin()
        weighted = [server if isinstance(server, tuple) else (server, 1) for server in servers]
        picker = algorithm.lower(weighted)
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self.plan = Plan(
            listeners=(
                ListenerPlan(
                    name="relay",
                    bind=(f"{'udp' if self.udp else 'tcp'}://{shown}:{self.port}",),
                    mode=ListenerMode.MODE_RELAY_UDP if self.udp else ListenerMode.MODE_RELAY_TCP,
                    routes=(RoutePlan("all", match, (("servers", 1),)),),
                    **listener,
                ),
            ),
            backends=(
                BackendPlan(
                    name="servers",
                    servers=tuple(ServerPlan(a, w, max_in_flight) for a, w in weighted),
                    algorithm=algorithm.key,
                    pick=picker.pick,
                    table=picker.table,
                    hash_prefix_v4=picker.hash_prefix_v4,
                    hash_prefix_v6=picker.hash_prefix_v6,
                    **(backend or {}),
                ),
            ),
        )
        self.plane.publish(self.plan, {"relay": [one.fileno() for one in self.sockets]})
        if not self.running:
            self.plane.start()
            self.running = True

    def publish_nothing(self) -> None:
        """The listener leaves the file; the backend stays."""
        assert self.plan is not None
        self.plane.publish(replace(self.plan, listeners=()), {})

    def client(self, host: str | None = None) -> socket.socket:
        host = host or {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(self.host, self.host)
        if not self.udp:
            return socket.create_connection((host, self.port), timeout=PATIENCE_S)
        one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        one.settimeout(PATIENCE_S)
        one.connect((host, self.port))
        return one

    # ---- what was counted, once the workers have done all that had come to them ----

    def counters(self) -> dict[str, Any]:
        if self.running:
            caught_up(self.plane)
        return self.plane.counters()

    @property
    def listener(self) -> dict[str, int]:
        return self.counters()["listeners"]["relay"]

    @property
    def workers(self) -> dict[str, int]:
        return self.counters()["workers"]

    def server(self, at: int = 0) -> dict[str, int]:
        assert self.plan is not None
        address = self.plan.backends[0].servers[at].address
        return self.counters()["servers"]["servers", address]

    def in_flight(self) -> int:
        return sum(server["in_flight"] for server in self.counters()["servers"].values())

    def sessions(self) -> int:
        if self.running:
            caught_up(self.plane)
        return self.plane.busy()

    def close(self) -> None:
        if self.running:
            self.plane.stop()
            self.running = False
        counters = self.plane.counters()
        assert self.plane.fatal() == 0
        assert self.in_flight() == 0
        assert self.sessions() == 0
        assert counters["workers"].get("buffers_large", 0) == 0
        assert counters["workers"].get("pipes", 0) == 0
        for one in self.sockets:
            one.close()
