"""What becomes of a packet: the way of one that belongs to a known flow, and what is shared.

    parse → flow known? ── yes ──→ its row says what to write and where to → rewrite → forward
               └ no → to a service? ── yes ─→ a handshake begins or ends (`handshake`, `picks`)
                          └ no → an answer to a handshake? ── yes → rewrite → forward
                                          └ no → on to the kernel, untouched

A packet of a known flow asks one table, once. Its row names the server by address, so taking a
server out of the tables leaves its flows where they are. The way to the neighbour is remembered in
the row for a second; when it is asked for anew, the flow's other row is touched if nothing came by
it (or made again), so that no half of a live flow ever looks idle. By then the row may be another
flow's, who took its place: such a packet is dropped, as though it had been lost on the way.

TCP's state is a few bits in both rows: who has said FIN, and RST. They are set whole in the
client's row, so exactly one packet counts the flow's end. A flow that has ended, or was idle for
its time, is forgotten when a SYN comes over it (UDP: any packet of the client); those to whom
nothing more comes are the control plane's to find.

Laws: a flow that was counted as begun is counted as ended once, here or by the control plane.
Nothing that the plan does not use is in the program.

Sources: RFC 9293 3.6 (closing); Eisenbud et al. 2016 (Maglev) 3.3.
"""

from __future__ import annotations

from typing import Any

from fourseven.l4.bpf.build import Program
from fourseven.l4.bpf.layout import U8, U32, U64
from fourseven.l4.bpf.values import Condition, Local, Pointer, Value
from fourseven.l4.kernel_plan import DIRECT, ROUTED, TCP, UDP, KernelPlan
from fourseven.l4.program.handshake import Handshakes
from fourseven.l4.program.reasons import Reasons
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.slots import Slots
from fourseven.l4.program.steps import BOTH, alive, bump, ended, turn
from fourseven.l4.program.tables import (
    CLIENT_DONE,
    CLOSING_S,
    DONE,
    INDEX,
    IS_UDP,
    KEYS,
    MADE,
    NEW_DESTINATION,
    NEW_SOURCE,
    PLACES_MAX,
    RESET,
    SERVER_DONE,
    TALLIES,
    TO_CLIENT,
    Tables,
)
from fourseven.l4.program.wire import ACK, FIN, RST, SYN, WAY, To, Wire

SHARED_STATE = IS_UDP | DONE | RESET  # of a state: the same in both rows


