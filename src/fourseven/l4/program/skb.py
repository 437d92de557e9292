"""The wire of tc: packets as the kernel keeps them, with offloads.

A packet may be larger than the link takes (the card cuts it up later) and its checksum half made;
the helpers know, so the rewrite goes by them. A packet that has no plain way (no route, too big,
its TTL ends) goes on to the kernel rewritten, which knows what to say.

Not here: packets with a VLAN tag (attach to the VLAN's interface), fragments, ICMP, and IPv6
extension headers; they go on untouched.

Source: RFC 1624 (checksums by difference); include/uapi/linux/bpf.h.
"""

from __future__ import annotations

from collections.abc import Callable

from fourseven.l4.bpf.build import Program
from fourseven.l4.bpf.layout import U8, U16, U32, U64
from fourseven.l4.bpf.values import Fields, Pointer, Value
from fourseven.l4.headers import ETHERNET, FIB, IPV4, IPV6, SKB, TCP_HEADER, TTL, UDP_HEADER
from fourseven.l4.program.wire import (
    AF_INET,
    AF_INET6,
    FOUND,
    HEADERS,
    LINK,
    NO_NEIGHBOUR,
    TCP,
    UDP,
    To,
    Wire,
    mapped,
)

PSEUDO, KEEP_NONE = 0x10, 0x20  # BPF_F_PSEUDO_HDR, BPF_F_MARK_MANGLED_0: UDP without a checksum


