"""The tcx program: NAT on an interface's way in, specialised to a plan.

A packet to an address that we answer for (a service) gets the address of a server, and the
server's answer gets ours back:

    parse → flow known? ── yes, from a client ──→ its server   ┐
               │        └─ yes, from a server ──→ our address  ├→ rewrite → forward
               └ no → a service? ── yes → a server by its table ┘
                          └ no → on to the kernel, untouched

A flow is two rows of one table, one for each direction, so that the answer is recognised by its
own 5-tuple, and a server's answers to anyone else are left alone. A row names its server by
address: taking a server out of the tables leaves its flows where they are. The table evicts the
row that was used longest ago.

A new flow is a packet of no known flow, SYN or not: with the same tables another machine sends it
the same way. A SYN over a flow that was closed, or that has been idle, chooses anew; so does UDP
that was idle.

Forwarding asks the routing table and goes straight to the neighbour; where that has no plain
answer (no route, too big, its TTL ends) the rewritten packet goes on to the kernel, which knows
what to say.

Not here: packets with a VLAN tag (attach to the VLAN's interface), fragments, ICMP, and IPv6
extension headers; they go on untouched. Servers must route their answers through this machine.

When a client uses one port of its own towards two services, and both choose one server, the answers
could not be told apart: the flow that was there first goes on, and the other is left to the kernel.

Sources: Eisenbud et al. 2016 (Maglev) 3.3; RFC 1624 (checksums by difference).
"""

from __future__ import annotations

from fourseven.l4.bpf.build import ARRAY, HASH, LRU_HASH, Program
from fourseven.l4.bpf.layout import BE16, BE32, U8, U16, U32, U64, Array, Struct
from fourseven.l4.bpf.values import Condition, Fields, Local, Pointer, Value
from fourseven.l4.headers import (
    ETHERNET,
    FIB,
    IPV4,
    IPV6,
    SKB,
    TCP_HEADER,
    TTL,
    UDP_HEADER,
)
from fourseven.l4.kernel_plan import AT_RANDOM, BY_HASH, FLOWS_MAX, IN_TURN, TCP, UDP, KernelPlan

PASS = 0  # TC_ACT_OK: on to the kernel
AF_INET, AF_INET6 = 2, 10
TO_SERVER, TO_CLIENT = 1, 2
FIN, SYN, RST, ACK = 1, 2, 4, 16
LINK = 14  # bytes of the Ethernet header
HEADERS = LINK + 60 + 20  # the longest that is looked at: IPv4 with options, TCP without
PSEUDO, KEEP_NONE = 0x10, 0x20  # BPF_F_PSEUDO_HDR, BPF_F_MARK_MANGLED_0: UDP without a checksum
FOUND, NO_NEIGHBOUR = 0, 7  # BPF_FIB_LKUP_RET: a way is known, its neighbour perhaps not yet

KEY = Struct(
    "key",
    source=Array(BE32, 4),
    destination=Array(BE32, 4),
    source_port=BE16,
    destination_port=BE16,
    protocol=U8,
    spare=Array(U8, 3),
)
FLOW = Struct(
    "flow",
    target=Array(BE32, 4),  # the server's address, or ours on the way back
    port=BE16,
    way=U8,
    closing=U8,
    server=U32,
    seen=U64,  # nanoseconds
    idle=U64,
    packets=U64,
    bytes=U64,
)
VIP = Struct("vip", target=Array(BE32, 4), port=BE16, protocol=U8, spare=U8)
SERVICE = Struct(
    "service",
    first=U32,  # in the map `places`
    length=U32,
    pick=U32,
    spare=U32,
    mask=Array(BE32, 4),
    turn=U64,
    idle=U64,
)
INDEX = Struct("index", number=U32)
SERVER = Struct("server", target=Array(BE32, 4), port=BE16, spare=U16)
COUNTS = Struct("counts", flows=U64, packets_in=U64, bytes_in=U64, packets_out=U64, bytes_out=U64)

SERVERS_MAX = 4096  # rows that are taken at once: 160 kB
SERVICES_MAX = 4096
PLACES_MAX = 1 << 21  # 32 Maglev tables of 65,537; 16 MB

FNV_START, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
MIX = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)  # murmur3's finaliser, as snapshot/hashing.pxd
LOW = (1 << 64) - 1


