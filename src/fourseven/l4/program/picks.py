"""Picks: which place of a service's table a new flow is given.

A pick leaves a number; the place is that number modulo the table's length. The hash is the relay's
(FNV-1a over the masked address, murmur3's finaliser), so the relay and every machine with the same
file choose alike.

By load: a few servers are looked at, and the one with the fewest live flows for its weight is
taken. For least_requests they stand side by side from a random place on, so that a backend of no
more than LOOKED_AT servers is seen whole, and ties fall anywhere; for power_of_two two are drawn.

Sources: Mitzenmacher 2001 (two choices); RFC 9923 (FNV).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fourseven.l4.bpf.layout import U32
from fourseven.l4.bpf.values import Local, Pointer
from fourseven.l4.kernel_plan import AT_RANDOM, BY_HASH, BY_LOAD, IN_TURN, MAPPED, OF_TWO

if TYPE_CHECKING:
    from fourseven.l4.program.decide import Decision

FNV_START, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
MIX = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)  # murmur3's finaliser, as snapshot/hashing.pxd
LOW = (1 << 64) - 1
LOOKED_AT = 8  # servers that least_requests looks at; more instructions than it is worth beyond
NEGATIVE = 1 << 63  # a count that is being corrected may be below 0 for a moment


class Picks:
    """Writes the picks that a plan uses."""

    def __init__(self, decision: Decision) -> None:
        self.d, self.p = decision, decision.p

    def write(self, service: Pointer, number: Local) -> None:
        """`number` becomes the pick of this service."""
        p = self.p
        ways = {
            IN_TURN: self.in_turn,
            AT_RANDOM: self.at_random,
            BY_HASH: self.by_hash,
            BY_LOAD: self.least,
            OF_TWO: self.of_two,
        }
        for pick in sorted(self.d.plan.picks()):
            with p.when(service.pick == pick):
                ways[pick](service, number)

    def in_turn(self, service: Pointer, number: Local) -> None:
        self.p.set(number, self.p.fetch_add("turn", service.turn, 1))

    def at_random(self, _service: Pointer, number: Local) -> None:
        self.p.set(number, self.p.call("get_prandom_u32", name="drawn"))

    def by_hash(self, service: Pointer, number: Local) -> None:
        """Byte by byte. What all IPv4 addresses have in common is hashed here, not there."""
        p, source = self.p, self.d.key.source
        words = source.count
        same = MAPPED.to_bytes(16, "big")[:12] if words == 1 else b""
        start = FNV_START
        for byte in same:
            start = (start ^ byte) * FNV_PRIME & LOW
        p.set(number, start)
        for i in range(words):
            word = p.let("word", (source[i] & service.mask[4 - words + i]).host())
            for shift in (24, 16, 8, 0):
                byte_of = (word >> shift) & 0xFF
                p.set(number, (number ^ byte_of) * FNV_PRIME)
        for factor in MIX:
            p.set(number, (number ^ number >> 33) * factor)
        p.set(number, number ^ number >> 33)

    def least(self, service: Pointer, number: Local) -> None:
        p = self.p
        start = p.call("get_prandom_u32", name="start")
        best, weight = p.let("best", 0), p.let("weight", 0)
        for i in range(LOOKED_AT):
            with p.scope():
                self.look(service, number, best, weight, p.let("next", start + i))

    def of_two(self, service: Pointer, number: Local) -> None:
        p = self.p
        best, weight = p.let("best", 0), p.let("weight", 0)
        for _ in range(2):
            with p.scope():
                drawn = p.call("get_prandom_u32", name="drawn")
                self.look(service, number, best, weight, drawn)

    def look(
        self, service: Pointer, number: Local, best: Local, weight: Local, place: Local
    ) -> None:
        """Takes this place if its server has less to do than the best so far, for its weight."""
        p, d = self.p, self.d
        p.set(d.at.number, (service.first + place % service.length).to(U32))
        found = p.lookup(d.tables.places, "place", d.at)
        with p.when(found.present):
            p.set(d.at.number, found.number)
            server = p.lookup(d.tables.servers, "server", d.at)
            load = p.lookup(d.tables.load, "load", d.at)
            settled = p.lookup(d.tables.settled, "settled", d.at)
            with p.when(server.present & load.present & settled.present):
                gone = load.ended + settled.ended + settled.evicted
                flows = p.let("flows", load.began - gone)
                with p.when(flows >= NEGATIVE):
                    p.set(flows, 0)
                better = flows * weight < best * server.weight
                with p.when((weight == 0) | better):
                    p.set(best, flows)
                    p.set(weight, server.weight)
                    p.set(number, place)
