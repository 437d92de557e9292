"""ICMP errors that we send ourselves: too long for the way, and its hops are over.

The kernel cannot say it for us: it would quote the packet as rewritten, which its sender never
sent; and when the new source is an address of this host it says nothing at all. So the packet is
cut down to what must be quoted, headers are put before it, and it goes back by the interface that
it came from, in the name of whom it was sent to.

A checksum may be half made (the card or the receiver makes the rest): then the field holds the sum
of the pseudo header, and the whole of what is quoted will sum up to that, turned round. Counting it
so, ICMP's sum is right whether or not somebody completes it.

Nobody is told more often than the kernel itself would (net.ipv4.icmp_msgs_per_sec), so that a flood
of such packets is not answered by another. A header with options or extensions is not quoted: such
packets end.

Sources: RFC 792, RFC 1191, RFC 4443 3.2 and 3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fourseven.l4.bpf import checksums
from fourseven.l4.bpf.build import ARRAY
from fourseven.l4.bpf.layout import BE16, BE32, U8, U16, U32, U64, Array, Header, Struct
from fourseven.l4.bpf.values import Local, Pointer, Value
from fourseven.l4.headers import ETHERNET, ICMP, ICMP6, IPV4, IPV6, LINK, TCP_HEADER, UDP_HEADER
from fourseven.l4.program.errors import EXPIRED, ICMP_V4, ICMP_V6, UNREACHABLE

if TYPE_CHECKING:
    from fourseven.l4.program.skb import SkbWire

TOO_BIG_V6, EXPIRED_V6 = 2, 3
FRAGMENTATION_NEEDED = 4  # a code of UNREACHABLE
PER_SECOND = 1000  # as the kernel's own limit over all
HOPS = 64
INDEX = Struct("index", number=U32)
TOLD = Struct("told", tick=U32, sent=U32)


def in_words(struct: Struct) -> Header:
    """The same header as words that can be summed up."""
    return Header("words", words=Array(BE32, struct.size // 4))


class Refusals:
    """What is said instead of sending a packet on."""

    def __init__(self, wire: SkbWire) -> None:
        self.wire, self.p = wire, wire.p
        self.told = self.p.map("told", ARRAY, INDEX, TOLD, 1)

    def kinds(self) -> tuple[int, int]:
        """ICMP's types: too long, and no hops left."""
        return (UNREACHABLE, EXPIRED) if self.wire.v4 else (TOO_BIG_V6, EXPIRED_V6)

    def write(self, kind: Local, mtu: Value) -> None:
        """Tells the sender; the program ends. The packet has not been rewritten yet."""
        p, wire = self.p, self.wire
        layout = IPV4 if wire.v4 else IPV6
        with p.when(wire.l4 != LINK + layout.size):
            p.exit(wire.DROP)
        with p.scope():
            self.limit()
        total = p.let("total", 0)
        self.add(total, p.packet("quoted", LINK, in_words(layout), wire.PASS))
        quoted = p.let("quoted_size", layout.size, U32)
        longest = p.let("longest", mtu)
        wire.by_protocol(
            lambda: self.quote(total, quoted, TCP_HEADER),
            lambda: self.quote(total, quoted, UDP_HEADER),
        )
        room = layout.size + ICMP.size
        for helper, size in (("skb_change_tail", quoted + LINK), ("skb_change_head", room)):
            with p.scope():
                failed = p.call(helper, wire.context, size, 0, name="failed")
                with p.when(failed != 0):
                    p.exit(wire.DROP)
        with p.scope():
            self.link(room)
        with p.scope():
            self.network(quoted, total)
        self.message(kind, longest, total)
        p.exit(p.call("redirect", wire.ingress, 0, kind=U32))

    def limit(self) -> None:
        p, wire = self.p, self.wire
        told = p.lookup(self.told, "told", p.stack("zero", INDEX))
        with p.when(told.missing):
            p.exit(wire.DROP)
        now = wire.ticks()
        with p.when(told.tick != now):
            p.set(told.tick, now)
            p.set(told.sent, 0)
        with p.when(told.sent >= max(1, PER_SECOND // wire.second)):
            p.exit(wire.DROP)
        p.set(told.sent, told.sent + 1)

    def add(self, total: Local, header: Pointer) -> None:
        for i in range(header.words.count):
            self.p.set(total, total + header.words[i].bits(U64))

    def quote(self, total: Local, quoted: Local, layout: Header) -> None:
        """The beginning of TCP or UDP: how much of it, and its sum."""
        p, wire, key = self.p, self.wire, self.wire.key
        length = (wire.context.len - wire.l4.to(U32)).to(U16).wire()
        half = p.let("half", length.bits(U64))
        p.set(half, half + key.protocol.to(U16).wire().bits(U64))
        for word in (*wire.words(key.source), *wire.words(key.destination)):
            p.set(half, half + word.bits(U64))
        checksums.fold(p, half)
        header = p.packet("header", wire.l4, layout, wire.PASS)
        with p.when(header.checksum.bits(U64) == half):
            p.set(total, total + (~half & 0xFFFF))
        with p.otherwise():
            self.add(total, header.seen_as(in_words(layout)))
        p.set(quoted, quoted + layout.size)

    def link(self, room: int) -> None:
        """Back to whom it came from."""
        p, wire = self.p, self.wire
        old = p.packet("was", room, ETHERNET, wire.PASS)
        new = p.packet("ethernet", 0, ETHERNET, wire.PASS)
        p.copy(new.to, old.source)
        p.copy(new.source, old.to)
        p.set(new.protocol, old.protocol)

    def network(self, quoted: Local, total: Local) -> None:
        """The header of IP; of IPv6 it counts in ICMP's sum."""
        p, wire, key = self.p, self.wire, self.wire.key
        layout = IPV4 if wire.v4 else IPV6
        ip = p.packet("ip", LINK, layout, wire.PASS)
        wire.copy(ip.source, key.destination)
        wire.copy(ip.destination, key.source)
        if wire.v4:
            for name, number in (("version_length", 0x45), ("tos", 0), ("id", 0), ("checksum", 0)):
                p.set(getattr(ip, name), number)
            p.set(ip.length, (quoted + (layout.size + ICMP.size)).to(U16).wire())
            p.set(ip.fragment, 0x4000)
            p.set(ip.ttl, HOPS)
            p.set(ip.protocol, ICMP_V4)
            header = p.let("header_sum", 0)
            self.add(header, ip.seen_as(in_words(layout)))
            checksums.complete(p, ip.checksum, header)
            return
        length = p.let("length", (quoted + ICMP6.size).to(U16).wire())
        p.set(ip.version, 0x60000000)
        p.set(ip.length, length)
        p.set(ip.following, ICMP_V6)
        p.set(ip.hops, HOPS)
        p.set(total, total + length.bits(U64) + BE16.store(ICMP_V6))
        for word in (*wire.words(ip.source), *wire.words(ip.destination)):
            p.set(total, total + word.bits(U64))

    def message(self, kind: Local, longest: Local, total: Local) -> None:
        p, wire = self.p, self.wire
        layout = ICMP if wire.v4 else ICMP6
        icmp = p.packet("icmp", LINK + (IPV4 if wire.v4 else IPV6).size, layout, wire.PASS)
        too_big, _ = self.kinds()
        p.set(icmp.seen_as(in_words(layout)).words[0], 0)
        p.set(icmp.seen_as(in_words(layout)).words[1], 0)
        p.set(icmp.type, kind.to(U8))
        with p.when(kind == too_big):
            if wire.v4:
                p.set(icmp.code, FRAGMENTATION_NEEDED)
                p.set(icmp.mtu, longest.to(U16).wire())
            else:
                p.set(icmp.mtu, longest.to(U32).wire())
        self.add(total, icmp.seen_as(in_words(layout)))
        checksums.complete(p, icmp.checksum, total)
