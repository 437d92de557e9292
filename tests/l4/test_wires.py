"""Both wires, packet by packet: what is read, rewritten and sent, and what is left alone.

The decision here is the plainest: a table says what the ends of a packet become. So what is judged
is the wire alone, against packets that Python reads and writes.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
from collections import Counter

import pytest

from fourseven.l4.bpf.build import HASH, Program
from fourseven.l4.bpf.kernel import TCX_INGRESS, XDP, Loaded, Table
from fourseven.l4.bpf.layout import BE16, BE32, U8, Array, Struct
from fourseven.l4.kernel_plan import End
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.wire import HOP, To
from fourseven.l4.program.xdp import TX, XdpWire
from support.network import own_network, why_not
from support.packets_l4 import RECIPE, packet
from support.reference_l4 import Packet

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")

PACKETS = int(os.environ.get("FOURSEVEN_PACKETS", "20480")) // 4
NEAR, NEIGHBOUR = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
HOOKS = {SkbWire: TCX_INGRESS, XdpWire: XDP}
WORDS = {4: 1, 6: 4}
MTU = 1400


def layouts(family: int) -> tuple[Struct, Struct]:
    address = Array(BE32, WORDS[family])
    ends = {
        "source": address,
        "destination": address,
        "source_port": BE16,
        "destination_port": BE16,
    }
    return (
        Struct(f"key{family}", **ends, protocol=U8, spare=Array(U8, 3)),
        Struct(f"row{family}", **ends, **HOP),
    )


KEYS = {family: layouts(family)[0] for family in WORDS}
ROWS = {family: layouts(family)[1] for family in WORDS}


def written(wire_class, families=(4, 6)) -> Program:
    p = Program("wires", wire_class.CONTEXT)
    rows = {f: p.map(f"rows{f}", HASH, KEYS[f], ROWS[f], 65536) for f in families}
    wire = wire_class(p, {f: KEYS[f] for f in families}, {6, 17})

    def write() -> None:
        row = p.lookup(rows[4 if wire.v4 else 6], "row", wire.key)
        with p.when(row.missing):
            wire.leave()
        wire.reach(row, wire.ticks(), row.source, row.destination)
        wire.rewrite(
            source=To(row.source, row.source_port),
            destination=To(row.destination, row.destination_port),
        )
        wire.forward(row)

    wire.parse(write)
    return p


def words(address: int, family: int) -> tuple[int, ...]:
    return tuple(address >> 32 * i & 0xFFFFFFFF for i in reversed(range(WORDS[family])))


class Stage:
    """A wire's program in a network whose only way leads by `left` to one neighbour."""

    def __init__(self, wire_class) -> None:
        program = written(wire_class)
        self.wire = wire_class
        self.tables = {name: Table(form) for name, form in program.maps.items()}
        self.loaded = Loaded(program.assemble(), self.tables, HOOKS[wire_class])
        self.left, self.right = (socket.if_nametoindex(name) for name in ("left", "right"))

    def close(self) -> None:
        for one in (self.loaded, *self.tables.values()):
            one.close()

    def teach(self, before: Packet, source: End, destination: End) -> None:
        family = 4 if before.v4 else 6
        ends = [before.source, before.destination]
        key = KEYS[family].pack(**self.ends(family, *ends), protocol=before.protocol)
        self.tables[f"rows{family}"].put(
            key, ROWS[family].pack(**self.ends(family, source, destination))
        )

    @staticmethod
    def ends(family: int, source: End, destination: End) -> dict:
        return {
            "source": words(source.address, family),
            "destination": words(destination.address, family),
            "source_port": source.port,
            "destination_port": destination.port,
        }

    def run(self, raw: bytes, interface: int | None = None) -> tuple[int, bytes]:
        at = interface or self.right
        if self.wire is XdpWire:
            context = struct.pack("=IIIIII", 0, len(raw), 0, at, 0, 0)
        else:
            context = SkbWire.CONTEXT.pack(ingress_ifindex=at, ifindex=at).ljust(192, b"\0")
        return self.loaded.run(raw, context)


