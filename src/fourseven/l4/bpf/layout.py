"""Layouts: how wide a number is, which byte first, and where a field stands in a struct.

A kind is a width and a byte order. The order is part of the type, because the mistake that costs
days is comparing a port as it came from the wire with a port as people write it. So a number that
a person writes always means what it says: `eth.protocol == 0x0800` stores the constant in the
field's order when the program is built, and arithmetic on a big-endian value is refused until
`.host()` turns it.

Law: a struct has no hidden padding. The kernel compares a map's keys byte by byte, and padding
that nobody wrote makes two equal keys differ; so what must be aligned is said, or refused here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

TAKEN = ("address", "present", "missing", "seen_as")  # what a pointer itself answers to


class BuildError(Exception):
    """A program that cannot be right, found before the kernel sees it; names the line."""


class Kind(NamedTuple):
    """The type of a number: its bytes, and whether it is in the network's order."""

    name: str
    size: int
    big: bool = False

    @property
    def swaps(self) -> bool:
        """Do this kind's bytes stand the other way round than in this machine's registers?"""
        return self.big and self.size > 1 and sys.byteorder == "little"

    def store(self, number: int) -> int:
        """The number as a register holds it after a load of this kind."""
        if not 0 <= number < 1 << 8 * self.size:
            raise BuildError(f"{number:#x} does not fit into {self.name}")
        order = "big" if self.swaps else "little"
        return int.from_bytes(number.to_bytes(self.size, "little"), order)  # type: ignore[arg-type]


U8, U16, U32, U64 = Kind("u8", 1), Kind("u16", 2), Kind("u32", 4), Kind("u64", 8)
BE16, BE32 = Kind("be16", 2, True), Kind("be32", 4, True)


@dataclass(frozen=True)
class Array:
    """Several of one kind, one after the other."""

    kind: Kind
    count: int

    @property
    def size(self) -> int:
        return self.kind.size * self.count


@dataclass(frozen=True)
class Field:
    """One field at its place."""

    name: str
    offset: int
    kind: Kind
    count: int  # 0: no array


class Struct:
    """Named fields, one after the other."""

    aligned = True

    def __init__(self, name: str, /, **fields: Kind | Array) -> None:
        self.name = name
        self.fields: dict[str, Field] = {}
        at = 0
        for field, form in fields.items():
            if field.startswith("_") or field in TAKEN:
                raise BuildError(f"{name}.{field}: a pointer has that name for something else")
            kind, count = (form.kind, form.count) if isinstance(form, Array) else (form, 0)
            if self.aligned and at % kind.size:
                raise BuildError(f"{name}.{field} would stand at {at}, unaligned; say the padding")
            self.fields[field] = Field(field, at, kind, count)
            at += form.size
        self.size = at
        if self.aligned and any(at % field.kind.size for field in self.fields.values()):
            raise BuildError(f"{name} ends at {at}, unaligned; say the padding")

    def find(self, name: str) -> Field:
        field = self.fields.get(name)
        if field is None:
            raise BuildError(f"{self.name} has no field {name!r}; it has {', '.join(self.fields)}")
        return field

    def pack(self, **values: Any) -> bytes:
        """The struct as bytes; fields that are not named are 0."""
        made = bytearray(self.size)
        for name, value in values.items():
            field = self.find(name)
            numbers = value if field.count else (value,)
            for i, number in enumerate(numbers):
                at = field.offset + i * field.kind.size
                made[at : at + field.kind.size] = number.to_bytes(field.kind.size, order(field))
        return bytes(made)

    def unpack(self, data: bytes) -> dict[str, Any]:
        """Field by field; an array is a tuple."""
        found: dict[str, Any] = {}
        for field in self.fields.values():
            size = field.kind.size
            numbers = tuple(
                int.from_bytes(data[at : at + size], order(field))
                for at in range(field.offset, field.offset + max(field.count, 1) * size, size)
            )
            found[field.name] = numbers if field.count else numbers[0]
        return found


class Header(Struct):
    """A struct on the wire, where nothing is aligned."""

    aligned = False


def order(field: Field) -> Any:
    """The field's byte order, as int.to_bytes takes it."""
    return "big" if field.kind.big else sys.byteorder
