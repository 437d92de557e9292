"""Why a packet was not served, counted by listener: written where a packet is dropped or left.

A packet that a flow or a service is known for is that listener's. One that cannot be read that far
(a header that breaks off, a fragment whose first one nobody has seen) names no port, so it is the
listener's that has its address for itself; at an address of several it is the plane's (SEVERAL),
and to an address that is not ours it is nobody's.

Two wires may stand one behind the other: what the first leaves the last one meets again, so only
the last one counts what it leaves.

Law: nothing here is on the way of a packet that is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fourseven.l4.bpf.layout import U32
from fourseven.l4.bpf.values import Fields, Value
from fourseven.l4.program.steps import bump
from fourseven.l4.program.tables import INDEX, OWN

if TYPE_CHECKING:
    from fourseven.l4.program.decide import Decision


class Reasons:
    """Writes the counting for one program."""

    def __init__(self, decision: Decision) -> None:
        self.d, self.p = decision, decision.p

    def lost(self, reason: str, listener: Value) -> None:
        """A packet of this listener goes no further."""
        self._count(reason, listener, passed=False)

    def left(self, reason: str, listener: Value) -> None:
        """A packet of this listener is left to the host's own stack."""
        if self.d.wire.LAST:
            self._count(reason, listener, passed=True)

    def astray(self, reason: str, destination: Fields) -> None:
        """A packet to this address is left to the host; whose it is, its port does not say."""
        p, wire = self.p, self.d.wire
        if not wire.LAST:
            return
        with p.scope():
            asked = p.stack("asked", OWN[wire.family])
            wire.copy(asked.target, destination)
            found = p.lookup(self.d.tables.own[wire.family], "found", asked)
            with p.when(found.present):
                self._count(reason, found.number, passed=True)

    def _count(self, reason: str, listener: Value, *, passed: bool) -> None:
        p = self.p
        with p.scope():
            at = p.stack("whose", INDEX)
            p.set(at.number, listener.to(U32))
            counts = p.lookup(self.d.tables.listeners, "counts", at)
            with p.when(counts.present):
                bump(p, getattr(counts, reason), 1)
                if passed:
                    bump(p, counts.passed, 1)
