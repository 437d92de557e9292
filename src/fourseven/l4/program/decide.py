"""What becomes of a packet: the way of one that belongs to a known flow, and what is shared.

    parse → flow known? ── yes ──→ its row says what to write and where to → rewrite → forward
               └ no → to a service? ── yes ─→ a handshake begins or ends (`handshake`, `picks`)
                          └ no → an answer to a handshake? ── yes → rewrite → forward
                                          └ no → on to the kernel, untouched

A packet of a known flow asks one table, once. Its row names the server by address, so taking a
server out of the tables leaves its flows where they are. The way to the neighbour is remembered in
the row for a second; when it is asked for anew, the flow's other row is touched (or made again), so
that the table, which evicts the row that was used longest ago, never keeps half of a live flow.

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
from fourseven.l4.bpf.values import Condition, Pointer, Value
from fourseven.l4.kernel_plan import DIRECT, MASQUERADE, ROUTED, TCP, UDP, KernelPlan
from fourseven.l4.program.handshake import Handshakes
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.steps import BOTH, alive, bump, ended, turn
from fourseven.l4.program.tables import (
    CLIENT_DONE,
    CLOSING_S,
    DONE,
    FLOWS,
    INDEX,
    KEYS,
    NEW_DESTINATION,
    NEW_SOURCE,
    PLACES_MAX,
    RESET,
    SERVER_DONE,
    TO_CLIENT,
    Tables,
)
from fourseven.l4.program.wire import ACK, FIN, RST, SYN, To, Wire


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
        self.wire.parse(self.write, self.write_error)

    def write(self) -> None:
        """What becomes of a packet of one family, in the order of its way."""
        p, wire = self.p, self.wire
        self.family = 4 if wire.v4 else 6
        self.key = wire.key
        self.now = wire.ticks()
        self.at = p.stack("at", INDEX)
        flow = p.lookup(self.tables.flows[self.family], "flow", self.key)
        with p.when(flow.present):
            self.known(flow)
        Handshakes(self).write()

    def write_error(self) -> None:
        """What becomes of an ICMP error about a flow: it goes the way of the flow's packets."""
        p, wire = self.p, self.wire
        flow = p.lookup(self.tables.flows[wire.family], "flow", wire.key)
        with p.when(flow.missing):
            wire.leave()
        wire.reach(flow, wire.ticks(), flow.source, flow.destination)
        if self.modes != {DIRECT}:
            with p.when((flow.state & BOTH) != 0):
                wire.rewrite(
                    source=To(flow.source, flow.source_port),
                    destination=To(flow.destination, flow.destination_port),
                )
        wire.forward(flow)

    # ---- a packet of a known flow ----

    def known(self, flow: Pointer) -> None:
        p = self.p
        kept = p.let("kept", 1, U8)
        if TCP in self.protocols:
            with p.when((self.wire.flags & (SYN | FIN | RST)) != 0):
                self.turning_point(flow, kept)
        if UDP in self.protocols:
            asks = (self.key.protocol == UDP) & ((flow.state & TO_CLIENT) == 0)
            with p.when(asks & self.idle(flow)):
                self.forget(flow)
                p.set(kept, 0)
        with p.when(kept == 1):
            self.carry(flow)

    def carry(self, flow: Pointer) -> None:
        """On its way; the program ends."""
        p, wire = self.p, self.wire
        wire.reach(flow, self.now, flow.source, flow.destination, lambda: self.touch_other(flow))
        p.set(flow.seen, self.now)
        bump(p, flow.packets, 1)  # the packets of one direction come one after the other
        bump(p, flow.bytes, wire.size)
        p.set(self.at.number, flow.server)
        with p.scope():
            self.count(flow.listener, flow.state)
        self.rewrite(flow)
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

    def rewrite(self, row: Pointer) -> None:
        """The packet's ends become what the row says."""
        p, wire = self.p, self.wire
        source = To(row.source, row.source_port)
        destination = To(row.destination, row.destination_port)
        if MASQUERADE in self.modes:
            with p.when((row.state & BOTH) == BOTH):
                wire.rewrite(source=source, destination=destination)
        if ROUTED in self.modes:
            with p.when((row.state & BOTH) == NEW_SOURCE):
                wire.rewrite(source=source)
            with p.when((row.state & BOTH) == NEW_DESTINATION):
                wire.rewrite(destination=destination)
        if DIRECT in self.modes:
            with p.when((row.state & BOTH) == 0):
                wire.rewrite(towards=row.destination)

    # ---- the other row ----

    def other_key(self, flow: Pointer) -> Pointer:
        """The key of a flow's other row: what this one's packets become, turned round."""
        p = self.p
        key = p.stack("other_key", KEYS[self.family])
        p.copy(key.source, flow.destination)
        p.copy(key.destination, flow.source)
        p.set(key.source_port, flow.destination_port)
        p.set(key.destination_port, flow.source_port)
        p.set(key.protocol, self.key.protocol)
        return key

    def paired(self, other: Pointer) -> Condition:
        """Does the other row lead back to this packet's, or has somebody else taken its place?"""
        same: Condition = (other.source_port == self.key.destination_port) & (
            other.destination_port == self.key.source_port
        )
        for i in range(self.key.source.count):
            same &= (other.source[i] == self.key.destination[i]) & (
                other.destination[i] == self.key.source[i]
            )
        return same

    def touch_other(self, flow: Pointer) -> None:
        """The flow's other row is as young as this one; if it is gone, it comes back."""
        p = self.p
        if self.modes == {DIRECT}:
            return
        with p.when((flow.state & BOTH) != 0):
            key = self.other_key(flow)
            other = p.lookup(self.tables.flows[self.family], "other", key)
            with p.when(other.present), p.when(self.paired(other)):
                p.set(other.seen, self.now)
            with p.otherwise():
                self.make_other(flow, key)

    def make_other(self, flow: Pointer, key: Pointer) -> None:
        p = self.p
        row = p.stack("row", FLOWS[self.family])
        turn(p, row, self.key)
        for name in ("server", "listener", "began", "idle"):
            p.set(getattr(row, name), getattr(flow, name))
        p.set(row.seen, self.now)
        p.set(row.state, flow.state ^ (TO_CLIENT | BOTH))
        if MASQUERADE in self.modes:
            with p.when((flow.state & BOTH) == BOTH):
                p.set(row.state, flow.state ^ TO_CLIENT)
        p.update(self.tables.flows[self.family], key, row)

    # ---- how a flow ends ----

    def turning_point(self, flow: Pointer, kept: Any) -> None:
        """SYN, FIN or RST in a known flow."""
        p = self.p
        begins = (self.wire.flags & (SYN | ACK)) == SYN
        with (
            p.when(begins & ((flow.state & TO_CLIENT) == 0)),
            p.when(ended(flow.state) | self.idle(flow)),
        ):
            self.forget(flow)
            p.set(kept, 0)
        with p.when((kept == 1) & ((self.wire.flags & (FIN | RST)) != 0)):
            self.close(flow)

    def idle(self, flow: Pointer) -> Condition:
        """Has nothing come for longer than a flow in its state may wait?"""
        since = (self.now - flow.seen).to(U64)
        limit: Condition = since > flow.idle.to(U64) * self.wire.second
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
            other = p.lookup(self.tables.flows[self.family], "other", self.other_key(flow))
            with p.when((flow.state & TO_CLIENT) == 0):
                self.mark(flow, mark)
                with p.when(other.present), p.when(self.paired(other)):
                    p.set(other.state, other.state | mark)
            with p.otherwise():
                with p.when(other.present), p.when(self.paired(other)):
                    self.mark(other, mark)
                p.set(flow.state, flow.state | mark)

    def mark(self, row: Pointer, mark: Value) -> None:
        """Sets bits in the client's row; whoever ends the flow with it counts that."""
        p = self.p
        before = p.fetch_or("before", row.state, mark)
        after = p.let("after", before | mark)
        with p.when(alive(before) & ended(after)):
            self.count_end(row)

    def count_end(self, row: Pointer) -> None:
        p = self.p
        for table, number in (
            (self.tables.load, row.server),
            (self.tables.listeners, row.listener),
        ):
            p.set(self.at.number, number)
            counts = p.lookup(table, "counts", self.at)
            with p.when(counts.present):
                p.add(counts.ended, 1)

    def forget(self, flow: Pointer) -> None:
        """A client's row makes room for a new flow; so does the other, if it is this one's."""
        p, flows = self.p, self.tables.flows[self.family]
        key = self.other_key(flow)
        self.mark(flow, p.let("reset", RESET, U32))
        other = p.lookup(flows, "other", key)
        with p.when(other.present), p.when(self.paired(other)):
            p.remove(flows, key)
        p.remove(flows, self.key)


def program(plan: KernelPlan, places: int = PLACES_MAX, wire: type[Wire] = SkbWire) -> Program:
    """The program for a plan that has at least one service."""
    return Decision(plan, places, wire).p
