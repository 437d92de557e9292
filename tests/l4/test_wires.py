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
import time
from collections import Counter

import pytest

from fourseven.l4.bpf.build import HASH, Program
from fourseven.l4.bpf.kernel import TCX_INGRESS, XDP, Loaded, Table
from fourseven.l4.bpf.layout import BE16, BE32, U8, Array, Struct
from fourseven.l4.kernel_plan import End
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.wire import HOP, INDEX, NO_TX, To
from fourseven.l4.program.xdp import TX, XdpWire
from support.network import own_network, why_not
from support.packets_l4 import RECIPE, packet
from support.reference_l4 import Packet, fold, network_header, words_of

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
        row = p.lookup(rows[wire.family], "row", wire.key)
        with p.when(row.missing):
            wire.leave()
        wire.reach(row, wire.ticks(), row.source, row.destination)
        wire.rewrite(
            source=To(row.source, row.source_port),
            destination=To(row.destination, row.destination_port),
        )
        wire.forward(row)

    wire.parse(write, write)
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
            # Without an interface it is at loopback, whose address is that of these frames.
            context = SkbWire.CONTEXT.pack(ingress_ifindex=at).ljust(192, b"\0")
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


@pytest.fixture
def tcx(network):
    """Of what only tcx does."""
    made = Stage(SkbWire)
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
    chance, seen, pieces = random.Random(7), Counter(), {}
    for _ in range(PACKETS):
        raw = packet(chance.randbytes(RECIPE))
        before = Packet.of(raw)
        if before is None:
            follows(stage, raw, pieces, seen)
            continue
        source, destination = other(chance, before.v4), other(chance, before.v4)
        stage.teach(before, source, destination)
        action, out = stage.run(raw)
        assert action == stage.wire.SENT, raw.hex()
        after = Packet.of(out)
        assert after.without_sums() == expected(before, source, destination), raw.hex()
        assert after.residues() == before.residues(), f"checksums: {raw.hex()}"
        seen["sent"] += 1
        if before.piece is not None:
            pieces[before.piece] = (source, destination)
        seen["sound"] += after.residues() in ((0, 0), (0, None))
    for what in ("passed", "sent", "sound", "followed"):
        assert seen[what] >= PACKETS // (4000 if what == "followed" else 5), seen


def follows(stage, raw: bytes, pieces: dict, seen: Counter) -> None:
    """What is no whole packet: a fragment that follows its first one, or nothing of ours."""
    header = network_header(raw)
    ends = header and header.offset and pieces.get((*header.piece, header.protocol))
    if not ends:
        assert stage.run(raw) == (stage.wire.PASS, raw), raw.hex()
        seen["passed"] += 1
        return
    wanted = bytearray(raw)
    at, size = (26, 4) if header.v4 else (22, 16)
    for i, end in enumerate(ends):
        wanted[at + size * i : at + size * (i + 1)] = end.address.to_bytes(16, "big")[-size:]
    wanted[:12] = NEIGHBOUR + NEAR
    wanted[22 if header.v4 else 21] -= 1
    action, out = stage.run(raw)
    assert action == stage.wire.SENT, raw.hex()
    if header.v4:
        head = slice(14, 14 + (raw[14] & 15) * 4)
        assert fold(words_of(out[head])) == fold(words_of(raw[head])), raw.hex()
        wanted[24:26] = out[24:26]
    assert out == bytes(wanted), raw.hex()
    seen["followed"] += 1


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
def test_an_interface_that_takes_nothing_back_gets_it_like_any_other(stage, v4):
    number, known = INDEX.pack(number=stage.left), INDEX.pack(number=NO_TX)
    stage.tables["interfaces"].put(number, known)
    for _ in range(2):  # asked of the routing table, and remembered
        assert stage.run(plain(stage, v4), stage.left)[0] == stage.wire.SENT


@pytest.mark.parametrize("to", ["020000000003", "ffffffffffff", "01005e000001"])
def test_a_frame_for_others_is_theirs(tcx, to):
    """A switch floods what it does not know, and a veth shows it: who forwards it doubles it."""
    raw = plain(tcx, True)
    assert tcx.run(raw)[0] == SkbWire.SENT
    other = bytes.fromhex(to) + raw[6:]
    assert tcx.run(other) == (SkbWire.PASS, other)


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


# ---- pieces ----


