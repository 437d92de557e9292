"""A kernel plane in the balancer of a lab, driven from the same file as the product.

    with Lab() as lab, Driven(lab, "nftables") as plane:
        plane.put(FILE)                    the plan of a file, in force
        made, name = plane.connect()       a connection to the VIP, and the server that answered
        plane.counters(), .flows(), …      what the plane itself says, asked inside

The plane is the object that control looks after, in this process; every call steps into the
balancer's namespace.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import load
from fourseven.control.kernel import OPENERS
from fourseven.l4.abilities import ABILITIES
from fourseven.l4.kernel_plan import MODES, KernelPlan, kernel_plan
from fourseven.l4.kernel_plane import Home, PlaneCounts
from fourseven.plan import Plan
from support.lab import BALANCER, DIRECT, MASQUERADE, ROUTED, VIPS, Lab, address
from support.network import why_not
from support.relay_plane import FREEBIND, RelayPlane

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
V4, V6 = socket.AF_INET, socket.AF_INET6
PLANES = [name for name, ability in ABILITIES.items() if ability.modes]
PORT = 80
RELAY = "relay"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no farewell
PATIENCE_S = 20.0


def until(holds: Callable[[], object], what: str = "it") -> None:
    """Waits until something holds that no packet tells of: who has sent does not know when the
    balancer's kernel has taken it, which may be on another processor."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


# ---- the rows of the table: plane, family, way back ----

FAMILIES = {"v4": V4, "v6": V6}
BACKS = (ROUTED, MASQUERADE, DIRECT)
EVERY = [
    pytest.param(
        plane,
        FAMILIES[family],
        back,
        id=f"{plane}-{family}-{back}",
        marks=pytest.mark.skipif(bool(why_not(plane)), reason=why_not(plane) or "it can"),
    )
    for plane, family, back in itertools.product(PLANES, FAMILIES, BACKS)
    if MODES[back] in ABILITIES[plane].modes
]
# Where answers come back by the balancer; past it, only half of a flow is seen there.
CASES = [case for case in EVERY if case.values[2] != DIRECT]
SIMPLE = [case for case in CASES if case.values[2] == ROUTED]  # the way back changes nothing
ANY = [case for case in CASES if case.values[1:] == (V4, ROUTED)]  # nor the family
# The relay ends connections, and servers see us: what packets alone can tell is not asked of it.
RELAYED = [
    pytest.param(RELAY, FAMILIES[family], MASQUERADE, id=f"{RELAY}-{family}") for family in FAMILIES
]
RELAYED_V4 = RELAYED[:1]


def at(host: str, port: int | str) -> str:
    """An address as a file has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def file(
    lab: Lab,
    family: int,
    *,
    servers: tuple[int, ...] = (1, 2),
    weights: tuple[int, ...] = (),
    binds: tuple[str, ...] = (),
    balance: str = "round_robin",
    plane: str = "auto",
) -> str:
    """Listeners `tcp` and `udp` before a backend `all`."""
    binds = binds or (at(VIPS[family], port_of(lab)),)
    ends = [at(address(f"server{n}", family), 7000) for n in servers]
    said = [
        f'{{address: "{one}", weight: {weight}}}'
        for one, weight in zip(ends, weights or (1,) * len(ends), strict=True)
    ]
    return f"""\
listeners:
  tcp: {{bind: [{", ".join(f'"{b}"' for b in binds)}], backend: all, plane: {plane}}}
  udp: {{bind: [{", ".join(f'"udp://{b}"' for b in binds)}], backend: all, plane: {plane}}}
backends:
  all: {{servers: [{", ".join(said)}], balance: {balance}, return_path: {lab.back}}}
"""


def port_of(lab: Lab) -> int:
    """Servers that answer past the balancer must have the listener's port."""
    return 7000 if lab.back == DIRECT else PORT