@pytest.fixture(scope="module")
def network():
    with own_network():
        ip = lambda *words: subprocess.run(["ip", *words], check=True)  # noqa: E731
        ip("link", "add", "name", "left", "type", "veth", "peer", "name", "right")
        ip("link", "set", "left", "address", NEAR.hex(":"), "mtu", str(MTU))
        for name in ("left", "right"):
            ip("link", "set", name, "up")
        ip("addr", "add", "10.9.0.1/24", "dev", "left")
        ip("addr", "add", "fd99::1/64", "dev", "left", "nodad")
        for gateway in ("10.9.0.2", "fd99::2"):
            ip(
                "neigh",
                "add",
                gateway,
                "lladdr",
                NEIGHBOUR.hex(":"),
                "dev",
                "left",
                "nud",
                "permanent",
            )
            ip("route", "add", "default", "via", gateway)
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            with open(f"/proc/sys/net/{path}", "w") as setting:
                setting.write("1")
        yield


@pytest.fixture(params=[SkbWire, XdpWire], ids=["tcx", "xdp"])
def stage(network, request):
    made = Stage(request.param)
    yield made
    made.close()


def expected(before: Packet, source: End, destination: End) -> bytes:
    """The packet as it must leave, its checksums blank."""
    after = bytearray(before.rewritten({0: source, 1: destination}))
    after[:12] = NEIGHBOUR + NEAR
    after[22 if before.v4 else 21] -= 1
    return bytes(after)


def other(chance: random.Random, v4: bool) -> End:
    address = (
        0xFFFF << 32 | chance.randrange(0x0B000000, 0x7F000000)
        if v4
        else (0xFC << 120 | chance.getrandbits(100))
    )
    return End(address, chance.randrange(65536))


def test_every_packet_is_read_rewritten_and_sent(stage):
    chance, seen = random.Random(7), Counter()
    for _ in range(PACKETS):
        raw = packet(chance.randbytes(RECIPE))
        before = Packet.of(raw)
        if before is None:
            assert stage.run(raw) == (stage.wire.PASS, raw), raw.hex()
            seen["passed"] += 1
            continue
        source, destination = other(chance, before.v4), other(chance, before.v4)
        stage.teach(before, source, destination)
        action, out = stage.run(raw)
        assert action == stage.wire.SENT, raw.hex()
        after = Packet.of(out)
        assert after.without_sums() == expected(before, source, destination), raw.hex()
        assert after.residues() == before.residues(), f"checksums: {raw.hex()}"
        seen["sent"] += 1
        seen["sound"] += after.residues() in ((0, 0), (0, None))
    for what in ("passed", "sent", "sound"):
        assert seen[what] > PACKETS // 5, seen


def plain(stage, v4=True, size=0, hops=64) -> bytes:
    """A sound packet of a flow that the stage knows."""
    recipe = bytearray(RECIPE)
    recipe[0] = 0 if v4 else 1
    raw = bytearray(packet(bytes(recipe)) + bytes(size))
    at = 22 if v4 else 21
    raw[at] = hops
    chance = random.Random(1)
    stage.teach(Packet.of(bytes(raw)), other(chance, v4), other(chance, v4))
    return bytes(raw)


@pytest.mark.parametrize("v4", [True, False], ids=["v4", "v6"])
def test_the_way_back_is_where_it_came_from(stage, v4):
    back = TX if stage.wire is XdpWire else SkbWire.SENT
    assert stage.run(plain(stage, v4), stage.left)[0] == back


@pytest.mark.parametrize("v4", [True, False], ids=["v4", "v6"])
def test_a_way_is_remembered(stage, v4):
    raw, table = plain(stage, v4), stage.tables["rows4" if v4 else "rows6"]
    (key,) = table.keys()
    assert table.get(key)["out"] == 0
    stage.run(raw)
    row = table.get(key)
    assert (row["out"], row["mtu"]) == (stage.left, MTU)
    assert row["hop"] == struct.unpack("=III", NEIGHBOUR + NEAR)
    assert stage.run(raw)[0] == stage.wire.SENT