class Tcx:
    """The program while it is written. `places` is how many rows the picking tables need."""

    def __init__(self, plan: KernelPlan, places: int) -> None:
        self.plan = plan
        self.p = p = Program("fourseven_tcx", SKB)
        self.skb = p.context
        self.both = plan.families() == {4, 6}
        self.flows = p.map("flows", LRU_HASH, KEY, FLOW, 2 * FLOWS_MAX)
        self.services = p.map("services", HASH, VIP, SERVICE, SERVICES_MAX)
        self.places = p.map("places", ARRAY, INDEX, INDEX, places)
        self.servers = p.map("servers", ARRAY, INDEX, SERVER, SERVERS_MAX)
        self.counts = p.map("counts", ARRAY, INDEX, COUNTS, SERVERS_MAX)
        self.l4 = p.let("l4", LINK, U16)  # where the TCP or UDP header begins
        self.flags = p.let("flags", 0, U8)
        self.now: Value = self.l4
        self.key = p.stack("key", KEY)
        self.to = p.stack("to", SERVER)
        self.write()

    def write(self) -> None:
        """The whole program, in the order of a packet's way."""
        p = self.p
        self.parse()
        self.now = p.call("ktime_get_ns", name="now")
        flow = p.lookup(self.flows, "flow", self.key)
        kept = p.let("kept", 0, U8)
        with p.when(flow.present):
            with p.when(flow.way == TO_CLIENT):
                self.touch(flow)
                self.count(flow.server, "out")
                self.take(flow)
                self.rewrite("source")
                self.forward(self.to.target, self.key.destination)
            p.set(kept, 1)
            syn = (self.flags & (SYN | ACK)) == SYN
            idle = (self.now - flow.seen) > flow.idle
            with p.when((syn & (flow.closing != 0)) | (idle & (syn | (self.key.protocol == UDP)))):
                p.set(kept, 0)
            with p.when(kept == 1):
                self.touch(flow)
                self.count(flow.server, "in")
                self.take(flow)
        with p.when(kept == 0):
            self.choose()
        self.rewrite("destination")
        self.forward(self.key.source, self.to.target)

    # ---- parsing: whatever is not ours leaves here ----

    def parse(self) -> None:
        p, skb = self.p, self.skb
        with p.when(skb.vlan_present != 0):
            p.exit(PASS)
        with p.when(skb.data.to(U64) + HEADERS > skb.data_end):
            wanted = p.let("wanted", HEADERS, U32)
            with p.when(skb.len < HEADERS):
                p.set(wanted, skb.len)
            p.call("skb_pull_data", skb, wanted)
        ethernet = p.packet("ethernet", 0, ETHERNET, PASS)
        if self.both:
            with p.when(ethernet.protocol == 0x0800):
                self.parse_v4()
            with p.otherwise():
                with p.when(ethernet.protocol != 0x86DD):
                    p.exit(PASS)
                self.parse_v6()
        else:
            only = 0x0800 if self.plan.families() == {4} else 0x86DD
            with p.when(ethernet.protocol != only):
                p.exit(PASS)
            (self.parse_v4 if only == 0x0800 else self.parse_v6)()
        with p.when(self.key.protocol == TCP):
            tcp = p.packet("tcp", self.l4, TCP_HEADER, PASS)
            p.set(self.flags, tcp.flags)
            self.ports(tcp)
        with p.otherwise():
            self.ports(p.packet("udp", self.l4, UDP_HEADER, PASS))

    def parse_v4(self) -> None:
        p, key = self.p, self.key
        ip = p.packet("ip", LINK, IPV4, PASS)
        size = p.let("size", (ip.version_length.to(U16) & 15) << 2)
        odd = (ip.version_length >> 4 != 4) | (size < 20) | ((ip.fragment & 0x3FFF) != 0)
        with p.when(odd):
            p.exit(PASS)
        self.transport(ip.protocol, ip.length.host(), size)
        p.set(self.l4, size + LINK)
        p.set(key.source[2], 0xFFFF)
        p.set(key.destination[2], 0xFFFF)
        p.set(key.source[3], ip.source)
        p.set(key.destination[3], ip.destination)

    def parse_v6(self) -> None:
        p, key = self.p, self.key
        ip = p.packet("ip", LINK, IPV6, PASS)
        with p.when(ip.version.host() >> 28 != 6):
            p.exit(PASS)
        for end in (ip.source, ip.destination):  # RFC 4291 2.5.5.2: never on the wire, and here
            with p.when(mapped(end)):  # it would be taken for IPv4
                p.exit(PASS)
        self.transport(ip.following, ip.length.host(), 0)
        p.set(self.l4, LINK + 40)
        p.copy(key.source, ip.source)
        p.copy(key.destination, ip.destination)

    def transport(self, protocol: Value, length: Value, before: Value | int) -> None:
        """TCP or UDP, and as long as its header; `length` bytes, of which `before` are not its."""
        p = self.p
        with p.when((protocol != TCP) & (protocol != UDP)):
            p.exit(PASS)
        p.set(self.key.protocol, protocol)
        least = p.let("least", before, U16)
        with p.when(protocol == TCP):
            p.set(least, least + TCP_HEADER.size)
        with p.otherwise():
            p.set(least, least + UDP_HEADER.size)
        with p.when(length < least):
            p.exit(PASS)

    def ports(self, header: Pointer) -> None:
        self.p.set(self.key.source_port, header.source)
        self.p.set(self.key.destination_port, header.destination)

    # ---- flows ----

    def touch(self, flow: Pointer) -> None:
        """A packet of a known flow."""
        p = self.p
        p.set(flow.seen, self.now)
        p.add(flow.packets, 1)
        p.add(flow.bytes, self.skb.len)
        with p.when((self.flags & (FIN | RST)) != 0):
            p.set(flow.closing, 1)

    def take(self, row: Pointer) -> None:
        """The address that a row names is the one to write into the packet."""
        self.p.copy(self.to.target, row.target)
        self.p.set(self.to.port, row.port)

    def count(self, server: Value, way: str) -> None:
        p = self.p
        at = p.stack("at", INDEX)
        p.set(at.number, server)
        counts = p.lookup(self.counts, "counts", at)
        with p.when(counts.present):
            p.add(getattr(counts, f"packets_{way}"), 1)
            p.add(getattr(counts, f"bytes_{way}"), self.skb.len)

    def choose(self) -> None:
        """A server for a new flow; what is for no service goes on to the kernel."""
        p, key = self.p, self.key
        vip = p.stack("vip", VIP)
        p.copy(vip.target, key.destination)
        p.set(vip.port, key.destination_port)
        p.set(vip.protocol, key.protocol)
        service = p.lookup(self.services, "service", vip)
        with p.when(service.missing):
            p.exit(PASS)
        with p.when(service.length == 0):
            p.exit(PASS)
        number = p.let("number", 0)
        for pick, write in (
            (IN_TURN, self.in_turn),
            (AT_RANDOM, self.at_random),
            (BY_HASH, self.by_hash),
        ):
            if pick in self.plan.picks():
                with p.when(service.pick == pick):
                    write(service, number)
        at = p.stack("at", INDEX)
        p.set(at.number, (service.first + number % service.length).to(U32))
        place = p.lookup(self.places, "place", at)
        with p.when(place.missing):
            p.exit(PASS)
        p.set(at.number, place.number)
        server = p.lookup(self.servers, "server", at)
        with p.when(server.missing):
            p.exit(PASS)
        self.take(server)
        self.remember(at, service)
        counts = p.lookup(self.counts, "counts", at)
        with p.when(counts.present):
            p.add(counts.flows, 1)
            p.add(counts.packets_in, 1)
            p.add(counts.bytes_in, self.skb.len)

    def in_turn(self, service: Pointer, number: Local) -> None:
        self.p.set(number, self.p.fetch_add("turn", service.turn, 1))

    def at_random(self, _service: Pointer, number: Local) -> None:
        self.p.set(number, self.p.call("get_prandom_u32", name="drawn"))

    def by_hash(self, service: Pointer, number: Local) -> None:
        """FNV-1a over the masked address, byte by byte; the relay's hash."""
        p = self.p
        p.set(number, FNV_START)
        for i in range(4):
            word = p.let("word", (self.key.source[i] & service.mask[i]).host())
            for shift in (24, 16, 8, 0):
                byte = (word >> shift) & 0xFF
                p.set(number, (number ^ byte) * FNV_PRIME)
        for factor in MIX:
            p.set(number, (number ^ number >> 33) * factor)
        p.set(number, number ^ number >> 33)

    def remember(self, at: Pointer, service: Pointer) -> None:
        """Both rows of a new flow; unless its way back is another's, who was here first."""
        p, key, to = self.p, self.key, self.to
        back = p.stack("back", KEY)
        p.copy(back.source, to.target)
        p.copy(back.destination, key.source)
        p.set(back.source_port, to.port)
        p.set(back.destination_port, key.source_port)
        p.set(back.protocol, key.protocol)
        other = p.lookup(self.flows, "other", back)
        with p.when(other.present):
            differs = (other.port != key.destination_port) | (other.way != TO_CLIENT)
            for i in range(4):
                differs |= other.target[i] != key.destination[i]
            lives = ((self.now - other.seen) <= other.idle) & (other.closing == 0)
            with p.when(differs & lives):
                p.exit(PASS)
        row = p.stack("row", FLOW)
        p.copy(row.target, to.target)
        p.set(row.port, to.port)
        p.set(row.way, TO_SERVER)
        p.set(row.server, at.number)
        p.set(row.seen, self.now)
        p.set(row.idle, service.idle)
        p.set(row.packets, 1)
        p.set(row.bytes, self.skb.len)
        p.update(self.flows, key, row)
        p.copy(row.target, key.destination)
        p.set(row.port, key.destination_port)
        p.set(row.way, TO_CLIENT)
        p.set(row.packets, 0)
        p.set(row.bytes, 0)
        p.update(self.flows, back, row)

    # ---- writing ----

    def rewrite(self, which: str) -> None:
        """Puts `to` in the place of the source or the destination; the sums follow."""
        p, skb, l4 = self.p, self.skb, self.l4
        old, new = getattr(self.key, which), self.to.target
        old_port = getattr(self.key, f"{which}_port")
        total = p.let("sum", l4 + 16)  # where the checksum stands
        flags = p.let("sum_flags", 0, U64)
        with p.when(self.key.protocol == UDP):
            p.set(total, l4 + 6)
            p.set(flags, KEEP_NONE)

        def v4() -> None:
            at = LINK + (12 if which == "source" else 16)
            p.call("l3_csum_replace", skb, LINK + 10, old[3], new[3], 4)
            p.call("l4_csum_replace", skb, total, old[3], new[3], flags | (PSEUDO | 4))
            p.call("skb_store_bytes", skb, at, new[3].address, 4, 0)

        def v6() -> None:
            at = LINK + (8 if which == "source" else 24)
            change = p.call("csum_diff", old.address, 16, new.address, 16, 0, name="change")
            p.call("l4_csum_replace", skb, total, 0, change, flags | PSEUDO)
            p.call("skb_store_bytes", skb, at, new.address, 16, 0)

        self.by_family(v4, v6)
        port_at = l4 if which == "source" else l4 + 2
        p.call("l4_csum_replace", skb, total, old_port, self.to.port, flags | 2)
        p.call("skb_store_bytes", skb, port_at, self.to.port.address, 2, 0)

    def forward(self, source: Value, destination: Value) -> None:
        """Straight to the neighbour where the way is plain; else the kernel decides."""
        p, skb = self.p, self.skb
        fib = p.stack("fib", FIB)
        p.set(fib.interface, skb.ingress_ifindex)
        p.set(fib.protocol, self.key.protocol)

        def ends(family: int, words: range) -> None:
            p.set(fib.family, family)
            for i in words:
                p.set(fib.source[i - words[0]], source[i])  # type: ignore[index]
                p.set(fib.destination[i - words[0]], destination[i])  # type: ignore[index]

        self.by_family(lambda: ends(AF_INET, range(3, 4)), lambda: ends(AF_INET6, range(4)))
        found = p.call("fib_lookup", skb, fib.address, FIB.size, 0, name="way")
        with p.when((found != FOUND) & (found != NO_NEIGHBOUR)):
            p.exit(PASS)
        self.by_family(self.age_v4, self.age_v6)
        p.exit(p.call("redirect_neigh", fib.interface, 0, 0, 0, kind=U32))

    def age_v4(self) -> None:
        p = self.p
        ttl = p.packet("ttl", LINK + 8, TTL, PASS)
        with p.when(ttl.both.host() < 0x200):
            p.exit(PASS)
        old = p.let("old", ttl.both)
        new = p.let("new", (old.host() - 0x100).wire())
        p.set(ttl.both, new)
        p.call("l3_csum_replace", self.skb, LINK + 10, old, new, 2)

    def age_v6(self) -> None:
        p = self.p
        ip = p.packet("ip", LINK, IPV6, PASS)
        with p.when(ip.hops < 2):
            p.exit(PASS)
        p.set(ip.hops, ip.hops - 1)

    def by_family(self, v4: object, v6: object) -> None:
        """Writes what each family needs; only one where the plan has only one."""
        p = self.p
        assert callable(v4)
        assert callable(v6)
        if not self.both:
            (v4 if self.plan.families() == {4} else v6)()
            return
        with p.when(mapped(self.key.source)):
            v4()
        with p.otherwise():
            v6()


def mapped(address: Fields) -> Condition:
    """Is it an IPv4 address in the form of an IPv6 one?"""
    return (address[0] == 0) & (address[1] == 0) & (address[2] == 0xFFFF)


def program(plan: KernelPlan, places: int = PLACES_MAX) -> Program:
    """The program for a plan that has at least one service."""
    return Tcx(plan, places).p
