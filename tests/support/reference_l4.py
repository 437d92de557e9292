"""What the tcx program must do, said a second time in plain Python: no cleverness, no speed.

It shares nothing with the program but the plan: it reads packets by their offsets, and its hash is
written from FNV's definition. Checksums are not imitated but judged: `residue` is 0 for a packet
that is sound, and rewriting must leave it as it was.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import NamedTuple

from fourseven.l4.kernel_plan import (
    BY_HASH,
    BY_LOAD,
    DIRECT,
    IN_TURN,
    MASQUERADE,
    ROUTED,
    End,
    Service,
)

TCP, UDP = 6, 17


def fold(total: int) -> int:
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total % 0xFFFF  # 0 and 0xffff are the same number


def words_of(data: bytes) -> int:
    return sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))


EXTENSIONS = 3  # of IPv6 that are stepped over
STEPS = (0, 43, 60)  # hop by hop, routing, destination options


class Header(NamedTuple):
    """What the header of IP says, with IPv6's extensions stepped over."""

    v4: bool
    at: int  # what follows begins here
    protocol: int
    length: int  # of what follows
    offset: int  # of a fragment, in units of 8 bytes
    more: bool
    piece: tuple  # source, destination, identification


def network_header(raw: bytes) -> Header | None:
    kind = raw[12:14]
    if kind == b"\x08\x00" and len(raw) >= 34:
        size = (raw[14] & 15) * 4
        if raw[14] >> 4 != 4 or size < 20:
            return None
        length, pieces = int.from_bytes(raw[16:18], "big") - size, int.from_bytes(raw[20:22], "big")
        piece = (raw[26:30], raw[30:34], int.from_bytes(raw[18:20], "big"))
        return Header(True, 14 + size, raw[23], length, pieces & 0x1FFF, pieces & 0x2000 > 0, piece)
    if kind == b"\x86\xdd" and len(raw) >= 54:
        if raw[14] >> 4 != 6 or b"\0" * 10 + b"\xff\xff" in (raw[22:34], raw[38:50]):
            return None
        return _stepped(raw)
    return None


def stray(raw: bytes, protocols: set[int]) -> tuple[str, int] | None:
    """Why a packet cannot be read as far as its ports, and whom it was for."""
    kind = raw[12:14]
    if kind == b"\x08\x00" and len(raw) >= 34:
        to, wrong = 0xFFFF << 32 | int.from_bytes(raw[30:34], "big"), raw[14] >> 4 != 4
        wrong = wrong or (raw[14] & 15) < 5
    elif kind == b"\x86\xdd" and len(raw) >= 54:
        to, wrong = int.from_bytes(raw[38:54], "big"), raw[14] >> 4 != 6
        if not wrong and b"\0" * 10 + b"\xff\xff" in (raw[22:34], raw[38:50]):
            return None
    else:
        return None
    found = network_header(raw)
    if found is None:  # of what is not wrong: IPv6 that is still to be routed, or breaks off
        return ("malformed", to) if wrong or _breaks_off(raw) else None
    if found.offset:
        return ("fragment", to) if found.protocol in (TCP, UDP) else None
    least = {TCP: 20, UDP: 8}.get(found.protocol, 0)
    short = found.length < least or len(raw) < found.at + least
    return ("malformed", to) if short and found.protocol in protocols else None


def _breaks_off(raw: bytes) -> bool:
    """Does an extension header of IPv6 begin where the packet is almost over?"""
    at, following = 54, raw[20]
    for _ in range(EXTENSIONS):
        if following not in (*STEPS, 44):
            return False
        if len(raw) < at + 8:
            return True
        if following == 43 and raw[at + 3]:
            return False
        if following == 44 and raw[at + 2 : at + 4] >= b"\0\x08":
            return False
        following, at = raw[at], at + (8 if following == 44 else 8 + 8 * raw[at + 1])
    return False


def _stepped(raw: bytes) -> Header | None:
    at, following, pieces, id = 54, raw[20], 0, 0
    for _ in range(EXTENSIONS):
        if following not in (*STEPS, 44):
            break
        if len(raw) < at + 8 or (following == 43 and raw[at + 3]):
            return None
        if following == 44:
            pieces, id = struct.unpack_from(">HI", raw, at + 2)
            following, at = raw[at], at + 8
            if pieces >> 3:
                break
        else:
            following, at = raw[at], at + 8 + 8 * raw[at + 1]
    length = int.from_bytes(raw[18:20], "big") - (at - 54)
    piece = (raw[22:38], raw[38:54], id)
    return Header(False, at, following, length, pieces >> 3, pieces & 1 > 0, piece)