def pieces_of(raw: bytes, cut: int, v4: bool) -> list[bytes]:
    """A packet without options as two fragments."""
    head, body = (raw[:34], raw[34:]) if v4 else (raw[:54], raw[54:])
    made = []
    for at, part, more in ((0, body[:cut], 1), (cut, body[cut:], 0)):
        if v4:
            one = bytearray(head)
            one[16:18] = (20 + len(part)).to_bytes(2, "big")
            one[20:22] = (more << 13 | at // 8).to_bytes(2, "big")
            one[24:26] = b"\0\0"
            one[24:26] = (0xFFFF - fold(words_of(one[14:34]))).to_bytes(2, "big")
        else:
            one = bytearray(head) + struct.pack(">BBHI", head[20], 0, at | more, 0xABCDEF01)
            one[18:20] = (8 + len(part)).to_bytes(2, "big")
            one[20] = 44
        made.append(bytes(one) + part)
    return made


@pytest.mark.parametrize("v4", [True, False], ids=["v4", "v6"])
@pytest.mark.parametrize("protocol", [6, 17])
def test_fragments_put_together_are_the_packet_rewritten(stage, v4, protocol):
    whole, source, destination = sound(stage, v4, protocol, b"x" * 200)
    first, second = pieces_of(whole, 64, v4)
    assert stage.run(second) == (stage.wire.PASS, second)  # nobody knows it yet
    outs = [stage.run(one) for one in (first, second)]
    assert [action for action, _ in outs] == [stage.wire.SENT] * 2
    start = 34 if v4 else 62
    body = b"".join(out[start:] for _, out in outs)
    head = bytearray(outs[0][1][: 34 if v4 else 54])
    assert outs[1][1][:14] == bytes(head[:14])
    if v4:
        for _, out in outs:
            assert fold(words_of(out[14:34])) == 0
        head[16:18], head[20:22], head[24:26] = whole[16:18], whole[20:22], b"\0\0"
        head[24:26] = (0xFFFF - fold(words_of(head[14:34]))).to_bytes(2, "big")
    else:
        head[18:20], head[20] = whole[18:20], whole[20]
    after = Packet.of(bytes(head) + body)
    assert (after.source, after.destination, after.residues()) == (source, destination, (0, 0))


# ---- errors ----


def sound(stage, v4: bool, protocol: int, payload: bytes, seed: int = 1) -> tuple[bytes, End, End]:
    """A packet of a flow that the stage knows, and what its ends become."""
    recipe = bytearray(RECIPE)
    recipe[0], recipe[1] = 1 - v4, 0 if protocol == 6 else 1
    raw = bytearray(packet(bytes(recipe)) + payload)
    if v4:
        raw[16:18] = (len(raw) - 14).to_bytes(2, "big")
        raw[24:26] = b"\0\0"
        raw[24:26] = (0xFFFF - fold(words_of(raw[14:34]))).to_bytes(2, "big")
    else:
        raw[18:20] = (len(raw) - 54).to_bytes(2, "big")
    at = Packet.of(bytes(raw)).sum_at
    if protocol == 17:
        raw[at - 2 : at] = (len(raw) - (34 if v4 else 54)).to_bytes(2, "big")
    raw[at : at + 2] = b"\0\1"
    total = Packet.of(bytes(raw)).residues()[1] - 1
    raw[at : at + 2] = (0xFFFF - total % 0xFFFF).to_bytes(2, "big")
    before, chance = Packet.of(bytes(raw)), random.Random(seed)
    assert before.residues() == (0, 0)
    source, destination = other(chance, v4), other(chance, v4)
    stage.teach(before, source, destination)
    return bytes(raw), source, destination


def error(about: bytes, sender: bytes, receiver: bytes, v4: bool, kind: int, code: int) -> bytes:
    """An ICMP error; the addresses as bytes."""
    icmp = bytes([kind, code, 0, 0, 0, 0, 5, 0]) + about[14 : 14 + 200]
    if v4:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(icmp), 9, 0, 64, 1, 0) + sender + receiver
        head = head[:10] + (0xFFFF - fold(words_of(head))).to_bytes(2, "big") + head[12:]
        total = words_of(icmp)
    else:
        head = struct.pack(">IHBB", 0x60000000, len(icmp), 58, 64) + sender + receiver
        total = words_of(icmp) + words_of(sender + receiver) + 58 + len(icmp)
    icmp = icmp[:2] + (0xFFFF - fold(total)).to_bytes(2, "big") + icmp[4:]
    return bytes(12) + (b"\x08\x00" if v4 else b"\x86\xdd") + head + icmp


