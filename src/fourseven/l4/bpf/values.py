"""Expressions and conditions: trees that the program turns into instructions when they are used.

Nothing here emits anything. An expression knows its kind, so two that do not go together are
refused where they meet, in the user's line. A condition is no bool: `if a == b` in Python would be
decided while the program is built, which is never what was meant; it raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from fourseven.l4.bpf.layout import U64, BuildError, Kind, Struct

NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
SAME_IN_ANY_ORDER = {"&", "|", "^"}  # of two values in the same order


class Value:
    """Something that a register can hold."""

    kind: Kind

    def _with(self, op: str, other: Any) -> Op:
        right = operand(other, self.kind, op)
        if self.kind.big and op not in SAME_IN_ANY_ORDER:
            raise BuildError(f"{op} on {self} of kind {self.kind.name}: write .host() first")
        wider = max(self.kind, right.kind, key=lambda kind: kind.size)
        return Op(op, self, right, wider)

    def __add__(self, other: Any) -> Op:
        return self._with("+", other)

    def __sub__(self, other: Any) -> Op:
        return self._with("-", other)

    def __mul__(self, other: Any) -> Op:
        return self._with("*", other)

    def __mod__(self, other: Any) -> Op:
        return self._with("%", other)

    def __and__(self, other: Any) -> Op:
        return self._with("&", other)

    def __or__(self, other: Any) -> Op:
        return self._with("|", other)

    def __xor__(self, other: Any) -> Op:
        return self._with("^", other)

    def __lshift__(self, other: Any) -> Op:
        return self._with("<<", other)

    def __rshift__(self, other: Any) -> Op:
        return self._with(">>", other)

    def __floordiv__(self, other: Any) -> Op:
        return self._with("/", other)

    def __invert__(self) -> Op:
        """Every bit the other way."""
        return Op("^", self, Const((1 << 8 * self.kind.size) - 1, self.kind), self.kind)

    def _compare(self, op: str, other: Any) -> Compare:
        if self.kind.big and op not in ("==", "!="):
            raise BuildError(f"{op} on {self} of kind {self.kind.name}: write .host() first")
        return Compare(op, self, operand(other, self.kind, op))

    def __eq__(self, other: Any) -> Compare:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: Any) -> Compare:  # type: ignore[override]
        return self._compare("!=", other)

    def __lt__(self, other: Any) -> Compare:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Compare:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Compare:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Compare:
        return self._compare(">=", other)

    __hash__ = object.__hash__

    def host(self) -> Value:
        """A big-endian value as a number to count with."""
        if not self.kind.big:
            return self
        return Swap(self, Kind(f"u{8 * self.kind.size}", self.kind.size))

    def wire(self) -> Value:
        """A number as the network has it."""
        if self.kind.big:
            return self
        return Swap(self, Kind(f"be{8 * self.kind.size}", self.kind.size, True))

    def to(self, kind: Kind) -> Value:
        """The same bits of the register as another kind; cut off when it is narrower."""
        if kind.big != self.kind.big and kind.big:
            raise BuildError(f"{self} of kind {self.kind.name} is no {kind.name}")
        return Cast(self, kind)

    def bits(self, kind: Kind) -> Value:
        """As `to`, for what is the same in any order, such as a sum of 16-bit words (RFC 1071)."""
        return Cast(self, kind)

    def __bool__(self) -> NoReturn:
        raise BuildError(f"{self} is not known while the program is built; use p.when(…)")


@dataclass(eq=False, frozen=True)
class Const(Value):
    number: int  # as a register holds it
    kind: Kind = U64

    def __str__(self) -> str:
        return hex(self.number) if self.number > 9 else str(self.number)


@dataclass(eq=False, frozen=True)
class Op(Value):
    op: str
    left: Value
    right: Value
    kind: Kind

    def __str__(self) -> str:
        return f"({self.left} {self.op} {self.right})"


@dataclass(eq=False, frozen=True)
class Cast(Value):
    value: Value
    kind: Kind

    def __str__(self) -> str:
        return f"{self.value} as {self.kind.name}"


@dataclass(eq=False, frozen=True)
class Swap(Value):
    value: Value
    kind: Kind

    def __str__(self) -> str:
        return f"{self.value}.host()"


@dataclass(eq=False, frozen=True)
class Local(Value):
    """A variable of the program: in a register for its whole life, or on the stack."""

    name: str
    kind: Kind
    register: int | None
    stack: int  # offset from the frame's end; 0 when in a register
    block: int  # the block in which it lives

    def __str__(self) -> str:
        return self.name


@dataclass(eq=False, frozen=True)
class Address(Value):
    """Where something stands, for a helper that wants a pointer."""

    name: str
    offset: int  # from the frame's end, or into what the pointer points to
    pointer: Pointer | None = None  # None: on the stack
    block: int = 0  # on the stack: the block in which it lives
    kind: Kind = U64

    def __str__(self) -> str:
        return f"&{self.name}"


@dataclass(eq=False, frozen=True)
class MapHandle(Value):
    """A map, for a helper; its descriptor is filled in when the program is loaded."""

    name: str
    kind: Kind = U64

    def __str__(self) -> str:
        return f"map {self.name}"


@dataclass(eq=False, frozen=True)
class Load(Value):
    """A field that a pointer points to."""

    pointer: Pointer
    name: str
    offset: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.pointer}.{self.name}"

    @property
    def of_context(self) -> bool:
        """Of the struct that the kernel handed over? Those are written from registers only."""
        return self.pointer._region == "context"

    @property
    def address(self) -> Address:
        """Where the field stands."""
        whole = self.pointer.address
        return Address(str(self), whole.offset + self.offset, whole.pointer, whole.block)


class Fields:
    """An array field: its elements by number, which the builder knows."""

    def __init__(self, pointer: Pointer, name: str, offset: int, kind: Kind, count: int) -> None:
        self._of = (pointer, name, offset, kind)
        self.count = count

    @property
    def address(self) -> Address:
        """Where the array begins."""
        pointer, name, offset, _ = self._of
        whole = pointer.address
        return Address(f"{pointer}.{name}", whole.offset + offset, whole.pointer, whole.block)

    def __getitem__(self, i: int) -> Load:
        pointer, name, offset, kind = self._of
        if not 0 <= i < self.count:
            raise BuildError(f"{pointer}.{name}[{i}]: it has {self.count} elements")
        return Load(pointer, f"{name}[{i}]", offset + i * kind.size, kind)


class Pointer:
    """A struct in a packet, in a map, on the stack, or the context; fields by their names."""

    _struct: Struct
    _local: Local | None  # where the address is kept; None: on the stack
    _stack: int
    _region: str  # packet, map, stack, context
    # When it was taken. Packet: how often that had been moved; stack: the block in which it lives.
    _taken: int

    def __init__(  # noqa: PLR0917 - only the builder makes one
        self, struct: Struct, name: str, region: str, local: Local | None, stack: int, taken: int
    ) -> None:
        self._struct, self._name, self._region = struct, name, region
        self._local, self._stack, self._taken = local, stack, taken

    def __str__(self) -> str:
        return self._name

    def __getattr__(self, name: str) -> Any:
        field = self._struct.find(name)
        if field.count:
            return Fields(self, name, field.offset, field.kind, field.count)
        return Load(self, name, field.offset, field.kind)

    @property
    def address(self) -> Address:
        """Where the struct stands."""
        if self._region == "context":
            raise BuildError(f"{self} is given to a helper as it is, without .address")
        if self._region == "stack":
            return Address(self._name, self._stack, None, self._taken)
        return Address(self._name, 0, self)

    def seen_as(self, struct: Struct) -> Pointer:
        """The same bytes with other fields; no more of them."""
        if struct.size > self._struct.size:
            raise BuildError(f"{self} has {self._struct.size} bytes, {struct.name} {struct.size}")
        return Pointer(struct, self._name, self._region, self._local, self._stack, self._taken)

    @property
    def present(self) -> Null:
        """Did the lookup find it?"""
        return Null(self, False)

    @property
    def missing(self) -> Null:
        """Did the lookup find nothing?"""
        return Null(self, True)


class Condition:
    """What decides which way a program goes."""

    def __bool__(self) -> NoReturn:
        raise BuildError(f"{self} is not known while the program is built; use p.when(…)")

    def __and__(self, other: Condition) -> Both:
        return Both((self, other), True)

    def __or__(self, other: Condition) -> Both:
        return Both((self, other), False)


@dataclass(frozen=True)
class Compare(Condition):
    op: str
    left: Value
    right: Value

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right}"


@dataclass(frozen=True)
class Null(Condition):
    """Whether a pointer into a map points nowhere."""

    pointer: Pointer
    missing: bool

    def __str__(self) -> str:
        return f"{self.pointer} is {'missing' if self.missing else 'present'}"


@dataclass(frozen=True)
class Both(Condition):
    """All of the parts, or any of them."""

    parts: tuple[Condition, ...]
    every: bool

    def __str__(self) -> str:
        return f" {'and' if self.every else 'or'} ".join(f"({part})" for part in self.parts)


def operand(other: Any, beside: Kind, op: str = "") -> Value:
    """A value as it is; a number in the kind of what it meets."""
    if isinstance(other, Value):
        if other.kind.big != beside.big and op not in ("<<", ">>"):
            raise BuildError(
                f"{op} of {beside.name} and {other} of kind {other.kind.name}: "
                "the byte orders differ; write .host()"
            )
        if beside.big and other.kind.size != beside.size:
            raise BuildError(f"{op} of {beside.name} and {other.kind.name}: the widths differ")
        return other
    if isinstance(other, int):
        return Const(beside.store(other), beside)
    raise BuildError(f"{other!r} is no number and no value of this program")
