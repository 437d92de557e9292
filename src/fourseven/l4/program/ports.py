"""Ports of ours for masqueraded flows: which one a new flow has towards its server.

A few are tried, from a hash of the flow on; first those that nobody has, then those whose flow has
ended, or is no flow yet. When none is left, the packet is dropped and counted.

Law: a port belongs to (server, address of ours): the same one may stand towards many servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fourseven.l4.bpf.layout import U8, U16, U32, U64
from fourseven.l4.bpf.values import Local, Pointer, Value
from fourseven.l4.kernel_plan import MASQUERADE_PORTS
from fourseven.l4.program.steps import mix, words

if TYPE_CHECKING:
    from fourseven.l4.program.handshake import Handshakes

PROBES = 8  # ports that are tried
STRIDE = 7919  # between them; a prime, so that addresses of ours take turns as well


class Ports:
    """Writes how a masqueraded flow gets an address and a port of ours."""

    def __init__(self, of: Handshakes, service: Pointer, server: Pointer, back: Pointer) -> None:
        self.h, self.p, self.at = of, of.p, of.at
        self.service, self.server, self.back = service, server, back

    def write(self) -> None:
        p, key = self.p, self.h.key
        free, spare = p.let("free", 0, U8), p.let("spare", 0)
        ends = [*words(key.source), *words(key.destination)]
        ports = key.destination_port.to(U64) << 32 | self.h.ports(key.source_port)
        start = mix(p, self.h.tables.seed, [*ends, ports])
        p.set(start, start >> 32)
        with p.when(self.server.sources == 0):
            self.h.refuse(self.service, "no_port")
        for i in range(PROBES):
            with p.when(free == 0):
                self.try_one(start + i * STRIDE, free)
                with p.when((free == 2) & (spare == 0)):
                    p.set(spare, i + 1)
                with p.when(free == 2):
                    p.set(free, 0)
                self.h.forget(free, spare)
        with p.when(free == 0):
            with p.when(spare == 0):
                self.h.wire.drop("no_port")
            self.propose(start + (spare - 1) * STRIDE)

    def propose(self, number: Value) -> None:
        """An address and a port of ours, out of a number, into `back`."""
        p, back = self.p, self.back
        low, high = MASQUERADE_PORTS
        drawn = p.let("drawn", number)
        p.set(back.destination_port, (drawn % (high - low + 1) + low).to(U16).wire())
        p.set(self.at.number, (drawn % self.server.sources + self.server.first_source).to(U32))
        source = p.lookup(self.h.tables.sources, "source", self.at)
        with p.when(source.present):
            count = back.destination.count
            for i in range(count):
                p.set(back.destination[i], source.target[4 - count + i])

    def try_one(self, number: Value, free: Local) -> None:
        """free: 1 if nobody has it, 2 if whoever has it can spare it."""
        p, h = self.p, self.h
        self.propose(number)
        other, place = h.d.slots.find("other", self.back, self.at)
        p.set(free, 1)
        with p.when(other.present), p.when(h.differs(other)):
            p.set(free, 2)
            patience = h.d.patience(place)
            with p.when(h.lives(other, patience)):
                p.set(free, 0)
        with p.when(free == 1):
            p.set(self.at.number, h.answer_place(self.back))
            answer = p.lookup(h.tables.answers, "answer", self.at)
            with p.when(answer.present), p.when(answer.number != 0):
                self.judge(h.entry(p.let("there", answer.number - 1)), free)

    def judge(self, entry: Pointer, free: Local) -> None:
        """A handshake of somebody else's stands there: only if nothing better is found."""
        p, back = self.p, self.back
        with (
            p.when(entry.present),
            p.when(self.h.answers(entry, back) & self.h.fresh(entry)),
        ):
            p.set(free, 2)
            with p.when(self.h.asks(entry)):
                p.set(free, 1)
