"""What becomes of a packet: known flow, service, server. Written once, over any wire (`wire`).

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

Servers must route their answers through this machine.

When a client uses one port of its own towards two services, and both choose one server, the answers
could not be told apart: the flow that was there first goes on, and the other is left to the kernel.

Source: Eisenbud et al. 2016 (Maglev) 3.3.
"""

from __future__ import annotations

from fourseven.l4.bpf.build import ARRAY, HASH, LRU_HASH, Program
from fourseven.l4.bpf.layout import BE16, BE32, U8, U16, U32, U64, Array, Struct
from fourseven.l4.bpf.values import Local, Pointer, Value
from fourseven.l4.kernel_plan import AT_RANDOM, BY_HASH, FLOWS_MAX, IN_TURN, UDP, KernelPlan
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.wire import ACK, FIN, RST, SYN, WAY, To, Wire

TO_SERVER, TO_CLIENT = 1, 2

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


class Decision:
    """The program while it is written. `places` is how many rows the picking tables need."""

    def __init__(self, plan: KernelPlan, places: int, wire: type[Wire] = SkbWire) -> None:
        self.plan = plan
        self.p = p = Program("fourseven_tcx", wire.CONTEXT)
        self.flows = p.map("flows", LRU_HASH, KEY, FLOW, 2 * FLOWS_MAX)
        self.services = p.map("services", HASH, VIP, SERVICE, SERVICES_MAX)
        self.places = p.map("places", ARRAY, INDEX, INDEX, places)
        self.servers = p.map("servers", ARRAY, INDEX, SERVER, SERVERS_MAX)
        self.counts = p.map("counts", ARRAY, INDEX, COUNTS, SERVERS_MAX)
        self.wire = wire(p, dict.fromkeys(plan.families(), KEY), plan.protocols())
        self.wire.parse(self.write)

    def write(self) -> None:
        """What becomes of a packet of one family, in the order of its way."""
        p, wire = self.p, self.wire
        self.key = key = wire.key
        self.to = p.stack("to", SERVER)
        way = p.stack("way", WAY)
        ticks = wire.ticks()
        self.now: Value = p.call("ktime_get_ns", name="now")
        flow = p.lookup(self.flows, "flow", key)
        kept = p.let("kept", 0, U8)
        with p.when(flow.present):
            with p.when(flow.way == TO_CLIENT):
                self.touch(flow)
                self.count(flow.server, "out")
                self.take(flow)
                wire.reach(way, ticks, self.to.target, key.destination)
                wire.rewrite(source=To(self.to.target, self.to.port))
                wire.forward(way)
            p.set(kept, 1)
            syn = (wire.flags & (SYN | ACK)) == SYN
            idle = (self.now - flow.seen) > flow.idle
            with p.when((syn & (flow.closing != 0)) | (idle & (syn | (key.protocol == UDP)))):
                p.set(kept, 0)
            with p.when(kept == 1):
                self.touch(flow)
                self.count(flow.server, "in")
                self.take(flow)
        with p.when(kept == 0):
            self.choose()
        wire.reach(way, ticks, key.source, self.to.target)
        wire.rewrite(destination=To(self.to.target, self.to.port))
        wire.forward(way)

    # ---- flows ----

    def touch(self, flow: Pointer) -> None:
        """A packet of a known flow."""
        p = self.p
        p.set(flow.seen, self.now)
        p.add(flow.packets, 1)
        p.add(flow.bytes, self.wire.size)
        with p.when((self.wire.flags & (FIN | RST)) != 0):
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
            p.add(getattr(counts, f"bytes_{way}"), self.wire.size)

    def choose(self) -> None:
        """A server for a new flow; what is for no service goes on to the kernel."""
        p, key = self.p, self.key
        vip = p.stack("vip", VIP)
        p.copy(vip.target, key.destination)
        p.set(vip.port, key.destination_port)
        p.set(vip.protocol, key.protocol)
        service = p.lookup(self.services, "service", vip)
        with p.when(service.missing):
            self.wire.leave()
        with p.when(service.length == 0):
            self.wire.leave()
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
            self.wire.leave()
        p.set(at.number, place.number)
        server = p.lookup(self.servers, "server", at)
        with p.when(server.missing):
            self.wire.leave()
        self.take(server)
        self.remember(at, service)
        counts = p.lookup(self.counts, "counts", at)
        with p.when(counts.present):
            p.add(counts.flows, 1)
            p.add(counts.packets_in, 1)
            p.add(counts.bytes_in, self.wire.size)

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
                self.wire.leave()
        row = p.stack("row", FLOW)
        p.copy(row.target, to.target)
        p.set(row.port, to.port)
        p.set(row.way, TO_SERVER)
        p.set(row.server, at.number)
        p.set(row.seen, self.now)
        p.set(row.idle, service.idle)
        p.set(row.packets, 1)
        p.set(row.bytes, self.wire.size)
        p.update(self.flows, key, row)
        p.copy(row.target, key.destination)
        p.set(row.port, key.destination_port)
        p.set(row.way, TO_CLIENT)
        p.set(row.packets, 0)
        p.set(row.bytes, 0)
        p.update(self.flows, back, row)


def program(plan: KernelPlan, places: int = PLACES_MAX) -> Program:
    """The program for a plan that has at least one service."""
    return Decision(plan, places).p