class Driven:
    """A plane in a lab's balancer, and clients of it."""

    def __init__(self, lab: Lab, name: str, family: int = V4) -> None:
        self.lab, self.name, self.family = lab, name, family
        self.plane: Any = None
        self.stood: list[str] = []
        self.sockets = len(lab.sockets)

    def __enter__(self) -> Driven:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        # The lab may be another test's next, and a port comes round again: servers must not believe
        # that an old connection from it is still there. A reset ends both sides at once.
        for one in self.lab.sockets[self.sockets :]:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            one.close()
        del self.lab.sockets[self.sockets :]
        if self.plane is not None:
            self.close(True)

    def open(self) -> None:
        if self.name == "xdp":
            self.lab.whole_frames()
        with self.inside():
            relayed = self.name == RELAY
            self.plane = RelayPlane() if relayed else OPENERS[self.name](Home("lab"))

    def inside(self) -> contextlib.AbstractContextManager[None]:
        return self.lab.inside(BALANCER)

    def plan(self, text: str) -> KernelPlan | Plan:
        path = self.lab.folder / "f.yaml"
        path.write_text(text)
        whole = compile_plan(load(str(path)))
        if self.name == RELAY:
            assert {one.plane for one in whole.listeners} == {RELAY}
            return whole
        found = kernel_plan(whole, self.name)
        assert {s.mode for s in found.services} == {MODES[self.lab.back]}
        return found

    def put(self, text: str = "", **more: Any) -> None:
        """A file is in force: this one, or that of `file` with these options."""
        plan = self.plan(text or file(self.lab, self.family, plane=self.name, **more))
        with self.inside():
            self.plane.apply(plan)
            if not self.stood:
                assert self.plane.stand(self.lab.interfaces()) == []
                self.stood = self.lab.interfaces()

    def close(self, remove: bool) -> None:
        with self.inside():
            self.plane.close(remove)
        self.plane = None

    def still(self) -> PlaneCounts:
        """The counters, all of one moment: a late acknowledgement may come while they are read."""
        until = time.monotonic() + PATIENCE_S
        before, now = None, self.counters()
        while before != now:
            assert time.monotonic() < until, "packets come all the time"
            before, now = now, self.counters()
        return now

    def __getattr__(self, name: str) -> Any:
        """What the plane is asked, inside; what it lists is read to its end there."""

        def asked(*arguments: Any) -> Any:
            with self.inside():
                found = getattr(self.plane, name)(*arguments)
                return list(found) if isinstance(found, Iterator) else found

        return asked

    # ---- clients ----

    def connect(
        self, to: str = "", port: int = 0, *, who: str = "client", source: str = ""
    ) -> tuple[socket.socket, str, str]:
        """(connection, server's name, whom the server sees)."""
        made = self.socket(TCP, who, source)
        to, port = to or VIPS[self.family], port or port_of(self.lab)
        made.connect((to, port))
        assert made.getpeername()[:2] == (to, port)
        name, seen = read_line(made).split()
        return made, name, seen

    def asking(self, source: str = "", who: str = "client") -> socket.socket:
        return self.socket(UDP, who, source)

    def socket(self, kind: int, who: str, source: str = "") -> socket.socket:
        """A socket of a node, perhaps at another of the addresses that it answers for."""
        made = self.lab.socket(who, self.family, kind)
        if source:
            made.setsockopt(*FREEBIND[self.family], 1)
            made.bind((source, 0))
        return made

    def ask(self, asking: socket.socket, text: bytes, to: str = "", port: int = 0) -> str:
        """The name of the server that answers a datagram."""
        to, port = to or VIPS[self.family], port or port_of(self.lab)
        asking.sendto(text, (to, port))
        data, peer = asking.recvfrom(65_536)
        assert peer[:2] == (to, port)
        name, _, rest = data.partition(b" ")
        assert rest == text
        return name.decode()


def read_line(made: socket.socket) -> str:
    got = b""
    while not got.endswith(b"\n"):
        piece = made.recv(1)
        assert piece, "closed before its end"
        got += piece
    return got.decode()


def echoes(made: socket.socket, text: bytes) -> bool:
    made.sendall(text)
    got = b""
    while len(got) < len(text):
        piece = made.recv(65_536)
        if not piece:
            return False
        got += piece
    return got == text


def whole(made: socket.socket, size: int) -> bool:
    """Sends and gets back as many bytes, both at once; are they the same?"""
    data = os.urandom(1 << 20)
    wanted, got = hashlib.sha256(), hashlib.sha256()

    def send() -> None:
        for _ in range(size >> 20):
            made.sendall(data)
            wanted.update(data)

    sending = threading.Thread(target=send)
    sending.start()
    left = size
    while left:
        piece = made.recv(min(left, 1 << 18))
        if not piece:
            return False
        got.update(piece)
        left -= len(piece)
    sending.join()
    return got.digest() == wanted.digest()


def gone(made: socket.socket) -> bool:
    """Is a connection answered with a reset, sooner or later?"""
    try:
        while True:
            made.sendall(b"is anybody there?")
            if not made.recv(65_536):
                return True
    except (ConnectionResetError, BrokenPipeError):
        return True
    except TimeoutError:
        return False


def surroundings(driven: Driven | Lab) -> dict[str, str]:
    """Everything of the network that somebody could have left something in."""
    asked = {
        "rules": ["nft", "list", "ruleset"],
        "queues": ["tc", "qdisc", "show"],
        "addresses": ["ip", "addr", "show"],
        "routes": ["ip", "route", "show", "table", "all"],
        "policy": ["ip", "rule", "show"],
    }
    with driven.inside() if isinstance(driven, Driven) else driven.inside(BALANCER):
        found = {
            name: subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for name, command in asked.items()
        }
        for path in Path("/proc/sys/net/netfilter").glob("nf_conntrack_[at]*"):
            if path.name in ("nf_conntrack_acct", "nf_conntrack_timestamp"):
                found[path.name] = path.read_text()
    found["routes"] = "\n".join(sorted(found["routes"].split("\n")))
    return found