class Decision:
    """The program while it is written. `places` is how many rows the picking tables need."""

    def __init__(
        self, plan: KernelPlan, places: int = PLACES_MAX, wire: type[Wire] = SkbWire
    ) -> None:
        self.plan, self.modes, self.protocols = plan, plan.modes(), plan.protocols()
        self.p = p = Program("fourseven_tcx", wire.CONTEXT)
        self.tables = Tables(p, plan, places)
        keys = {family: KEYS[family] for family in sorted(plan.families())}
        self.wire = wire(p, keys, self.protocols)
        self.reasons = Reasons(self)
        self.wire.lost, self.wire.astray = self.reasons.lost, self.reasons.astray
        self.rows = {family: Slots(p, self.tables, family, self.protocols) for family in keys}
        self.wire.parse(self.write, self.write_error)

    @property
    def slots(self) -> Slots:
        return self.rows[self.wire.family]

    def write(self) -> None:
        """What becomes of a packet of one family, in the order of its way."""
        p, wire = self.p, self.wire
        self.family = 4 if wire.v4 else 6
        self.key = wire.key
        self.now = wire.ticks()
        self.at = p.stack("at", INDEX)
        flow, place, state = self.slots.find_fast("flow", self.key, self.at)
        with p.when(flow.present):
            self.known(flow, place, state)
        Handshakes(self).write()

    def write_error(self) -> None:
        """What becomes of an ICMP error about a flow: it goes the way of the flow's packets."""
        p, wire = self.p, self.wire
        flow, _ = self.slots.find("flow", wire.key, p.stack("at", INDEX))
        with p.when(flow.missing):
            wire.leave()
        wire.owner = flow.listener
        way = p.stack("way", WAY)  # not the row's, which would be younger by what anybody can forge
        wire.reach(way, wire.ticks(), flow.source, flow.destination)
        if self.modes != {DIRECT}:
            with p.when((flow.state & BOTH) != 0):
                wire.rewrite(
                    source=To(flow.source, flow.source_port),
                    destination=To(flow.destination, flow.destination_port),
                )
        wire.forward(way)

    # ---- a packet of a known flow ----

    def known(self, flow: Pointer, place: Local, state: Local) -> None:
        p = self.p
        kept = p.let("kept", 1, U8)
        if TCP in self.protocols:
            with p.when((self.wire.flags & (SYN | FIN | RST)) != 0):
                self.turning_point(flow, place, kept)
        if UDP in self.protocols:
            asks = (self.key.protocol == UDP) & ((state & TO_CLIENT) == 0)
            with (
                p.when(asks & ((self.now - flow.checked) > self.wire.second)),
                p.when(self.idle(flow, self.patience(place))),
            ):
                self.forget(flow, place)
                p.set(kept, 0)
        with p.when(kept == 1):
            self.carry(flow, place, state)

    def carry(self, flow: Pointer, place: Local, state: Local) -> None:
        """On its way; the program ends."""
        p, wire = self.p, self.wire
        wire.owner = flow.listener
        touch = lambda: self.touch_other(flow, place)  # noqa: E731
        wire.reach(flow, self.now, flow.source, flow.destination, touch)
        bump(p, flow.packets, 1)  # the packets of one direction come one after the other
        bump(p, flow.seen_as(TALLIES[self.family]).bytes, wire.size)
        p.set(self.at.number, flow.server)
        with p.scope():
            self.count(flow.listener, state)
        self.rewrite(flow, state)
        with p.when(self.slots.another(flow, state)):
            wire.drop("raced")
        wire.forward(flow)

    def count(self, listener: Value, state: Value) -> None:
        """A packet, at its server (whose number is in `at`) and at its listener."""
        p, size = self.p, self.wire.size
        for table, number, name in (
            (self.tables.traffic, None, "traffic"),
            (self.tables.listeners, listener, "listener"),
        ):
            if number is not None:
                p.set(self.at.number, number)
            row = p.lookup(table, name, self.at)
            with p.when(row.present):
                with p.when((state & TO_CLIENT) != 0):
                    bump(p, row.packets_out, 1)
                    bump(p, row.bytes_out, size)
                with p.otherwise():
                    bump(p, row.packets_in, 1)
                    bump(p, row.bytes_in, size)

    def rewrite(self, row: Pointer, state: Value) -> None:
        """The packet's ends become what the row says, and its state which of them."""
        p, wire = self.p, self.wire
        source = To(row.source, row.source_port)
        destination = To(row.destination, row.destination_port)
        if ROUTED in self.modes:
            with p.when((state & BOTH) == NEW_SOURCE):
                wire.rewrite(source=source)
            with p.when((state & BOTH) == NEW_DESTINATION):
                wire.rewrite(destination=destination)
        if self.modes != {DIRECT}:
            with p.when((state & BOTH) == BOTH):
                wire.rewrite(source=source, destination=destination)
        if DIRECT in self.modes:
            with p.when((state & BOTH) == 0):
                wire.rewrite(towards=row.destination)

    # ---- the other row ----

    def touch_other(self, flow: Pointer, place: Local) -> None:
        """The flow's other row is as young as this one; if it is gone, it comes back."""
        p = self.p
        if self.modes == {DIRECT}:
            return
        with p.when((flow.state & BOTH) != 0):
            key = self.slots.turned(flow)
            other, _ = self.slots.find("other", key, self.at)
            with (
                p.when(other.present),
                p.when(self.slots.leads_to(other, flow)),
                p.when((self.now - other.checked) > self.wire.second),
            ):
                p.set(other.checked, self.now)
                p.set(other.mtu, 0)  # its way is as old as it was
            with p.otherwise(), p.when(alive(flow.state)):  # else its way may be another's by now
                self.make_other(flow, place, key)

    def make_other(self, flow: Pointer, place: Local, key: Pointer) -> None:
        p = self.p
        row = p.stack("made", MADE[self.family])
        turn(p, row, self.key)
        p.set(row.server, flow.server)
        p.set(row.listener, flow.listener)
        state = p.let("other_state", flow.state & (SHARED_STATE | TO_CLIENT | BOTH))
        p.set(row.state, state ^ (TO_CLIENT | BOTH))
        with p.when((state & BOTH) == BOTH):
            p.set(row.state, state ^ TO_CLIENT)
        began = p.let("began", self.now)
        p.set(self.at.number, place)
        birth = p.lookup(self.tables.births[self.family], "birth", self.at)
        with p.when(birth.present):
            p.set(row.idle, birth.idle)
            p.set(began, birth.began)
        self.put(key, row, began)

    def put(self, key: Pointer, made: Pointer, began: Value, way: Pointer | None = None) -> Local:
        """A new row, of which `made` says all but the way; was there a place for it? With a way it
        is that of the packet that makes it."""
        p = self.p
        answers = p.let("answers", (made.state & TO_CLIENT).to(U64))
        place = self.slots.take(key, answers, self.at)
        row = self.slots.row("row", place, self.at)
        birth = p.lookup(self.tables.births[self.family], "birth", self.at)
        stands = p.let("stands", 0, U8)
        with p.when(row.present & birth.present):
            p.set(birth.began, began)
            p.set(birth.idle, made.idle)
            for name in ("source", "destination"):
                p.copy(getattr(row, name), getattr(made, name))
            for name in ("source_port", "destination_port", "server", "listener"):
                p.set(getattr(row, name), getattr(made, name))
            p.set(row.checked, self.now)
            p.set(row.packets, 0 if way is None else 1)
            tally = row.seen_as(TALLIES[self.family])
            p.set(tally.bytes, 0 if way is None else self.wire.size.to(U64))
            if way is not None:
                p.copy(row.hop, way.hop)
                p.set(row.out, way.out)
                p.set(row.checked, way.checked)
                p.set(row.mtu, way.mtu)
            self.slots.publish(row, made.state)
            p.set(stands, 1)
        return stands

    # ---- how a flow ends ----

    def turning_point(self, flow: Pointer, place: Local, kept: Any) -> None:
        """SYN, FIN or RST in a known flow."""
        p = self.p
        begins = (self.wire.flags & (SYN | ACK)) == SYN
        with p.when(begins & ((flow.state & TO_CLIENT) == 0)):
            patience = self.patience(place)
            with p.when(ended(flow.state) | self.idle(flow, patience)):
                self.forget(flow, place)
                p.set(kept, 0)
        with p.when((kept == 1) & ((self.wire.flags & (FIN | RST)) != 0)):
            self.close(flow)

    def patience(self, place: Value) -> Local:
        """Ticks that the flow in this place may wait."""
        p = self.p
        found = p.let("patience", 0)
        p.set(self.at.number, place.to(U32))
        birth = p.lookup(self.tables.births[self.family], "birth", self.at)
        with p.when(birth.present):
            p.set(found, birth.idle.to(U64) * self.wire.second)
        return found

    def idle(self, flow: Pointer, patience: Value) -> Condition:
        """Has nothing come for longer than a flow in its state may wait?"""
        since = (self.now - flow.checked).to(U64)
        limit: Condition = since > patience
        if TCP not in self.protocols:
            return limit
        limit |= ((flow.state & DONE) != 0) & (since > CLOSING_S * self.wire.second)
        return limit

    def close(self, flow: Pointer) -> None:
        """FIN or RST: noted in both rows, the first time."""
        p = self.p
        mark = p.let("mark", RESET, U32)
        with p.when((self.wire.flags & RST) == 0):
            p.set(mark, CLIENT_DONE)
            with p.when((flow.state & TO_CLIENT) != 0):
                p.set(mark, SERVER_DONE)
        with p.when((flow.state & mark) == 0):
            other, _ = self.slots.find("other", self.slots.turned(flow), self.at)
            with p.when((flow.state & TO_CLIENT) == 0):
                self.mark(flow, mark)
                with p.when(other.present), p.when(self.slots.leads_to(other, flow)):
                    p.set_bits(other.state, mark)
            with p.otherwise():
                with p.when(other.present), p.when(self.slots.leads_to(other, flow)):
                    self.mark(other, mark)
                p.set_bits(flow.state, mark)

    def mark(self, row: Pointer, mark: Value) -> None:
        """Sets bits in the client's row; whoever ends the flow with it counts that."""
        p = self.p
        before = p.fetch_or("before", row.state, mark)
        after = p.let("after", before | mark)
        with p.when(alive(before) & ended(after)):
            self.count_flow(row, "ended")

    def count_flow(self, row: Pointer, what: str) -> None:
        """One more that `began` or `ended`, of its server and of its listener."""
        p = self.p
        for table, number in (
            (self.tables.load, row.server),
            (self.tables.listeners, row.listener),
        ):
            p.set(self.at.number, number)
            counts = p.lookup(table, "counts", self.at)
            with p.when(counts.present):
                p.add(getattr(counts, what), 1)

    def forget(self, flow: Pointer, place: Local) -> None:
        """A client's row makes room for a new flow; so does the other, if it is this one's."""
        p = self.p
        self.mark(flow, p.let("reset", RESET, U32))
        other, other_place = self.slots.find("other", self.slots.turned(flow), self.at)
        with p.when(other.present), p.when(self.slots.leads_to(other, flow)):
            self.slots.drop(other_place)
        self.slots.drop(place)


def program(plan: KernelPlan, places: int = PLACES_MAX, wire: type[Wire] = SkbWire) -> Program:
    """The program for a plan that has at least one service."""
    return Decision(plan, places, wire).p
