"""Fragments: the first one has the ports, the others follow it.

When the first fragment of a packet is rewritten, what its addresses became is written down under
(source, destination, identification, protocol); a later one is found by that, and only its
addresses are rewritten, for the checksum of TCP or UDP stands in the first and was made good there.
Nothing is put together and nothing waits: a fragment that comes before its first one is left to the
kernel.

Sources: RFC 791 3.2, RFC 8200 4.5; RFC 815 on what it would cost to put them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fourseven.l4.bpf import checksums
from fourseven.l4.bpf.build import LRU_HASH
from fourseven.l4.bpf.layout import BE32, U32, Array, Kind, Struct
from fourseven.l4.bpf.values import Fields, Pointer, Value
from fourseven.l4.headers import IPV4, IPV6, LINK

TCP, UDP = 6, 17  # IANA protocol numbers

if TYPE_CHECKING:
    from fourseven.l4.program.wire import Wire

FRAGMENTS_MAX = 8192  # packets in pieces at once; each is over within milliseconds


class Fragments:
    """Packets in pieces, and where their first piece went."""

    def __init__(self, wire: Wire, hop: dict[str, Kind | Array]) -> None:
        self.wire, self.p = wire, wire.p
        self.keys: dict[int, Struct] = {}
        self.rows: dict[int, Struct] = {}
        for family in wire.keys:
            words = Array(BE32, 1 if family == 4 else 4)
            ends = {"source": words, "destination": words}
            self.keys[family] = Struct(f"piece{family}", **ends, id=BE32, protocol=U32)
            self.rows[family] = Struct(f"whole{family}", **ends, towards=words, owner=U32, **hop)
        self.maps = {
            family: self.p.map(
                f"fragments{family}", LRU_HASH, self.keys[family], self.rows[family], FRAGMENTS_MAX
            )
            for family in wire.keys
        }

    def key(self, source: Fields, destination: Fields, id: Value, protocol: Value) -> Pointer:
        p, wire = self.p, self.wire
        made = p.stack("piece", self.keys[wire.family])
        wire.copy(made.source, source)
        wire.copy(made.destination, destination)
        p.set(made.id, id.bits(BE32))
        p.set(made.protocol, protocol)
        return made

    def remember(
        self, source: Fields | None, destination: Fields | None, towards: Fields | None, id: Value
    ) -> None:
        """The first fragment goes there: so will the others."""
        p, wire, key = self.p, self.wire, self.wire.key
        row = p.stack("whole", self.rows[wire.family])
        wire.copy(row.source, source or key.source)
        wire.copy(row.destination, destination or key.destination)
        wire.copy(row.towards, towards or destination or key.destination)
        if wire.owner is not None:
            p.set(row.owner, wire.owner.to(U32))
        made = self.key(key.source, key.destination, id, key.protocol)
        p.update(self.maps[wire.family], made, row)

    def follow(self, ip: Pointer, id: Value, protocol: Value) -> None:
        """A later fragment goes where its first one went; the program ends."""
        p, wire = self.p, self.wire
        made = self.key(ip.source, ip.destination, id, protocol)
        p.set(wire.key.protocol, made.protocol.to(wire.key.protocol.kind))
        row = p.lookup(self.maps[wire.family], "whole", made)
        with p.when(row.missing):
            if wire.astray is not None:
                with p.when((protocol == TCP) | (protocol == UDP)):
                    wire.astray("fragment", ip.destination)
            wire.leave()
        wire.owner = row.owner
        wire.reach(row, wire.ticks(), row.source, row.towards, quotes=False)
        found = p.packet("ip", LINK, IPV4 if wire.v4 else IPV6, wire.PASS)
        pairs = [
            pair
            for name in ("source", "destination")
            for pair in zip(
                wire.words(getattr(found, name)), wire.words(getattr(row, name)), strict=True
            )
        ]
        change = checksums.difference(p, "change", pairs)
        for old, new in pairs:
            p.set(old, new)
        if wire.v4:
            checksums.apply(p, found.checksum, change)
        wire.forward(row)
        wire.owner = None
