"""Packets of no known flow: how a flow begins.

A SYN makes no flow, only an entry in `pending`: an array of buckets, found by a hash of the
client's end, in which the oldest entry makes room. No list, no lock, and no memory that a flood of
SYNs could take from the flows. The handshake then goes

    SYN        a server is picked, the entry written
    SYN-ACK    of that server to that client: the entry gets the number that must be acknowledged
    ACK        with that very number: the flow is made

and whoever cannot see the SYN-ACK cannot make one. A client's RST goes the entry's way. UDP: the
first datagram and its answer go by the entry, the second datagram makes the flow; so a question and
its answer leave no flow behind.

A packet midway in a connection that nobody here knows may be another machine's flow. Where the
pick is a hash, that machine would have sent it to the same server, so it goes there; the flow is
made when the server has answered, and not with RST.

Masqueraded flows have a port of ours towards their server (`ports`). Their answers don't name the
client, so `answers` says which entry they belong to, by a hash of both ends.

When a client uses one port of its own towards two services, and both choose one server, the answers
could not be told apart. The server sees the later flow come from the port's neighbour (the number
with its last bit turned: it has the same bucket); if that one is taken too, the packet is left to
the kernel.

Law: what is no handshake of ours is left untouched: direct connections to a server (health checks!)
match neither a flow nor an entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fourseven.l4.bpf.layout import U8, U16, U32, U64
from fourseven.l4.bpf.values import Condition, Fields, Local, Pointer, Value
from fourseven.l4.kernel_plan import (
    BY_HASH,
    DIRECT,
    IN_TURN,
    MASQUERADE,
    ROUTED,
    TCP,
    UDP,
)
from fourseven.l4.program.picks import Picks
from fourseven.l4.program.ports import Ports
from fourseven.l4.program.slots import (
    DESTINATION,
    NOWHERE,
    SOURCE,
    STREET,
    STREET_BITS,
)
from fourseven.l4.program.steps import BOTH, alive, mix, same, turn, words
from fourseven.l4.program.tables import (
    ANSWERS_MAX,
    ASKED,
    BUCKET,
    IS_UDP,
    KEYS,
    MADE,
    MIDWAY,
    NEW_DESTINATION,
    NEW_SOURCE,
    PENDING_MAX,
    PENDING_S,
    PROVEN,
    SYN_ANSWERED,
    SYN_SENT,
    TO_CLIENT,
    VIPS,
)
from fourseven.l4.program.wire import ACK, RST, SYN, WAY

if TYPE_CHECKING:
    from fourseven.l4.program.decide import Decision

BACK = (1 << 64) - 1  # added to a counter: one less
NOTHING, ENTRY, FLOW, PASSED = 0, 1, 2, 3  # what a client's packet makes; it goes on, no more
EMPTY, OURS = 1 << 33, 1 << 34  # older than any entry can be
BUCKETS_BITS, ANSWERS_BITS = (PENDING_MAX // BUCKET).bit_length() - 1, ANSWERS_MAX.bit_length() - 1
STATES = {ROUTED: NEW_DESTINATION, MASQUERADE: BOTH, DIRECT: 0}


class Handshakes:
    """Writes what becomes of a packet of no known flow, for the family that is being written."""

    def __init__(self, decision: Decision) -> None:
        self.d, self.p, self.wire = decision, decision.p, decision.wire
        self.key, self.at, self.now = decision.key, decision.at, decision.now
        self.tables, self.modes = decision.tables, decision.modes
        self.pending = decision.tables.pending[decision.family]

    def write(self) -> None:
        p, key, family = self.p, self.key, self.d.family
        service = p.nowhere(self.tables.services[family], "service")
        with p.scope():
            vip = p.stack("vip", VIPS[family])
            p.copy(vip.target, key.destination)
            p.set(vip.port, key.destination_port)
            p.set(vip.protocol, key.protocol)
            p.look_again(service, self.tables.services[family], vip)
        with p.when(service.missing):
            self.answered()
        self.asked(service)

    # ---- a client's packet ----

    def asked(self, service: Pointer) -> None:
        """To a service: an entry, or a flow, or neither; then on to a server."""
        p, key = self.p, self.key
        back = p.stack("back", KEYS[self.d.family])  # what the server's answer will be
        row = p.stack("row", MADE[self.d.family])
        p.set(back.protocol, key.protocol)
        p.set(row.listener, service.listener)
        p.set(row.idle, service.idle)
        self.wire.owner = row.listener
        mode = p.let("mode", service.mode, U8)
        makes, waits = p.let("makes", ENTRY, U8), p.let("waits", SYN_SENT, U8)
        base = self.bucket(key.source, key.source_port)
        for i in range(BUCKET):  # read late: what is far away begins to come nearer meanwhile
            with p.scope():
                entry = self.entry(base + i)
                with p.when(entry.present):
                    p.let("since", entry.since)
        place = p.let("place", NOWHERE, U32)
        with p.when((self.wire.flags & (SYN | ACK)) != SYN):
            p.set(waits, MIDWAY)
            with p.when(key.protocol == UDP):
                p.set(waits, ASKED)
            self.find(base, place, self.asks)
            with p.when(place != NOWHERE):
                self.go_on(place, back, row, mode, makes)
        self.forget(makes, waits)
        with p.when(makes < FLOW):
            if TCP in self.d.protocols:
                with p.when(waits == MIDWAY):
                    self.midway(service, mode)
            self.begin(service, back, row, mode, base)
        turn(p, row, back)
        self.state(row, mode)
        p.set(self.at.number, row.server)
        way = p.lookup(self.tables.ways, "way", self.at)
        with p.when(way.missing):
            self.wire.leave()
        self.wire.reach(
            way, self.now, row.source, row.destination, undo=lambda: self.undo(service, makes)
        )
        with p.when(makes == FLOW), p.scope():
            self.make(back, row, way, place)
        with p.when(makes == ENTRY):
            self.note(base, back, row, mode, waits)
        p.set(self.at.number, row.server)
        with p.scope():
            self.d.count(row.listener, row.state)
        self.d.rewrite(row, row.state)
        self.wire.forward(way)

    def state(self, row: Pointer, mode: Local) -> None:
        """Which ends of the client's packets are new, and whose protocol they have."""
        p, key = self.p, self.key
        for one in sorted(self.modes):
            with p.when(mode == one):
                p.set(row.state, STATES[one])
        if ROUTED in self.modes:
            with p.when((mode == ROUTED) & (row.source_port != key.source_port)):
                p.set(row.state, BOTH)
        if UDP in self.d.protocols:
            with p.when(key.protocol == UDP):
                p.set(row.state, row.state | IS_UDP)

    def forget(self, *locals_: Local) -> None:
        """The verifier need not follow each of their values by itself to the program's end."""
        for one in locals_:
            with self.p.scope():
                self.p.set(one, self.p.forgotten(one, self.now).to(one.kind))

    def find(self, base: Local, place: Local, wanted: Callable[[Pointer], Condition]) -> None:
        """Where in a bucket a handshake stands that is wanted and not too old, if one does."""
        p = self.p
        for i in range(BUCKET):
            with p.scope():
                entry = self.entry(base + i)
                with (
                    p.when(entry.present),
                    p.when(wanted(entry) & self.fresh(entry)),
                ):
                    p.set(place, (base + i).to(U32))

    def undo(self, service: Pointer, makes: Local) -> None:
        """The turn was nobody's: whoever decides anew takes the same one."""
        if IN_TURN in self.d.plan.picks():
            with self.p.when((service.pick == IN_TURN) & (makes < FLOW)):
                self.p.add(service.turn, BACK)

    def go_on(self, place: Local, back: Pointer, row: Pointer, mode: Local, makes: Local) -> None:
        p = self.p
        entry = self.entry(place)
        with p.when(entry.present):
            self.judge(entry, makes)
            with p.when(makes >= FLOW):
                p.copy(back.source, entry.target)
                p.copy(back.destination, entry.source)
                p.set(back.source_port, entry.target_port)
                p.set(back.destination_port, entry.source_port)
                p.set(row.server, entry.server)
                p.set(mode, entry.mode)

    def judge(self, entry: Pointer, makes: Local) -> None:
        """Does this packet make a flow of the entry?"""
        p = self.p
        with p.when((entry.waits == ASKED) | (entry.waits == PROVEN)):
            p.set(makes, FLOW)
        if TCP not in self.d.protocols:
            return
        if DIRECT in self.modes:  # nobody sees its SYN-ACK
            with p.when((entry.waits == SYN_SENT) & (entry.mode == DIRECT)):
                p.set(makes, FLOW)
        with p.when(entry.waits == SYN_ANSWERED):
            p.set(makes, NOTHING)  # whatever this is, the handshake stands
            tcp = self.wire.tcp()
            with p.when(tcp.acknowledged.host() == entry.acknowledged):
                p.set(makes, FLOW)
        # A client that gives up says so to the server, whose half of the handshake stands else, and
        # stands in the way of whoever gets this port of ours next.
        half: Condition = (entry.waits == SYN_SENT) | (entry.waits == SYN_ANSWERED)
        if self.modes != {DIRECT}:
            with p.when(half & ((self.wire.flags & RST) != 0) & (entry.mode != DIRECT)):
                p.set(makes, PASSED)

    def midway(self, service: Pointer, mode: Local) -> None:
        """In a connection that nobody here knows: goes on only where every machine picks alike."""
        p = self.p
        if BY_HASH in self.d.plan.picks() and self.modes != {MASQUERADE}:
            with p.when((service.pick != BY_HASH) | (mode == MASQUERADE)):
                self.refuse(service, "no_flow")
        else:
            self.refuse(service, "no_flow")

    def begin(
        self, service: Pointer, back: Pointer, row: Pointer, mode: Local, base: Local
    ) -> None:
        """A server for what begins; the ends of its answers are then in `back`."""
        p, key = self.p, self.key
        with p.when(service.length == 0):
            self.refuse(service, "no_server")
        number = p.let("number", 0)
        with p.scope():
            Picks(self.d).write(service, number)
        p.set(self.at.number, (service.first + number % service.length).to(U32))
        place = p.lookup(self.tables.places, "place", self.at)
        with p.when(place.missing):
            self.wire.leave()
        p.set(row.server, place.number.to(U16))
        p.set(self.at.number, place.number)
        server = p.lookup(self.tables.servers, "server", self.at)
        with p.when(server.missing):
            self.wire.leave()
        words = back.source.count
        for i in range(words):
            p.set(back.source[i], server.target[4 - words + i])
        p.set(back.source_port, server.port)
        if MASQUERADE in self.modes:
            with p.when(mode == MASQUERADE):
                Ports(self, service, server, back).write()
        with p.when(mode != MASQUERADE):
            p.copy(back.destination, key.source)
            p.set(back.destination_port, key.source_port)
        if self.modes != {DIRECT}:
            with p.when(mode != DIRECT):
                self.way_back(service, back, mode, base)

    def way_back(self, service: Pointer, back: Pointer, mode: Local, base: Local) -> None:
        """The server's answers can be told from those to others, perhaps at the port beside."""
        p = self.p
        clash = p.let("clash", 0, U8)
        self.free(back, clash)
        if ROUTED in self.modes:
            with p.when(mode == ROUTED):
                self.other_handshakes(back, clash, base)
                with p.when(clash != 0):
                    p.set(clash, 0)
                    p.set(back.destination_port, (back.destination_port.host() ^ 1).to(U16).wire())
                    self.free(back, clash)
        with p.when(clash != 0):
            self.refuse(service, "taken")

    def other_handshakes(self, back: Pointer, clash: Local, base: Local) -> None:
        """Does one of the client's, at another service, wait for the same answer?"""
        p = self.p
        place = p.let("other", NOWHERE, U32)
        self.find(base, place, lambda one: self.answers(one, back) & self.elsewhere(one))
        with p.when(place != NOWHERE):
            p.set(clash, 1)
        self.forget(clash)

    def free(self, back: Pointer, clash: Local) -> None:
        """The way back is this packet's: a flow that has ended there makes room, a live one does
        not."""
        p = self.p
        other, place = self.d.slots.find("other", back, self.at)
        with (
            p.when(other.present),
            p.when(self.differs(other)),
        ):
            patience = self.d.patience(place)
            with p.when(self.lives(other, patience)):
                p.set(clash, 1)
            with p.otherwise():
                self.d.slots.drop(place)

    def elsewhere(self, entry: Pointer) -> Condition:
        """Is it not the entry of this client at this service?"""
        key = self.key
        found: Condition = (entry.vip_port != key.destination_port) | (
            entry.client_port != key.source_port
        )
        for i in range(key.destination.count):
            found |= entry.vip[i] != key.destination[i]
        return found

    def lives(self, other: Pointer, patience: Value) -> Condition:
        """A row whose end its packet may not take."""
        young: Condition = (self.now - other.checked).to(U64) <= patience
        return alive(other.state) & young

    def differs(self, other: Pointer) -> Condition:
        """A row of answers that is not this client's at this service."""
        differs: Condition = (other.source_port != self.key.destination_port) | (
            other.destination_port != self.key.source_port
        )
        differs |= (other.state & TO_CLIENT) == 0
        for i in range(self.key.source.count):
            differs |= other.source[i] != self.key.destination[i]
            differs |= other.destination[i] != self.key.source[i]
        return differs

    def refuse(self, service: Pointer, reason: str) -> None:
        """Left to the host's own stack, and counted."""
        self.d.reasons.left(reason, service.listener)
        self.wire.leave()

    def make(self, back: Pointer, row: Pointer, way: Pointer, place: Local) -> None:
        """The rows of a flow; `row` is the client's, before and afterwards."""
        p = self.p
        state = p.let("state", row.state)
        self.d.slots.touch(self.key, SOURCE)
        if self.modes != {DIRECT}:
            self.d.slots.touch(back, DESTINATION)
            with p.when((state & BOTH) != 0):
                with p.scope():
                    old, stands = self.d.slots.find("old", back, self.at)
                    with p.when(old.present):
                        self.d.slots.drop(stands)
                turn(p, row, self.key)
                p.set(row.state, state ^ (TO_CLIENT | BOTH))
                with p.when((state & BOTH) == BOTH):
                    p.set(row.state, state ^ TO_CLIENT)
                with p.scope():
                    self.d.put(back, row, self.now)
                turn(p, row, back)
                p.set(row.state, state)
        with p.when(self.d.put(self.key, row, self.now, way) == 1):
            entry = self.entry(place)
            with p.when(entry.present):  # done: it must not make the flow again once that is gone
                p.set(entry.waits, 0)
            self.d.count_flow(row, "began")

    # ---- entries ----

    def bucket(self, address: Fields, port: Value) -> Local:
        """The first of the places where a client's handshake may stand; neighbouring ports have
        neighbouring buckets, as their flows have homes (`slots`); both ports of a pair one."""
        p = self.p
        found = p.let("bucket", 0)
        with p.scope():
            number = p.let("number", port.host().to(U64))
            last = number >> STREET_BITS << 16 | self.key.protocol
            mixed = mix(p, self.tables.seed, [*words(address), last])
            p.set(found, (mixed >> 64 - BUCKETS_BITS ^ number >> 1 & STREET // 2 - 1) * BUCKET)
        return found

    def ports(self, port: Value) -> Value:
        """A port and the protocol, in one number."""
        both: Value = port.to(U64) << 16 | self.key.protocol
        return both

    def entry(self, place: Value) -> Pointer:
        self.p.set(self.at.number, place.to(U32))
        return self.p.lookup(self.pending, "entry", self.at)

    def asks(self, entry: Pointer) -> Condition:
        """Is it the entry of this client at this service?"""
        ours: Condition = entry.vip_port == self.key.destination_port
        return (
            self.client_of(entry, self.key.source, self.key.source_port)
            & ours
            & same(entry.vip, self.key.destination)
        )

    def client_of(self, entry: Pointer, address: Fields, port: Value) -> Condition:
        theirs: Condition = (
            (entry.client_port == port) & (entry.protocol == self.key.protocol) & (entry.waits != 0)
        )
        return theirs & same(entry.client, address)

    def fresh(self, entry: Pointer) -> Condition:
        since = (self.now - entry.since).to(U64)
        handshake: Condition = (since <= PENDING_S * self.d.wire.second) & (entry.waits != ASKED)
        datagram = (since <= entry.idle.to(U64) * self.d.wire.second) & (entry.waits == ASKED)
        either: Condition = handshake | datagram
        return either

    def note(self, base: Local, back: Pointer, row: Pointer, mode: Local, waits: Local) -> None:
        """Writes an entry: over that of the same handshake, else over the oldest."""
        p, key = self.p, self.key
        place, best = p.let("place", base), p.let("best", 0)
        for i in range(BUCKET):
            with p.scope():
                entry = self.entry(base + i)
                with p.when(entry.present):
                    age = p.let("age", (self.now - entry.since).to(U64))
                    with p.when(entry.waits == 0):
                        p.set(age, EMPTY)
                    again = same(entry.vip, key.destination) & (
                        entry.vip_port == key.destination_port
                    )
                    mine = self.client_of(entry, key.source, key.source_port) & again
                    with p.when(mine | self.answers(entry, back)):
                        p.set(age, OURS)
                    with p.when(age > best):
                        p.set(best, age)
                        p.set(place, base + i)
        if MASQUERADE in self.modes:
            with p.when(mode == MASQUERADE):
                self.p.set(self.at.number, self.answer_place(back))
                answer = p.lookup(self.tables.answers, "answer", self.at)
                with p.when(answer.present):
                    p.set(answer.number, (place + 1).to(U32))
        entry = self.entry(place)
        with p.when(entry.present):
            self.fill(entry, back, row, mode, waits)

    def fill(self, entry: Pointer, back: Pointer, row: Pointer, mode: Local, waits: Local) -> None:
        p, key = self.p, self.key
        for name, ends, end in (
            ("client", key, "source"),
            ("vip", key, "destination"),
            ("source", back, "destination"),
            ("target", back, "source"),
        ):
            p.copy(getattr(entry, name), getattr(ends, end))
            p.set(getattr(entry, f"{name}_port"), getattr(ends, f"{end}_port"))
        for name in ("server", "listener", "idle"):
            p.set(getattr(entry, name), getattr(row, name))
        p.set(entry.protocol, key.protocol)
        p.set(entry.mode, mode)
        p.set(entry.since, self.now)
        p.set(entry.waits, waits)

    # ---- a server's answer ----

    def answered(self) -> None:
        """From a server to a handshake of ours; what is none goes on untouched."""
        p, key = self.p, self.key
        if self.modes == {DIRECT}:
            self.wire.leave()
            return
        place = p.let("place", NOWHERE, U32)
        if ROUTED in self.modes:
            base = self.bucket(key.destination, key.destination_port)
            self.find(base, place, lambda one: self.answers(one, key))
        if MASQUERADE in self.modes:
            with p.when(place == NOWHERE):
                p.set(self.at.number, self.answer_place(key))
                answer = p.lookup(self.tables.answers, "answer", self.at)
                with p.when(answer.present), p.when(answer.number != 0):
                    self.look(p.let("there", answer.number - 1), place)
        with p.when(place == NOWHERE):
            self.wire.leave()
        entry = self.entry(place)
        with p.when(entry.missing):
            self.wire.leave()
        self.pass_on(entry)

    def look(self, at: Value, place: Local) -> None:
        """Is this the entry that the packet answers?"""
        entry = self.entry(at)
        with self.p.when(entry.present):
            ours = self.answers(entry, self.key) & self.fresh(entry)
            with self.p.when(ours):
                self.p.set(place, at.to(U32))

    def answers(self, entry: Pointer, ends: Pointer) -> Condition:
        """Would a packet with these ends answer it?"""
        ports: Condition = (
            (entry.source_port == ends.destination_port)
            & (entry.target_port == ends.source_port)
            & (entry.protocol == self.key.protocol)
            & (entry.waits != 0)
            & (entry.mode != DIRECT)
        )
        return ports & same(entry.source, ends.destination) & same(entry.target, ends.source)

    def pass_on(self, entry: Pointer) -> None:
        """To the client; the entry learns what the client must say next."""
        p, flags = self.p, self.wire.flags
        row = p.stack("row", MADE[self.d.family])
        p.copy(row.source, entry.vip)
        p.copy(row.destination, entry.client)
        p.set(row.source_port, entry.vip_port)
        p.set(row.destination_port, entry.client_port)
        p.set(row.server, entry.server)
        p.set(row.listener, entry.listener)
        p.set(row.state, TO_CLIENT | NEW_SOURCE)
        with p.when((entry.mode == MASQUERADE) | (entry.source_port != entry.client_port)):
            p.set(row.state, TO_CLIENT | BOTH)
        way = p.stack("way", WAY)
        self.wire.owner = row.listener
        self.wire.reach(way, self.now, row.source, row.destination)
        if TCP in self.d.protocols:
            with p.when((flags & (SYN | ACK | RST)) == (SYN | ACK)):
                tcp = self.wire.tcp()
                p.set(entry.acknowledged, (tcp.sequence.host() + 1).to(U32))
                p.set(entry.waits, SYN_ANSWERED)
            with p.when((entry.waits == MIDWAY) & ((flags & (SYN | RST)) == 0)):
                p.set(entry.waits, PROVEN)
        p.set(self.at.number, row.server)
        with p.scope():
            self.d.count(row.listener, row.state)
        self.d.rewrite(row, row.state)
        self.wire.forward(way)

    def answer_place(self, ends: Pointer) -> Value:
        """Where `answers` says which entry belongs to answers with these ends."""
        mixed = mix(
            self.p,
            self.tables.seed,
            [
                *words(ends.source),
                *words(ends.destination),
                ends.source_port.to(U64) << 32 | self.ports(ends.destination_port),
            ],
        )
        return (mixed >> 64 - ANSWERS_BITS).to(U32)