def bits(end: End, v4: bool) -> bytes:
    return end.address.to_bytes(16, "big")[12 if v4 else 0 :]


def turned(stage, v4: bool, protocol: int) -> tuple[bytes, bytes, Packet, Packet]:
    """A packet as the client sent it, as the server's side sees it; and the answers' row is known."""
    sent, source, destination = sound(stage, v4, protocol, b"quoted" * 9)
    _, out = stage.run(sent)
    seen = bytes(12) + out[12:]
    before, after = Packet.of(sent), Packet.of(seen)
    family = 4 if v4 else 6
    key = KEYS[family].pack(**stage.ends(family, destination, source), protocol=protocol)
    row = ROWS[family].pack(**stage.ends(family, before.destination, before.source))
    stage.tables[f"rows{family}"].put(key, row)
    return sent, seen, before, after


@pytest.mark.parametrize("v4", [True, False], ids=["v4", "v6"])
@pytest.mark.parametrize("protocol", [6, 17])
@pytest.mark.parametrize("who", ["a router", "the server"])
def test_an_error_is_told_in_the_words_of_who_gets_it(stage, v4, protocol, who):
    sent, seen, before, after = turned(stage, v4, protocol)
    router = bytes([192, 0, 2, 1]) if v4 else bytes.fromhex("20010db8") + bytes(12)
    kind, code = (3, 4) if v4 else (2, 0)
    sender = router if who == "a router" else bits(after.destination, v4)
    action, out = stage.run(error(seen, sender, bits(after.source, v4), v4, kind, code))
    assert action == stage.wire.SENT
    wanted = error(
        sent,
        router if who == "a router" else bits(before.destination, v4),
        bits(before.source, v4),
        v4,
        kind,
        code,
    )
    assert out[:12] == NEIGHBOUR + NEAR
    at = 34 if v4 else 54
    blank = quoted_sum(before, at + 8)
    got, right = bytearray(out[14:]), bytearray(wanted[14:])
    assert icmp_residue(out, v4) == 0
    if v4:
        assert [fold(words_of(out[x : x + 20])) for x in (14, at + 8)] == [0, 0]
    for one in (got, right):
        one[8 if v4 else 7] = 0  # hops
        if v4:
            one[10:12] = b"\0\0"
        one[at - 14 + 2 : at - 14 + 4] = b"\0\0"  # ICMP's own sum was judged above
        one[blank - 14 : blank - 12] = b"\0\0"
        quoted = at + 8 - 14
        one[quoted + (8 if v4 else 7)] = 0
        if v4:
            one[quoted + 10 : quoted + 12] = b"\0\0"
    assert got == right


def quoted_sum(packet_: Packet, at: int) -> int:
    """Where the checksum of TCP or UDP stands in a quote that begins there."""
    return packet_.sum_at - 14 + at


def icmp_residue(raw: bytes, v4: bool) -> int:
    if v4:
        return fold(words_of(raw[34:]))
    return fold(words_of(raw[22:54]) + 58 + len(raw) - 54 + words_of(raw[54:]))


@pytest.mark.parametrize("v4", [True, False], ids=["v4", "v6"])
def test_an_error_that_is_about_nothing_of_ours_is_left_alone(stage, v4):
    sent, seen, _, after = turned(stage, v4, 6)
    stranger = bytes([192, 0, 2, 7]) if v4 else bytes.fromhex("20010db8") + bytes(11) + b"\7"
    receiver = bits(after.source, v4)
    kind, code = (3, 4) if v4 else (2, 0)
    whole = error(seen, stranger, receiver, v4, kind, code)
    for raw in (
        error(seen, stranger, stranger, v4, kind, code),  # not to whom the quoted packet came from
        error(sent, stranger, stranger, v4, kind, code),  # a packet that nobody sent
        error(seen, stranger, receiver, v4, 8 if v4 else 128, 0),  # an echo request
        whole[: (34 if v4 else 54) + 8 + 10],  # too short to tell
    ):
        assert stage.run(raw) == (stage.wire.PASS, raw)


# ---- what we tell the sender ----