class Packet:
    """A TCP or UDP packet that a balancer may look at; `of` gives None for all others."""

    def __init__(self, raw: bytes, v4: bool, l4: int, protocol: int) -> None:
        self.raw, self.v4, self.l4, self.protocol = raw, v4, l4, protocol
        size = 4 if v4 else 16
        at = 26 if v4 else 22
        self.at = (at, at + size)
        self.size = size
        mapped = b"\0" * 10 + b"\xff\xff" if v4 else b""
        ends = [int.from_bytes(mapped + raw[x : x + size], "big") for x in self.at]
        ports = struct.unpack_from(">HH", raw, l4)
        self.source, self.destination = End(ends[0], ports[0]), End(ends[1], ports[1])
        self.flags, self.sequence, self.acknowledged = 0, 0, 0
        if protocol == TCP:
            self.sequence, self.acknowledged, self.flags = struct.unpack_from(">IIxB", raw, l4 + 4)

    @property
    def syn(self) -> bool:
        return self.flags & 0x12 == 0x02

    @classmethod
    def of(cls, raw: bytes) -> Packet | None:
        found = network_header(raw)
        if found is None or found.offset:
            return None
        least = {TCP: 20, UDP: 8}.get(found.protocol)
        if least is None or found.length < least or len(raw) < found.at + least:
            return None
        made = cls(raw, found.v4, found.at, found.protocol)
        made.piece = (*found.piece, found.protocol) if found.more else None
        return made

    @property
    def sum_at(self) -> int:
        return self.l4 + (16 if self.protocol == TCP else 6)

    def without_sums(self) -> bytes:
        blank = bytearray(self.raw)
        blank[self.sum_at : self.sum_at + 2] = b"\0\0"
        if self.v4:
            blank[24:26] = b"\0\0"
        return bytes(blank)

    def residues(self) -> tuple[int, int | None]:
        """Of the IPv4 header, and of TCP or UDP (None: UDP that carries no checksum)."""
        head = fold(words_of(self.raw[14 : self.l4])) if self.v4 else 0
        if self.protocol == UDP and self.raw[self.sum_at : self.sum_at + 2] == b"\0\0":
            return head, None
        length = (
            int.from_bytes(self.raw[16:18], "big") - (self.l4 - 14)
            if self.v4
            else int.from_bytes(self.raw[18:20], "big") - (self.l4 - 54)
        )
        pseudo = words_of(self.raw[self.at[0] : self.at[1] + self.size]) + self.protocol + length
        return head, fold(pseudo + words_of(self.raw[self.l4 : self.l4 + length]))

    def rewritten(self, ends: dict[int, End]) -> bytes:
        """With another source (0), another destination (1), or both; the sums blank."""
        made = bytearray(self.without_sums())
        for which, end in ends.items():
            at = self.at[which]
            made[at : at + self.size] = end.address.to_bytes(16, "big")[-self.size :]
            struct.pack_into(">H", made, self.l4 + 2 * which, end.port)
        return bytes(made)


def hash_of(address: int) -> int:
    h = 0xCBF29CE484222325
    for byte in address.to_bytes(16, "big"):
        h = (h ^ byte) * 0x100000001B3 % 2**64
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = (h ^ h >> 33) * factor % 2**64
    return h ^ h >> 33


def bucket_of(packet: Packet, seed: int) -> int:
    """Where the program would note a client's handshake, written from its definition."""
    spread, places = 0x9E3779B97F4A7C15, 1 << 15
    address = packet.raw[packet.at[0] : packet.at[0] + packet.size]
    words = struct.unpack(f"={len(address) // 4}I", address)
    (port,) = struct.unpack_from(">H", packet.raw, packet.l4)
    first, *rest = *words, port >> 7 << 16 | packet.protocol
    first ^= seed
    for word in rest:
        first = first * spread % 2**64 ^ word
    first = first * spread % 2**64
    return ((first ^ first >> 29) * spread % 2**64 * places >> 64) ^ (port >> 1) % 64


def beside(end: End) -> End:
    """The port whose number differs in the last bit."""
    return replace(end, port=end.port ^ 1)


@dataclass
class Flow:
    """One direction of a flow: what its packets become."""

    source: End
    destination: End
    write: frozenset  # which ends: 0 the source, 1 the destination
    server: tuple  # (backend, End)
    listener: str
    from_client: bool
    bits: set  # who has said FIN, "reset"; one set for both directions

    @property
    def over(self) -> bool:
        return "reset" in self.bits or {"client", "server"} <= self.bits


@dataclass
class Entry:
    """A handshake."""

    client: End
    vip: End
    source: End  # the client, as the server sees it
    server: End
    waits: str
    service: Service
    acknowledged: int = 0


