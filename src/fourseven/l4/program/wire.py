"""A wire: how the program reads a packet, rewrites it, and sends it on its way.

What is decided about a packet (`decide`) is written once, over this:

    wire.parse(write)       reads the packet; `write` is called once for each family of the plan and
                            emits what happens to a packet of it. What is not ours has left before.
    wire.key                who talks to whom, on the stack: source, destination, ports, protocol
    wire.flags, wire.size   TCP's flags (0 for UDP), bytes of the whole packet
    wire.tcp()              TCP's header, for whoever needs its numbers; before the rewrite
    wire.v4                 which family is being written just now; known while the program is built
    wire.reach(row, …)      the way to an address: as the row remembers it, or asked anew
    wire.rewrite(…)         another source, another destination, or both; checksums follow
    wire.forward(row)       on to the neighbour; the program ends
    wire.leave()            on to the kernel, untouched; the program ends
    wire.owner              whose packet it is: a number for `lost`, which counts what is dropped

A way (interface, hardware addresses, the longest packet) stands in a row of the flow, in the fields
of HOP, and is good for a second; then the routing table is asked again. So a change of routes or of
a neighbour's address is followed within a second, and the usual packet asks nothing.

Law: nothing here knows flows, services or servers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fourseven.l4.bpf import checksums
from fourseven.l4.bpf.build import HASH, Program
from fourseven.l4.bpf.kernel import hertz
from fourseven.l4.bpf.layout import BE16, U8, U16, U32, U64, Array, Kind, Struct
from fourseven.l4.bpf.values import Condition, Fields, Load, Local, Pointer, Value
from fourseven.l4.headers import (
    BOTH_PORTS,
    ENDS,
    ETHERNET,
    EXTENSION,
    FIB,
    FRAGMENT,
    FRAME,
    HARDWARE,
    IP_ENDS,
    IPV4,
    IPV6,
    LINK,
    NEXT,
    PORTS,
    TCP_HEADER,
    UDP_HEADER,
)
from fourseven.l4.program.errors import ICMP_V4, ICMP_V6, LONGEST, Errors
from fourseven.l4.program.fragments import Fragments

TCP, UDP = 6, 17  # IANA protocol numbers
FIN, SYN, RST, ACK = 1, 2, 4, 16
AF_INET, AF_INET6 = 2, 10
ETHERTYPES = {4: 0x0800, 6: 0x86DD}
# How much of the usual packet is looked at.
USUAL = {4: LINK + IPV4.size + TCP_HEADER.size, 6: LINK + IPV6.size + TCP_HEADER.size}
EXTENSIONS = 3  # of IPv6 that are walked through; hardly any packet has more than one
HOP_BY_HOP, ROUTING, FRAGMENTED, OPTIONS = 0, 43, 44, 60
FOUND, NO_NEIGHBOUR = 0, 7  # BPF_FIB_LKUP_RET: a way is known, its neighbour perhaps not yet
ANY_LENGTH = 1  # asked of the routing table, so that it tells what fits
PLAIN, UNKNOWN, ODD = 0, 1, 2  # a way: as remembered; its neighbour is not known; the kernel's

# Beside an interface's number: straight to its other end; it takes no frame back by XDP_TX.
SHORT, NO_TX = 1 << 31, 1 << 30
NUMBER = NO_TX - 1  # … without that
HOP: dict[str, Kind | Array] = {  # a way to somewhere, in a row that remembers it; all 0 is none
    "hop": Array(U32, 3),  # hardware addresses, in the order of an Ethernet header
    "out": U32,  # the interface, SHORT, NO_TX
    "checked": U32,  # the tick when the routing table said so
    "mtu": U16,  # the longest packet, without the Ethernet header; 0: ask, whatever the time
    "beside": U16,  # nothing
}
WAY = Struct("way", **HOP)
INDEX = Struct("index", number=U32)
INTERFACES_MAX = 4096  # of which SHORT or NO_TX is known; those beyond are cards to the program


class To(NamedTuple):
    """A new end for a packet, in a row or on the stack."""

    address: Fields
    port: Load


class Wire:
    """What every wire has; how a packet is sent and its checksums are kept is each one's own."""

    CONTEXT: Struct  # what the kernel hands to the program
    PASS: int  # the exit code that lets the kernel go on
    DROP: int  # the exit code with which it ends here
    LAST: bool  # what leaves is the host's; else a program of ours comes after, and counts it
    SENT: int  # the exit code with which a packet was handed to an interface

    def __init__(self, p: Program, keys: dict[int, Struct], protocols: set[int]) -> None:
        """`keys`: for each family the struct that parse() fills; in `protocols` at least one."""
        self.p, self.keys, self.protocols = p, keys, protocols
        self.context = p.context
        self.v4 = False
        self.second = hertz()
        self.fragments = Fragments(self, HOP)
        self.interfaces = p.map("interfaces", HASH, INDEX, INDEX, INTERFACES_MAX)  # SHORT, NO_TX
        self.error: Callable[[], None] | None = None
        self.about: Errors | None = None  # the error that is being written about
        self.undo: Callable[[], None] | None = None  # what a packet that is left has not done
        self.owner: Value | None = None  # of the packet that is written about; nobody's
        self.lost: Callable[[str, Value], None] | None = None  # counts what is dropped, and why
        self.astray: Callable[[str, Fields], None] | None = None  # … left, by its destination
        self.ingress: Value = self.context.ingress_ifindex
        self.size: Value = self.measure()

    def measure(self) -> Value:
        """Bytes of the packet."""
        raise NotImplementedError

    def enter(self) -> None:
        """What must be so before a packet can be read."""
        raise NotImplementedError

    def need(self, size: int) -> None:
        """So many bytes can be read, if the packet has them; headers must be taken again."""
        raise NotImplementedError

    # ---- reading: whatever is not ours leaves here ----

    def parse(self, write: Callable[[], None], error: Callable[[], None] | None = None) -> None:
        """`error` emits what happens to an ICMP error, whose flow's key stands in wire.key."""
        p = self.p
        self.error = error
        self.enter()
        ethernet = p.packet("ethernet", 0, ETHERNET, self.PASS)
        for family, struct in self.keys.items():
            with p.when(ethernet.protocol == ETHERTYPES[family]):
                self.v4, self.owner = family == 4, None
                self.key = p.stack("key", struct)
                self.flags: Local = p.let("flags", 0)
                self.l4 = p.let("l4", LINK, U16)  # where the TCP or UDP header begins
                self.plain = p.let("plain", PLAIN)
                self.piece = p.let("piece_at", 0, U16)  # of IPv6: a fragment header; 0: none
                self.need(USUAL[family])
                self.ip = p.packet("ip", LINK, IPV4 if self.v4 else IPV6, self.PASS)
                with p.scope():
                    (self.parse_v4 if self.v4 else self.parse_v6)()
                write()
        self.leave()

    def network(self) -> Pointer:
        """The header of IP. Of IPv6 it is taken anew each time: what the verifier knows of it
        depends on the extension headers, and it would follow each way there to the end."""
        if self.v4 and self.p.stands(self.ip):
            return self.ip
        return self.p.packet("ip", LINK, IPV4 if self.v4 else IPV6, self.PASS)

    @property
    def family(self) -> int:
        return 4 if self.v4 else 6

    def parse_v4(self) -> None:
        p, key = self.p, self.key
        ip = self.ip
        size = p.let("size", (ip.version_length.to(U16) & 15) << 2)
        with p.when((ip.version_length >> 4 != 4) | (size < 20)):
            self.stray("malformed", ip.destination)
        with p.when((ip.fragment & 0x1FFF) != 0):
            self.fragments.follow(ip, ip.id, ip.protocol)
        p.set(self.l4, size + LINK)
        self.transport(ip, ip.protocol, ip.length.host(), size, ICMP_V4)
        if key.source.count == 4:  # a key that serves both families
            p.set(key.source[2], 0xFFFF)
            p.set(key.destination[2], 0xFFFF)
        self.addresses(ip)
        self.ends()

    def parse_v6(self) -> None:
        p = self.p
        ip = self.ip
        with p.when(ip.version.host() >> 28 != 6):
            self.stray("malformed", ip.destination)
        for end in (ip.source, ip.destination):  # RFC 4291 2.5.5.2: never on the wire, and where
            with p.when(mapped(end)):  # a key serves both families it would be taken for IPv4
                self.leave()
        p.set(self.l4, LINK + IPV6.size)
        following = p.let("following", ip.following)
        with p.when((following != TCP) & (following != UDP)):
            self.need(LONGEST)
            for _ in range(EXTENSIONS):
                self.extension(following)
            for place in (self.l4, self.piece):
                p.set(place, (p.forgotten(place, self.size) & 0x1FFF).to(U16))
        ip = self.network()
        before = (self.l4 - (LINK + IPV6.size)).to(U16)
        self.transport(ip, following, ip.length.host(), before, ICMP_V6)
        self.addresses(ip)
        self.ends()

    def extension(self, following: Local) -> None:
        """One extension header, if it is one that we step over (RFC 8200 4)."""
        p = self.p
        steps = (following == HOP_BY_HOP) | (following == ROUTING) | (following == OPTIONS)
        with p.when(steps | (following == FRAGMENTED)):
            header = p.packet("extension", self.l4, EXTENSION, self.PASS, self.breaks_off_early)
            with p.when(following == FRAGMENTED):
                piece = header.seen_as(FRAGMENT)
                with p.when(piece.offset.host() >> 3 != 0):
                    ip = p.packet("ip", LINK, IPV6, self.PASS)
                    self.fragments.follow(ip, piece.id, piece.following)
                with p.when(piece.offset.host() & 1 != 0):
                    p.set(self.piece, self.l4)
                p.set(self.l4, self.l4 + FRAGMENT.size)
            with p.otherwise():
                with p.when((following == ROUTING) & (header.rest[1] != 0)):
                    self.leave()  # it is not yet on its way to whom the checksum knows
                p.set(self.l4, (self.l4 + 8 + (header.length.to(U16) << 3)).to(U16))
            p.set(following, header.following)

    def addresses(self, ip: Pointer) -> None:
        if self.both:
            words = ip.seen_as(IP_ENDS[self.family]).words
            self.p.copy(self.key.seen_as(ENDS[self.family]).words, words)
            return
        self.copy(self.key.source, ip.source)
        self.copy(self.key.destination, ip.destination)

    @property
    def both(self) -> bool:
        """Are the ends of the key those of the header, one after the other?"""
        return bool(self.key.source.count == (1 if self.v4 else 4))

    def words(self, address: Fields) -> list[Load]:
        """The words of an address; of IPv4 in the form of IPv6 the last one."""
        return [address[i] for i in range(address.count - (1 if self.v4 else 4), address.count)]

    def copy(self, to: Fields, address: Fields) -> None:
        for written, word in zip(self.words(to), self.words(address), strict=True):
            self.p.set(written, word)

    def differ(self, one: Fields, other: Fields) -> Condition:
        """Are two addresses not the same?"""
        pairs = list(zip(self.words(one), self.words(other), strict=True))
        found: Condition = pairs[0][0] != pairs[0][1]
        for mine, yours in pairs[1:]:
            found = found | (mine != yours)
        return found

    def transport(
        self, ip: Pointer, protocol: Value, length: Value, before: Value, icmp: int
    ) -> None:
        """A protocol of the plan, as long as its header; `length` bytes, `before` not its."""
        p = self.p
        other = (protocol != TCP) & (protocol != UDP)
        with p.when(other):
            if self.error is not None:
                with p.when(protocol == icmp):
                    Errors(self, self.error).read()
            self.leave()
        least = p.let("least", before, U16)
        if self.protocols == {TCP, UDP}:
            with p.when(protocol == TCP):
                p.set(least, least + TCP_HEADER.size)
            with p.otherwise():
                p.set(least, least + UDP_HEADER.size)
        else:
            (only,) = self.protocols
            with p.when(protocol != only):
                self.leave()
            p.set(least, least + (TCP_HEADER if only == TCP else UDP_HEADER).size)
        p.set(self.key.protocol, protocol)
        with p.when(length < least):
            self.stray("malformed", ip.destination)

    def ends(self) -> None:
        """The ports, and TCP's flags."""
        self.by_protocol(self.read_tcp, self.read_udp)

    def read_tcp(self) -> None:
        tcp = self.p.packet("tcp", self.l4, TCP_HEADER, self.PASS, self.breaks_off)
        self.p.set(self.flags, tcp.flags)
        self.ports(tcp)

    def read_udp(self) -> None:
        self.ports(self.p.packet("udp", self.l4, UDP_HEADER, self.PASS, self.breaks_off))

    def breaks_off(self) -> None:
        """The packet ends before its header does."""
        if self.astray is not None:
            self.astray("malformed", self.key.destination)

    def ports(self, header: Pointer) -> None:
        if self.both:
            ports = header.seen_as(BOTH_PORTS).ports
            self.p.set(self.key.seen_as(ENDS[self.family]).ports, ports)
            return
        self.p.set(self.key.source_port, header.source)
        self.p.set(self.key.destination_port, header.destination)

    def by_protocol(self, tcp: Callable[[], None], udp: Callable[[], None]) -> None:
        """Writes what each protocol needs; only one where the plan has only one."""
        if self.protocols == {TCP}:
            tcp()
        elif self.protocols == {UDP}:
            udp()
        else:
            with self.p.when(self.key.protocol == TCP):
                tcp()
            with self.p.otherwise():
                udp()

    def tcp(self) -> Pointer:
        """TCP's header."""
        return self.p.packet("tcp", self.l4, TCP_HEADER, self.PASS)

    def ticks(self) -> Local:
        """The time, in ticks of 32 bits: differences are good for 24 days and more."""
        now = self.p.let("now", 0, U32)
        with self.p.scope():
            self.p.set(now, self.p.call("jiffies64", name="jiffies").to(U32))
        return now

    # ---- the way ----

    def reach(  # noqa: PLR0917 - from where to where, and what else happens
        self,
        row: Pointer,
        now: Value,
        source: Fields,
        destination: Fields,
        refreshed: Callable[[], None] | None = None,
        quotes: bool = True,
        undo: Callable[[], None] | None = None,
    ) -> None:
        """The way from `source` to `destination`, which `row` remembers; `refreshed` is written
        where the routing table is asked, about once a second. `quotes`: of a packet that cannot go
        its way the sender may be told, who knows it by its beginning. `undo` is written where the
        packet is left to a program of ours that decides anew."""
        p = self.p
        self.next = p.room("next", NEXT)  # until the packet is forwarded, far behind this block
        with p.when(((now - row.checked) > self.second) | (row.mtu == 0)):
            if refreshed is not None:
                with p.scope():
                    refreshed()
            self.ask(row, now, source, destination)
        self.undo = undo
        with p.scope():
            self.fits(row, quotes and self.about is None)

    def ask(self, row: Pointer, now: Value, source: Fields, destination: Fields) -> None:
        """Asks the routing table, and remembers."""
        p = self.p
        fib = p.stack("fib", FIB)
        p.set(fib.interface, self.ingress)
        p.set(fib.protocol, self.key.protocol)
        p.set(fib.length, ANY_LENGTH)
        p.set(fib.family, AF_INET if self.v4 else AF_INET6)
        for i, (near, far) in enumerate(
            zip(self.words(source), self.words(destination), strict=True)
        ):
            p.set(fib.source[i], near)
            p.set(fib.destination[i], far)
        found = p.call("fib_lookup", p.context, fib.address, FIB.size, 0, name="found")
        p.set(row.out, fib.interface)
        with p.when(found == FOUND):
            number = p.stack("number", INDEX)
            p.set(number.number, fib.interface)
            known = p.lookup(self.interfaces, "known", number)
            with p.when(known.present):
                p.set(row.out, fib.interface | known.number)
            frame = p.stack("frame", FRAME)
            p.copy(frame.to, fib.neighbour)
            p.copy(frame.source, fib.near)
            p.copy(row.hop, frame.seen_as(HARDWARE).words)
            p.set(row.mtu, fib.length)
        with p.otherwise():
            p.set(row.mtu, 0)
            p.set(self.plain, ODD)
            with p.when(found == NO_NEIGHBOUR):
                p.set(self.plain, UNKNOWN)
                p.clear(self.next)  # a gateway, or `destination`, whom a packet
                p.set(self.next.family, fib.family)  # on its way past us may not name
                p.copy(self.next.hop, fib.destination)
        p.set(row.checked, now)

    def fits(self, row: Pointer, quotes: bool) -> None:
        """Too long for the way, or has it come too far?"""
        raise NotImplementedError

    def hops_end(self) -> Condition:
        """Is this the last hop that the packet may take?"""
        ip = self.network()
        left: Value = ip.ttl if self.v4 else ip.hops
        return left < 2

    # ---- writing ----

    def rewrite(
        self,
        source: To | None = None,
        destination: To | None = None,
        towards: Fields | None = None,
    ) -> None:
        """New ends; the checksums follow. Of an error: `source` and `destination` as they are for
        a packet of its flow on this way, both. `towards`: to whom it goes, if not to its
        destination."""
        p, key = self.p, self.key
        if self.about is not None:
            assert source is not None
            assert destination is not None
            self.about.rewrite(source, destination)
            return
        addresses: list[tuple[Value, Value]] = []
        ports: list[tuple[Value, Value]] = []
        before = self.network() if self.v4 else None  # of IPv6 it stands elsewhere
        self.remember(before, source, destination, towards)
        if source is None and destination is None:
            return
        ip = before or self.network()
        header = p.packet("ports", self.l4, PORTS, self.PASS)
        for name, to in (("source", source), ("destination", destination)):
            if to is None:
                continue
            old, written = getattr(key, name), getattr(ip, name)
            addresses += zip(self.words(old), self.words(to.address), strict=True)
            self.copy(written, to.address)
            ports.append((getattr(key, f"{name}_port"), to.port))
            p.set(getattr(header, name), to.port)
        change = checksums.difference(p, "change", addresses)
        if self.v4:
            checksums.apply(p, ip.checksum, change)
        self.sums(change, checksums.difference(p, "ports_change", ports), ports)

    def remember(
        self,
        ip: Pointer | None,  # of IPv4
        source: To | None,
        destination: To | None,
        towards: Fields | None,
    ) -> None:
        """If this is the first fragment, the others go there too."""
        p = self.p
        ends = (source and source.address, destination and destination.address, towards)
        if ip is not None:
            with p.when((ip.fragment & 0x2000) != 0):
                self.fragments.remember(*ends, ip.id)
        else:
            with p.when(self.piece != 0):
                piece = p.packet("fragment", self.piece, FRAGMENT, self.PASS)
                self.fragments.remember(*ends, piece.id)

    def sums(self, addresses: Local, ports: Local, pairs: list[tuple[Value, Value]]) -> None:
        """TCP's or UDP's checksum, after these differences; `pairs` are the ports, old and new."""
        raise NotImplementedError

    def age(self) -> None:
        """One hop less to go."""
        p = self.p
        if not self.v4:
            ip6 = self.network()
            p.set(ip6.hops, (ip6.hops - 1).to(U8))
            return
        ip = self.network()
        p.set(ip.ttl, (ip.ttl - 1).to(U8))
        total = p.let("total", ip.checksum.bits(U64) + BE16.store(0x0100))
        p.set(ip.checksum, ((total & 0xFFFF) + (total >> 16)).bits(BE16))

    def address(self, row: Pointer) -> None:
        """The hardware addresses of the way."""
        self.p.copy(self.p.packet("hardware", 0, HARDWARE, self.PASS).words, row.hop)

    def forward(self, row: Pointer) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        """On to the kernel, as it came."""
        self.p.exit(self.PASS)

    def breaks_off_early(self) -> None:
        """The same, where nothing of it is known but IPv6's header."""
        if self.astray is not None:
            ip = self.p.packet("ip", LINK, IPV6, self.PASS)
            self.astray("malformed", ip.destination)

    def stray(self, reason: str, destination: Fields) -> None:
        """On to the kernel, and counted by where it wanted to go."""
        if self.astray is not None:
            self.astray(reason, destination)
        self.leave()

    def drop(self, reason: str) -> None:
        """Goes nowhere, and is counted."""
        self.lose(reason)
        self.p.exit(self.DROP)

    def lose(self, reason: str) -> None:
        """Counted as one that goes nowhere."""
        if self.lost is not None and self.owner is not None:
            self.lost(reason, self.owner)


def mapped(address: Fields) -> Condition:
    """Is it an IPv4 address in the form of an IPv6 one?"""
    return (address[0] == 0) & (address[1] == 0) & (address[2] == 0xFFFF)