@pytest.fixture
def told(stage):
    """Only tcx tells; xdp leaves it to the tcx program on the same interface."""
    if stage.wire is XdpWire:
        return lambda raw, *_: stage.run(raw) == (XdpWire.PASS, raw)

    def tells(raw: bytes, v4: bool, protocol: int, kind: int, code: int, mtu: int) -> bool:
        action, out = stage.run(raw)
        assert action == SkbWire.SENT
        assert out[:14] == raw[6:12] + raw[:6] + raw[12:14]
        head, sizes = (20, (14, 26, 30)) if v4 else (40, (14, 22, 38))
        size = 4 if v4 else 16
        assert out[sizes[1] : sizes[1] + size] == raw[sizes[2] : sizes[2] + size]
        assert out[sizes[2] : sizes[2] + size] == raw[sizes[1] : sizes[1] + size]
        icmp, quote = 14 + head, head + (20 if protocol == 6 else 8)
        assert out[icmp : icmp + 2] == bytes([kind, code])
        assert int.from_bytes(out[icmp + 4 : icmp + 8], "big") == mtu
        assert out[icmp + 8 :] == raw[14 : 14 + quote]
        assert icmp_residue(out, v4) == 0
        if v4:
            assert fold(words_of(out[14:34])) == 0
            assert int.from_bytes(out[16:18], "big") == len(out) - 14
        else:
            assert int.from_bytes(out[18:20], "big") == len(out) - 54
        return True

    return tells


@pytest.mark.parametrize("v4", [True, False], ids=["v4", "v6"])
@pytest.mark.parametrize("protocol", [6, 17])
def test_what_is_too_long_is_told_to_its_sender(stage, told, v4, protocol):
    fits, _, _ = sound(
        stage, v4, protocol, bytes(MTU - (20 if v4 else 40) - (20 if protocol == 6 else 8))
    )
    assert stage.run(fits)[0] == stage.wire.SENT
    raw, _, _ = sound(stage, v4, protocol, bytes(MTU))
    kind, code = (3, 4) if v4 else (2, 0)
    assert told(raw, v4, protocol, kind, code, MTU)


@pytest.mark.parametrize("v4", [True, False], ids=["v4", "v6"])
@pytest.mark.parametrize("protocol", [6, 17])
def test_whose_hops_are_over_is_told(stage, told, v4, protocol):
    raw = bytearray(sound(stage, v4, protocol, b"far")[0])
    raw[22 if v4 else 21] = 1
    if v4:
        raw[24:26] = b"\0\0"
        raw[24:26] = (0xFFFF - fold(words_of(raw[14:34]))).to_bytes(2, "big")
    assert told(bytes(raw), v4, protocol, 11 if v4 else 3, 0, 0)


@pytest.mark.parametrize("v4", [True, False], ids=["v4", "v6"])
@pytest.mark.parametrize("protocol", [6, 17])
def test_a_half_made_checksum_counts_as_it_will_be(tcx, v4, protocol):
    """Whoever completes the quoted sum does not break the error's own."""
    stage = tcx
    raw = bytearray(sound(stage, v4, protocol, bytes(MTU))[0])
    before = Packet.of(bytes(raw))
    at, start = before.sum_at, before.l4
    pseudo = words_of(raw[26:34] if v4 else raw[22:54]) + protocol + len(raw) - start
    raw[at : at + 2] = fold(pseudo).to_bytes(2, "big")
    out = bytearray(stage.run(bytes(raw))[1])
    quoted = (34 if v4 else 54) + 8 + (20 if v4 else 40)
    assert icmp_residue(bytes(out), v4) != 0
    at += quoted - start
    out[at : at + 2] = (0xFFFF - fold(words_of(out[quoted:]))).to_bytes(2, "big")
    assert icmp_residue(bytes(out), v4) == 0


def test_a_packet_that_may_be_cut_is_the_kernels(stage):
    raw = bytearray(sound(stage, True, 17, bytes(MTU))[0])
    raw[20:22] = b"\0\0"
    raw[24:26] = b"\0\0"
    raw[24:26] = (0xFFFF - fold(words_of(raw[14:34]))).to_bytes(2, "big")
    assert stage.run(bytes(raw))[0] == stage.wire.PASS


def test_nobody_is_told_without_end(tcx):
    raw, _, _ = sound(tcx, True, 17, bytes(MTU))
    until = time.monotonic() + 20
    seen: set[int] = set()
    while seen != {SkbWire.SENT, SkbWire.DROP} and time.monotonic() < until:
        seen |= {tcx.run(raw)[0] for _ in range(2000)}  # in less than a second, sooner or later
    assert seen == {SkbWire.SENT, SkbWire.DROP}
