"""What the tcx program must do, said a second time in plain Python: no cleverness, no speed.

It shares nothing with the program but the plan: it reads packets by their offsets, and its hash is
written from FNV's definition. Checksums are not imitated but judged: `residue` is 0 for a packet
that is sound, and rewriting must leave it as it was.
"""

from __future__ import annotations

import struct

from fourseven.l4.kernel_plan import BY_HASH, End

TCP, UDP = 6, 17


def fold(total: int) -> int:
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total % 0xFFFF  # 0 and 0xffff are the same number


def words_of(data: bytes) -> int:
    return sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))


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
        self.flags = raw[l4 + 13] if protocol == TCP else 0

    @classmethod
    def of(cls, raw: bytes) -> Packet | None:
        kind = raw[12:14]
        if kind == b"\x08\x00" and len(raw) >= 34:
            size = (raw[14] & 15) * 4
            fragment = int.from_bytes(raw[20:22], "big") & 0x3FFF
            if raw[14] >> 4 != 4 or size < 20 or fragment:
                return None
            length, protocol = int.from_bytes(raw[16:18], "big") - size, raw[23]
            v4, l4 = True, 14 + size
        elif kind == b"\x86\xdd" and len(raw) >= 54:
            if raw[14] >> 4 != 6 or b"\0" * 10 + b"\xff\xff" in (raw[22:34], raw[38:50]):
                return None
            length, protocol = int.from_bytes(raw[18:20], "big"), raw[20]
            v4, l4 = False, 54
        else:
            return None
        least = {TCP: 20, UDP: 8}.get(protocol)
        if least is None or length < least or len(raw) < l4 + least:
            return None
        return cls(raw, v4, l4, protocol)

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
            else int.from_bytes(self.raw[18:20], "big")
        )
        pseudo = words_of(self.raw[self.at[0] : self.at[1] + self.size]) + self.protocol + length
        return head, fold(pseudo + words_of(self.raw[self.l4 : self.l4 + length]))

    def rewritten(self, end: End, which: int) -> bytes:
        """With another source (0) or destination (1); the sums blank."""
        made = bytearray(self.without_sums())
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


class Model:
    """The data path of a plan, packet by packet."""

    def __init__(self, plan) -> None:
        self.use(plan)
        self.flows: dict[
            tuple, list
        ] = {}  # (protocol, from, to) -> [which end, its new value, closing]
        self.turns: dict[tuple, int] = {}

    def use(self, plan) -> None:
        self.services = {(s.protocol, s.vip): s for s in plan.services}

    def step(self, raw: bytes) -> tuple[Packet, int, End] | None:
        """What is rewritten, which end of it, to what; None when it passes untouched."""
        packet = Packet.of(raw)
        if packet is None:
            return None
        key = (packet.protocol, packet.source, packet.destination)
        flow = self.flows.get(key)
        syn = packet.flags & 0x12 == 0x02
        if flow is not None and not (flow[0] == 1 and syn and flow[2]):
            flow[2] = flow[2] or bool(packet.flags & 5)
            return packet, flow[0], flow[1]
        service = self.services.get((packet.protocol, packet.destination))
        if service is None or not service.table:
            return None
        if service.pick == BY_HASH:
            number = hash_of(packet.source.address & service.mask)
        else:
            number = self.turns.get(key[::2], 0)
            self.turns[key[::2]] = number + 1
        server = service.servers[service.table[number % len(service.table)]]
        other = self.flows.get((packet.protocol, server, packet.source))
        if other is not None and not other[2] and other[:2] != [0, packet.destination]:
            return None  # the way back belongs to another flow
        self.flows[key] = [1, server, False]
        self.flows[packet.protocol, server, packet.source] = [0, packet.destination, False]
        return packet, 1, server
