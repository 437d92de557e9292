"""Small steps that several parts of the program take."""

from __future__ import annotations

from fourseven.l4.bpf.build import Map, Program
from fourseven.l4.bpf.layout import U64
from fourseven.l4.bpf.values import Condition, Fields, Load, Local, Pointer, Value
from fourseven.l4.program.slots import SPREAD
from fourseven.l4.program.tables import DONE, NEW_DESTINATION, NEW_SOURCE, RESET

BOTH = NEW_SOURCE | NEW_DESTINATION


def ended(state: Value) -> Condition:
    """Both have said FIN, or one RST."""
    return ((state & RESET) != 0) | ((state & DONE) == DONE)


def alive(state: Value) -> Condition:
    """Not ended."""
    return ((state & RESET) == 0) & ((state & DONE) != DONE)


def bump(p: Program, field: Load, by: Value | int) -> None:
    """Adds to what no other processor writes."""
    p.set(field, field + by)


def turn(p: Program, to: Pointer, ends: Pointer) -> None:
    """The ends of one struct are those of another, turned round."""
    p.copy(to.source, ends.destination)
    p.copy(to.destination, ends.source)
    p.set(to.source_port, ends.destination_port)
    p.set(to.destination_port, ends.source_port)


def words(address: Fields) -> list[Value]:
    return [address[i].to(U64) for i in range(address.count)]


def same(one: Fields, other: Fields) -> Condition:
    """Two addresses are equal."""
    found: Condition = one[0] == other[0]
    for i in range(1, one.count):
        found &= one[i] == other[i]
    return found


def mix(p: Program, seed: Map, parts: list[Value]) -> Local:
    """A hash of a few numbers, which nobody outside foresees; the high bits are the good ones."""
    mixed = p.let("mixed", p.only(seed, "seed").number ^ parts[0])
    for part in parts[1:]:
        p.set(mixed, mixed * SPREAD ^ part)
    p.set(mixed, mixed * SPREAD)
    p.set(mixed, (mixed ^ mixed >> 29) * SPREAD)
    return mixed
