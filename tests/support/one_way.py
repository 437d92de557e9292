"""A network whose only way leads to one neighbour, and the program of a plan run in it.

Nothing truly leaves: a test run says what the program would do, and shows the packet as it would be
sent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from fourseven.l4.bpf.kernel import XDP, Loaded
from fourseven.l4.kernel_plan import KernelPlan
from fourseven.l4.program.decide import program
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.tables import INDEX, SEED
from fourseven.l4.program.wire import Wire
from fourseven.l4.program.xdp import XdpWire
from fourseven.l4.standalone import Standalone
from support.network import own_network

NEAR, NEIGHBOUR = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
PLACES = 1 << 12
# Of the tables' hashes: who shares a place with whom is the same each time. Others by hand.
SEED_OF_TESTS = int(os.environ.get("FOURSEVEN_SEED", "0x243F6A8885A308D3"), 0)


@contextlib.contextmanager
def one_way() -> Iterator[None]:
    """This thread in such a network; packets come by `right` and leave by `left`."""
    with own_network():
        for line in (
            "link add name left type veth peer name right",
            f"link set left address {NEAR.hex(':')}",
            "link set left up",
            "link set right up",
            "addr add 10.9.0.1/24 dev left",
            "addr add fd99::1/64 dev left nodad",
            f"neigh add 10.9.0.2 lladdr {NEIGHBOUR.hex(':')} dev left nud permanent",
            f"neigh add fd99::2 lladdr {NEIGHBOUR.hex(':')} dev left nud permanent",
            "route add default via 10.9.0.2",
            "-6 route add default via fd99::2",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path("/proc/sys/net", path).write_text("1")
        yield


class Stage(Standalone):
    """A plan's data path, with the program of either wire."""

    def __init__(self, plan: KernelPlan, wire: type[Wire] = SkbWire, places: int = PLACES) -> None:
        super().__init__(plan, places)
        self.wire, self.tested = wire, self.loaded
        at = socket.if_nametoindex("right")
        if wire is XdpWire:
            code = program(plan, places, wire).assemble()
            self.tested = self._open.enter_context(Loaded(code, self.tables, XDP))
        self.at = at

    def _load(self, plan: KernelPlan) -> Loaded:
        fresh = "seed" not in self.tables
        loaded = super()._load(plan)
        if fresh and SEED_OF_TESTS:  # 0: one of chance, as the product draws it
            self.tables["seed"].put(INDEX.pack(number=0), SEED.pack(number=SEED_OF_TESTS))
        return loaded

    def run(self, raw: bytes) -> tuple[int, bytes]:
        """What becomes of a packet, and what it becomes."""
        return self.tested.run(raw, self.context(len(raw)))

    @property
    def seed(self) -> int:
        """Of the tables' hashes."""
        return int(self.tables["seed"].get(INDEX.pack(number=0))["number"])

    def context(self, size: int) -> bytes:
        """What the kernel hands over with a packet of so many bytes."""
        if self.wire is XdpWire:
            return struct.pack("=IIIIII", 0, size, 0, self.at, 0, 0)
        told: bytes = SkbWire.CONTEXT.pack(
            ingress_ifindex=self.at
        )  # a frame to 0:0:0:0:0:0 is ours
        return told.ljust(192, b"\0")

    def flood(self, raw: bytes, at: int, count: int) -> None:
        """Runs it on as many packets, which differ in the four bytes there, one after the other."""
        given = ctypes.create_string_buffer(raw, len(raw))
        for i in range(count):
            struct.pack_into(">I", given, at, 0x40000000 + i)
            self.tested._test(given, None, None, repeat=1, flags=0)