class SkbWire(Wire):
    """Reading and writing on tc."""

    CONTEXT = SKB
    PASS = 0xFFFFFFFF  # TCX_NEXT: other programs on the interface have their turn

    def __init__(self, p: Program, key: Pointer, families: set[int]) -> None:
        super().__init__(p, key, families)
        self.skb = p.context
        self.size = self.skb.len
        self.l4 = p.let("l4", LINK, U16)  # where the TCP or UDP header begins

    # ---- reading: whatever is not ours leaves here ----

    def parse(self, write: Callable[[], None]) -> None:
        p, skb = self.p, self.skb
        with p.when(skb.vlan_present != 0):
            self.leave()
        with p.when(skb.data.to(U64) + HEADERS > skb.data_end):
            wanted = p.let("wanted", HEADERS, U32)
            with p.when(skb.len < HEADERS):
                p.set(wanted, skb.len)
            p.call("skb_pull_data", skb, wanted)
        ethernet = p.packet("ethernet", 0, ETHERNET, self.PASS)
        for family, kind in ((4, 0x0800), (6, 0x86DD)):
            if family in self.families:
                with p.when(ethernet.protocol == kind):
                    self.v4 = family == 4
                    (self.parse_v4 if self.v4 else self.parse_v6)()
                    write()
        self.leave()

    def parse_v4(self) -> None:
        p, key = self.p, self.key
        ip = p.packet("ip", LINK, IPV4, self.PASS)
        size = p.let("size", (ip.version_length.to(U16) & 15) << 2)
        odd = (ip.version_length >> 4 != 4) | (size < 20) | ((ip.fragment & 0x3FFF) != 0)
        with p.when(odd):
            self.leave()
        self.transport(ip.protocol, ip.length.host(), size)
        p.set(self.l4, size + LINK)
        p.set(key.source[2], 0xFFFF)
        p.set(key.destination[2], 0xFFFF)
        p.set(key.source[3], ip.source)
        p.set(key.destination[3], ip.destination)
        self.ends()

    def parse_v6(self) -> None:
        p, key = self.p, self.key
        ip = p.packet("ip", LINK, IPV6, self.PASS)
        with p.when(ip.version.host() >> 28 != 6):
            self.leave()
        for end in (ip.source, ip.destination):  # RFC 4291 2.5.5.2: never on the wire, and here
            with p.when(mapped(end)):  # it would be taken for IPv4
                self.leave()
        self.transport(ip.following, ip.length.host(), 0)
        p.set(self.l4, LINK + 40)
        p.copy(key.source, ip.source)
        p.copy(key.destination, ip.destination)
        self.ends()

    def transport(self, protocol: Value, length: Value, before: Value | int) -> None:
        """TCP or UDP, and as long as its header; `length` bytes, of which `before` are not its."""
        p = self.p
        with p.when((protocol != TCP) & (protocol != UDP)):
            self.leave()
        p.set(self.key.protocol, protocol)
        least = p.let("least", before, U16)
        with p.when(protocol == TCP):
            p.set(least, least + TCP_HEADER.size)
        with p.otherwise():
            p.set(least, least + UDP_HEADER.size)
        with p.when(length < least):
            self.leave()

    def ends(self) -> None:
        """The ports, and TCP's flags."""
        p = self.p
        with p.when(self.key.protocol == TCP):
            tcp = p.packet("tcp", self.l4, TCP_HEADER, self.PASS)
            p.set(self.flags, tcp.flags)
            self.ports(tcp)
        with p.otherwise():
            self.ports(p.packet("udp", self.l4, UDP_HEADER, self.PASS))

    def ports(self, header: Pointer) -> None:
        self.p.set(self.key.source_port, header.source)
        self.p.set(self.key.destination_port, header.destination)

    # ---- writing ----

    def rewrite(self, source: To | None = None, destination: To | None = None) -> None:
        """New ends, which stand on the stack; the sums follow."""
        p, l4 = self.p, self.l4
        total = p.let("sum", l4 + 16)  # where the checksum stands
        flags = p.let("sum_flags", 0, U64)
        with p.when(self.key.protocol == UDP):
            p.set(total, l4 + 6)
            p.set(flags, KEEP_NONE)
        if source is not None:
            at = LINK + (12 if self.v4 else 8)
            self.address(self.key.source, source.address, at, total, flags)
            self.port(self.key.source_port, source.port, l4, total, flags)
        if destination is not None:
            at = LINK + (16 if self.v4 else 24)
            self.address(self.key.destination, destination.address, at, total, flags)
            self.port(self.key.destination_port, destination.port, l4 + 2, total, flags)

    def address(self, old: Fields, new: Fields, at: int, total: Value, flags: Value) -> None:
        p, skb = self.p, self.skb
        if self.v4:
            p.call("l3_csum_replace", skb, LINK + 10, old[3], new[3], 4)
            p.call("l4_csum_replace", skb, total, old[3], new[3], flags | (PSEUDO | 4))
            p.call("skb_store_bytes", skb, at, new[3].address, 4, 0)
        else:
            change = p.call("csum_diff", old.address, 16, new.address, 16, 0, name="change")
            p.call("l4_csum_replace", skb, total, 0, change, flags | PSEUDO)
            p.call("skb_store_bytes", skb, at, new.address, 16, 0)

    def port(self, old: Value, new: Value, at: Value, total: Value, flags: Value) -> None:
        self.p.call("l4_csum_replace", self.skb, total, old, new, flags | 2)
        self.p.call("skb_store_bytes", self.skb, at, new.address, 2, 0)  # type: ignore[attr-defined]

    def forward(self, source: Fields, destination: Fields) -> None:
        """Straight to the neighbour where the way is plain; else the kernel decides."""
        p, skb = self.p, self.skb
        fib = p.stack("fib", FIB)
        p.set(fib.interface, skb.ingress_ifindex)
        p.set(fib.protocol, self.key.protocol)
        p.set(fib.family, AF_INET if self.v4 else AF_INET6)
        words = range(3, 4) if self.v4 else range(4)
        for to, i in enumerate(words):
            p.set(fib.source[to], source[i])
            p.set(fib.destination[to], destination[i])
        found = p.call("fib_lookup", skb, fib.address, FIB.size, 0, name="way")
        with p.when((found != FOUND) & (found != NO_NEIGHBOUR)):
            self.leave()
        (self.age_v4 if self.v4 else self.age_v6)()
        p.exit(p.call("redirect_neigh", fib.interface, 0, 0, 0, kind=U32))

    def age_v4(self) -> None:
        p = self.p
        ttl = p.packet("ttl", LINK + 8, TTL, self.PASS)
        with p.when(ttl.both.host() < 0x200):
            self.leave()
        old = p.let("old", ttl.both)
        new = p.let("new", (old.host() - 0x100).wire())
        p.set(ttl.both, new)
        p.call("l3_csum_replace", self.skb, LINK + 10, old, new, 2)

    def age_v6(self) -> None:
        p = self.p
        ip = p.packet("ip", LINK, IPV6, self.PASS)
        with p.when(ip.hops < 2):
            self.leave()
        p.set(ip.hops, (ip.hops - 1).to(U8))
