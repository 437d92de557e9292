"""ICMP errors about a flow: what a router or a host on the way says of a packet that we rewrote.

An error quotes the beginning of the packet that it is about, as it was when it met the error. So
the flow is found by what is quoted, turned round: an error travels the way of the flow's answers.
Who gets it must know the quoted packet as his own; so what is quoted is translated back, and the
error's own addresses as those of any packet on that way. Without this, the path's MTU is never
learnt.

The quoted checksum of TCP or UDP is left as it is: what is quoted breaks off before anyone could
prove it. An error that says more addresses than fit its flow is not touched.

Sources: RFC 792, RFC 4443, RFC 5508 (ICMP through a NAT).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fourseven.l4.bpf import checksums
from fourseven.l4.bpf.layout import U16
from fourseven.l4.bpf.values import Condition, Fields, Local, Pointer, Value
from fourseven.l4.headers import ICMP, ICMP6, IPV4, IPV6, LINK, PORTS

if TYPE_CHECKING:
    from fourseven.l4.program.wire import To, Wire

ICMP_V4, ICMP_V6 = 1, 58  # IANA protocol numbers
UNREACHABLE, EXPIRED, PARAMETER = 3, 11, 12
LONGEST = LINK + 2 * IPV6.size + ICMP6.size + 24  # an error of IPv6, what it quotes, and a bit
ERRORS_V6 = 4  # types 1 to 4 are errors about a packet
QUOTE = 8  # bytes of the ICMP header, after which the packet is quoted


class Errors:
    """The way of an ICMP error through the program."""

    def __init__(self, wire: Wire, write: Callable[[], None]) -> None:
        """`write` emits what happens to an error, whose flow's key stands in wire.key."""
        self.wire, self.p, self.write = wire, wire.p, write
        self.inner: Local = wire.p.let("inner", 0, U16)  # where the quoted TCP or UDP begins

    def read(self) -> None:
        """Of an ICMP packet; it begins at wire.l4. All ways leave the program."""
        p, wire = self.p, self.wire
        wire.need(LONGEST)
        outer = p.packet("outer", LINK, IPV4 if wire.v4 else IPV6, wire.PASS)
        if wire.v4:
            kind = p.packet("icmp", wire.l4, ICMP, wire.PASS).type
            with p.when((kind != UNREACHABLE) & (kind != EXPIRED) & (kind != PARAMETER)):
                wire.leave()
            self.quoted_v4()
        else:
            kind = p.packet("icmp6", wire.l4, ICMP6, wire.PASS).type
            with p.when((kind == 0) | (kind > ERRORS_V6)):
                wire.leave()
            self.quoted_v6()
        ports = p.packet("ports", self.inner, PORTS, wire.PASS)
        p.set(wire.key.source_port, ports.destination)
        p.set(wire.key.destination_port, ports.source)
        with p.when(wire.differ(outer.destination, wire.key.destination)):
            wire.leave()
        wire.about = self
        self.write()
        wire.about = None

    def quoted_v4(self) -> None:
        p, wire, key = self.p, self.wire, self.wire.key
        ip = p.packet("quoted", wire.l4 + QUOTE, IPV4, wire.PASS)
        size = p.let("quoted_size", (ip.version_length.to(U16) & 15) << 2)
        with p.when((ip.version_length >> 4 != 4) | (size < 20) | ((ip.fragment & 0x1FFF) != 0)):
            wire.leave()
        self.only_ours(ip.protocol)
        wire.copy(key.source, ip.destination)
        wire.copy(key.destination, ip.source)
        p.set(self.inner, wire.l4 + QUOTE + size)

    def quoted_v6(self) -> None:
        p, wire = self.p, self.wire
        ip = p.packet("quoted", wire.l4 + QUOTE, IPV6, wire.PASS)
        with p.when(ip.version.host() >> 28 != 6):
            wire.leave()
        self.only_ours(ip.following)
        wire.copy(wire.key.source, ip.destination)
        wire.copy(wire.key.destination, ip.source)
        p.set(self.inner, wire.l4 + (QUOTE + IPV6.size))

    def only_ours(self, protocol: Value) -> None:
        p, wire = self.p, self.wire
        others: Condition | None = None
        for one in sorted(wire.protocols):
            others = protocol != one if others is None else others & (protocol != one)
        assert others is not None
        with p.when(others):
            wire.leave()
        p.set(wire.key.protocol, protocol)

    def rewrite(self, source: To, destination: To) -> None:
        """Both ends as they are for a packet on this way, in the error and in what it quotes."""
        p, wire, key = self.p, self.wire, self.wire.key
        layout = IPV4 if wire.v4 else IPV6
        ports = p.packet("ports", self.inner, PORTS, wire.PASS)
        change = checksums.difference(
            p,
            "change",
            [(ports.source, destination.port), (ports.destination, source.port)],
        )
        p.set(ports.source, destination.port)
        p.set(ports.destination, source.port)
        quoted = p.packet("quoted", wire.l4 + QUOTE, layout, wire.PASS)
        inner = self.addresses([(quoted.source, destination), (quoted.destination, source)])
        outer = p.packet("outer", LINK, layout, wire.PASS)
        if wire.v4:  # a header's change and its checksum's are together no change to ICMP's sum
            checksums.apply(p, quoted.checksum, inner)
        else:
            p.set(change, change + inner)
        with p.when(wire.differ(outer.source, key.source)):  # a router's own address stays
            self.outer(outer, change, [(outer.destination, destination)])
        with p.otherwise():
            ends = [(outer.source, source), (outer.destination, destination)]
            self.outer(outer, change, ends)
        if wire.v4:
            checksums.apply(p, p.packet("icmp", wire.l4, ICMP, wire.PASS).checksum, change)
        else:
            checksums.apply(p, p.packet("icmp6", wire.l4, ICMP6, wire.PASS).checksum, change)

    def outer(self, header: Pointer, change: Local, ends: list[tuple[Fields, To]]) -> None:
        """The error's own addresses; of IPv6 they count in ICMP's checksum."""
        moved = self.addresses(ends)
        if self.wire.v4:
            checksums.apply(self.p, header.checksum, moved)
        else:
            self.p.set(change, change + moved)

    def addresses(self, ends: list[tuple[Fields, To]]) -> Local:
        """Writes new addresses in the place of old ones; the difference."""
        p, wire = self.p, self.wire
        changes = [
            pair
            for old, to in ends
            for pair in zip(wire.words(old), wire.words(to.address), strict=True)
        ]
        change = checksums.difference(p, "moved", changes)
        for written, word in changes:
            p.set(written, word)
        return change