@dataclass
class Seen:
    """What the packet became, where chance decides; the model learns it and judges it."""

    source: End | None = None
    destination: End | None = None


class Model:
    """The data path of a plan, packet by packet."""

    def __init__(self, plan) -> None:
        self.flows: dict[tuple, Flow] = {}  # (protocol, from, to)
        self.pending: dict[tuple, list] = defaultdict(lambda: [None] * 4)  # (protocol, client)
        self.turns: Counter = Counter()
        self.began: Counter = Counter()  # by listener, and by server
        self.ended: Counter = Counter()
        self.packets: Counter = Counter()
        self.refused: Counter = Counter()  # (listener, reason)
        self.lost = 0
        self.sources: set = set()  # addresses of ours to masquerade with
        self.use(plan)

    def use(self, plan) -> None:
        self.services = {(s.protocol, s.vip): s for s in plan.services}

    def step(self, raw: bytes, seen: Seen) -> tuple[Packet, dict[int, End]] | None:
        """What is rewritten, and to what; None when it passes untouched."""
        packet = Packet.of(raw)
        if packet is None:
            return None
        key = (packet.protocol, packet.source, packet.destination)
        flow = self.flows.get(key)
        if flow is not None and flow.from_client and packet.syn and flow.over:
            del self.flows[key]
            back = self.flows.get(self.back(packet.protocol, flow))
            if back is not None and self.back(packet.protocol, back) == key:
                del self.flows[self.back(packet.protocol, flow)]
            flow = None
        if flow is not None:
            self.note_end(flow, packet)
            return self.rewritten(packet, flow)
        service = self.services.get((packet.protocol, packet.destination))
        if service is None:
            return self.answer(packet, seen)
        return self.ask(packet, service, seen)

    # ---- flows ----

    @staticmethod
    def back(protocol: int, flow: Flow) -> tuple:
        return protocol, flow.destination, flow.source

    def note_end(self, flow: Flow, packet: Packet) -> None:
        before = flow.over
        if packet.flags & 4:
            flow.bits.add("reset")
        elif packet.flags & 1:
            flow.bits.add("client" if flow.from_client else "server")
        if flow.over and not before:
            self.ended.update([flow.server, flow.listener])

    def rewritten(self, packet: Packet, flow: Flow) -> tuple[Packet, dict[int, End]]:
        way = "in" if flow.from_client else "out"
        self.packets.update([(flow.server, way), (flow.listener, way)])
        ends = (flow.source, flow.destination)
        return packet, {which: ends[which] for which in flow.write}

    def rows(self, entry: Entry) -> tuple[Flow, Flow]:
        """Both directions of a flow."""
        service, bits = entry.service, set()
        towards, back = {
            ROUTED: ({1}, {0}),
            MASQUERADE: ({0, 1}, {0, 1}),
            DIRECT: (set(), set()),
        }[service.mode]
        if entry.source != entry.client:
            towards, back = {0, 1}, {0, 1}
        about = ((service.backend, entry.server), service.listener)
        return (
            Flow(entry.source, entry.server, frozenset(towards), *about, True, bits),
            Flow(entry.vip, entry.client, frozenset(back), *about, False, bits),
        )

    def make(self, packet: Packet, entry: Entry) -> None:
        there, back = self.rows(entry)
        self.flows[packet.protocol, packet.source, packet.destination] = there
        if entry.service.mode != DIRECT:
            self.flows[self.back(packet.protocol, there)] = back
        self.began.update([there.server, there.listener])

    # ---- what begins ----

    def ask(self, packet: Packet, service: Service, seen: Seen):
        slots = self.pending[packet.protocol, packet.source]
        found = [e for e in slots if e and e.vip == packet.destination]
        makes = "entry"
        if found and not packet.syn:
            entry = found[-1]
            direct = entry.service.mode == DIRECT
            if packet.flags & 4 and entry.waits in ("answer", "acknowledgement") and not direct:
                return self.rewritten(packet, self.rows(entry)[0])
            if entry.waits in ("more", "proven") or (entry.waits == "answer" and direct):
                makes = "flow"
            elif entry.waits == "acknowledgement":
                makes = "flow" if packet.acknowledged == entry.acknowledged else "nothing"
        if makes == "flow":
            self.make(packet, entry)
            slots[slots.index(entry)] = None
            return self.rewritten(packet, self.rows(entry)[0])
        waits = "answer" if packet.syn else "proof" if packet.protocol == TCP else "more"
        if waits == "proof" and (service.pick != BY_HASH or service.mode == MASQUERADE):
            self.refused[service.listener, "no_flow"] += 1
            return None
        entry = self.begin(packet, service, seen, waits)
        if entry is None:
            return None
        if makes == "entry":
            self.put(slots, entry)
        return self.rewritten(packet, self.rows(entry)[0])

    def begin(self, packet: Packet, service: Service, seen: Seen, waits: str) -> Entry | None:
        """A server and, where masqueraded, an end of ours."""
        if not service.table:
            self.refused[service.listener, "no_server"] += 1
            return None
        server, source = self.pick(packet, service, seen), packet.source
        if service.mode == ROUTED and self.awaited(packet, server, source):
            source = beside(source)
            if self.taken(packet, server, source):
                self.refused[service.listener, "taken"] += 1
                return None
        if service.mode == MASQUERADE:
            source = seen.source
            assert source is not None
            assert source.address in self.sources
            assert 1024 <= source.port <= 32767
            other = self.flows.get((packet.protocol, server, source))
            assert other is None or other.over or other.destination == packet.source, "a taken port"
        other = self.flows.get((packet.protocol, server, source))
        if service.mode != DIRECT and other is not None and not self.same(packet, other):
            del self.flows[packet.protocol, server, source]  # it had ended
        return Entry(packet.source, packet.destination, source, server, waits, service)

    def awaited(self, packet: Packet, server: End, source: End) -> bool:
        """Is its way back another flow's, or another handshake's?"""
        waits = any(
            entry is not None
            and entry.service.mode != DIRECT
            and (entry.server, entry.source) == (server, source)
            and (entry.vip, entry.client) != (packet.destination, packet.source)
            for client in (source, beside(source))
            for entry in self.pending[packet.protocol, client]
        )
        return waits or self.taken(packet, server, source)

    def taken(self, packet: Packet, server: End, source: End) -> bool:
        """Is its way back another flow's?"""
        other = self.flows.get((packet.protocol, server, source))
        if other is None or other.over:
            return False
        return not self.same(packet, other)

    @staticmethod
    def same(packet: Packet, back: Flow) -> bool:
        """Are they this client's answers?"""
        ends = (back.source, back.destination) == (packet.destination, packet.source)
        return ends and not back.from_client

    def pick(self, packet: Packet, service: Service, seen: Seen) -> End:
        size, table = len(service.table), service.table
        if service.pick == BY_HASH:
            number = hash_of(packet.source.address & service.mask)
        elif service.pick == IN_TURN:
            number = self.turns[packet.protocol, packet.destination]
            self.turns[packet.protocol, packet.destination] += 1
        else:
            return self.judged(packet, service, seen)
        return service.servers[table[number % size]]

    def judged(self, packet: Packet, service: Service, seen: Seen) -> End:
        """Chance has a say: any server of the table, or the least loaded one."""
        at = {service.servers[i]: i for i in set(service.table)}
        if service.mode == ROUTED and seen.destination == packet.destination:
            return next(
                one
                for one in at
                if self.awaited(packet, one, packet.source)
                and self.taken(packet, one, beside(packet.source))
            )
        assert seen.destination in at
        if service.pick == BY_LOAD:
            weights = service.weights or (1,) * len(service.servers)

            def load(end: End) -> float:
                key = (service.backend, end)
                return (self.began[key] - self.ended[key]) / weights[at[end]]

            assert load(seen.destination) == min(load(end) for end in at)
        return seen.destination

    @staticmethod
    def put(slots: list, entry: Entry) -> None:
        """Over that of the same client at the same service, or with the same answers; else in a
        free place."""
        for i, other in enumerate(slots):
            if other is not None and (
                other.vip == entry.vip
                or (
                    (other.server, other.source) == (entry.server, entry.source)
                    and other.service.mode != DIRECT
                )
            ):
                slots[i] = entry
                return
        slots[slots.index(None)] = entry  # fails where the test has too many: age is not modelled

    def answer(self, packet: Packet, seen: Seen):
        """From a server, to somebody who has asked?"""
        found = None
        for (protocol, _), slots in self.pending.items():
            for entry in slots:
                if entry is None or protocol != packet.protocol or entry.service.mode == DIRECT:
                    continue
                if (entry.server, entry.source) == (packet.source, packet.destination):
                    found = entry
        if found is None:
            return None
        if found.service.mode == MASQUERADE and seen.source == packet.source:
            self.lost += 1  # its place was taken by another: a retransmission mends it
            return None
        if packet.flags & 0x16 == 0x12:
            found.acknowledged = (packet.sequence + 1) % 2**32
            found.waits = "acknowledgement"
        if found.waits == "proof" and not packet.flags & 6:
            found.waits = "proven"
        return self.rewritten(packet, self.rows(found)[1])
