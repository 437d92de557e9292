"""How statements become instructions: registers, places on the stack, blocks, expressions, jumps.

An expression is computed where it is used, in scratch registers (0 to 5), which live no longer
than a statement. A variable has one place for its whole life: a register that calls leave alone
(7 to 9; 6 holds the context) while one is free, else the stack; it ends with the block it was made
in, and its place is used again.

A function is emitted aside and stands behind the program. It gets its arguments in registers 1 to
5, has registers 6 to 9 and a part of the stack to itself, and sees no variable of its caller.

Laws: what is proven about a pointer (a lookup that found something, a header that has not moved)
is known along the program's ways, not along its text: a block that has left the program proves
nothing to whoever comes after it, and moves nothing for them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from fourseven.l4.bpf import code
from fourseven.l4.bpf.code import Instruction, Line
from fourseven.l4.bpf.layout import U32, BuildError, Kind, Struct
from fourseven.l4.bpf.values import (
    NEGATED,
    Address,
    Both,
    Cast,
    Compare,
    Condition,
    Const,
    Load,
    Local,
    MapHandle,
    Null,
    Op,
    Pointer,
    Swap,
    Value,
)

HERE = str(Path(__file__).parent)
STACK = 512  # bytes; the kernel gives no more
KEPT = (7, 8, 9)  # registers that a call leaves alone
CONTEXT = 6
SCRATCH = (0, 1, 2, 3, 4, 5)
GIVEN = (1, 2, 3, 4, 5)  # in which a function gets its arguments


@dataclass
class Function:
    """A function of the program: emitted once, called from several places."""

    label: int
    forms: tuple[Struct | Kind, ...]  # of what it is given
    code: list[Instruction]
    labels: dict[int, int]
    called: bool = False


@dataclass
class Block:
    """What ends with a block."""

    number: int
    registers: list[int] = field(default_factory=list)
    stack: int = 0  # how much was in use when it began
    proven: set[Pointer] = field(default_factory=set)  # lookups known to have found something
    moves: int = 0  # how often the packet had been moved when it began


class Emitter:
    """The instructions so far, and where everything stands."""

    def __init__(self) -> None:
        self._code: list[Instruction] = []
        self._labels: dict[int, int] = {}
        self._next_label = 0
        self._free = list(KEPT)
        self._stack = 0
        self._blocks = [Block(0)]
        self._block_count = 0
        self._reachable = True
        self._open: tuple[int, bool, Condition] | None = None  # a `when` that may get an otherwise
        self._moves = 0
        self._moved_by = ""
        self._functions: dict[str, Function] = {}

    # ---- functions ----

    @contextlib.contextmanager
    def _aside(self, name: str, forms: tuple[Struct | Kind, ...]) -> Iterator[None]:
        """What is emitted in the block is a function with registers and a stack of its own."""
        self._close()
        kept = ("_code", "_labels", "_free", "_stack", "_blocks", "_reachable", "_moves")
        outer = {one: getattr(self, one) for one in kept}
        self._block_count += 1
        self._code, self._labels, self._stack = [], {}, 0
        self._free, self._blocks = [CONTEXT, *KEPT], [Block(self._block_count)]
        self._reachable = True
        yield
        self._close()
        if self._reachable:
            raise BuildError(f"{name} runs off its end; the last statement is an exit")
        made = Function(self._label(), forms, self._code, self._labels)
        self._functions[name] = made
        for one, value in outer.items():
            setattr(self, one, value)

    def _whole(self) -> tuple[list[Instruction], dict[int, int]]:
        """The program, and behind it the functions that are called."""
        everything, labels = list(self._code), dict(self._labels)
        for one in self._functions.values():
            if one.called:
                start = len(everything)
                labels[one.label] = start
                labels.update({label: start + at for label, at in one.labels.items()})
                everything += one.code
        return everything, labels

    # ---- blocks and places ----

    def _close(self) -> None:
        """A `when` without an otherwise ends: both ways meet here."""
        if self._open is None:
            return
        after, falls, condition = self._open
        self._open = None
        self._labels[after] = len(self._code)
        self._reachable = True
        if not falls:
            self._blocks[-1].proven |= proofs(condition, False)

    def _enter(self, proven: Set[Pointer]) -> None:
        self._block_count += 1
        block = Block(self._block_count, stack=self._stack, proven={*proven}, moves=self._moves)
        self._blocks.append(block)

    def _leave(self) -> bool:
        """Ends a block; can what follows it be reached through it?"""
        self._close()
        block = self._blocks.pop()
        self._free = sorted([*self._free, *block.registers])
        self._stack = block.stack
        if not self._reachable:  # whoever goes on did not come through it
            self._moves = block.moves
        return self._reachable

    def _local(self, name: str, kind: Kind) -> Local:
        self._close()
        block = self._blocks[-1]
        if self._free:
            register = self._free.pop(0)
            block.registers.append(register)
            return Local(name, kind, register, 0, block.number)
        return Local(name, kind, None, self._take(name, 8), block.number)

    def _take(self, name: str, size: int) -> int:
        self._close()
        self._stack += size
        if self._stack > STACK:
            raise BuildError(f"no room for {name}: the stack has {STACK} bytes")
        return -self._stack

    def _label(self) -> int:
        self._next_label += 1
        return self._next_label

    # ---- emitting ----

    def _emit(  # noqa: PLR0917 - the fields of an instruction
        self,
        opcode: int,
        to: int = 0,
        source: int = 0,
        offset: int = 0,
        number: int = 0,
        text: str = "",
        label: int | None = None,
        map: str = "",
    ) -> None:
        self._close()
        if not self._reachable:
            raise BuildError(f"{_here()}: never reached: the program has left before")
        self._code.append(
            Instruction(opcode, to, source, offset, number, text, label, map, _here())
        )
        if opcode in (code.EXIT, code.JMP):
            self._reachable = False

    def _alu(self, op: str, to: int, number: int, text: str) -> None:
        self._emit(code.ALU64 | code.ARITHMETIC[op], to=to, number=number, text=text)

    def _alu_register(self, op: str, to: int, source: int, text: str) -> None:
        opcode = code.ALU64 | code.ARITHMETIC[op] | code.REGISTER
        self._emit(opcode, to=to, source=source, text=text)

    def _assign(self, target: Local, value: Value) -> None:
        self._alive(target, target.block)
        if target.register is not None and not _reads(value, target):
            self._value(value, target.register, SCRATCH)
            return
        self._value(value, 0, (1, 2, 3, 4, 5))
        self._keep(target, 0)

    def _keep(self, target: Local, register: int) -> None:
        """Moves a register to where a variable lives."""
        text = f"{target.name} = r{register}"
        if target.register is not None:
            opcode = code.ALU64 | code.MOV | code.REGISTER
            self._emit(opcode, to=target.register, source=register, text=text)
        else:
            opcode = code.STX | code.WIDTHS[8]
            self._emit(opcode, to=code.FRAME, source=register, offset=target.stack, text=text)

    def _alive(self, one: object, made_in: int) -> None:
        """Its place is still its own."""
        if all(block.number != made_in for block in self._blocks):
            raise BuildError(f"{_here()}: {one} ended with the block that it was made in")

    def _base(self, pointer: Pointer, scratch: int) -> int:
        """The register through which a pointer's fields are reached."""
        self._close()
        if pointer._region == "stack":
            self._alive(pointer, pointer._taken)
            return code.FRAME
        if pointer._region == "packet" and pointer._taken != self._moves:
            raise BuildError(
                f"{_here()}: {pointer} is stale: {self._moved_by} may have moved the packet; "
                "take the header again"
            )
        if pointer._region == "map" and not self._is_proven(pointer):
            raise BuildError(f"{_here()}: {pointer} may be missing; ask {pointer}.present first")
        local = pointer._local
        assert local is not None
        self._alive(local, local.block)
        if local.register is not None:
            return local.register
        opcode = code.LDX | code.WIDTHS[8]
        text = f"r{scratch} = {local.name}"
        self._emit(opcode, to=scratch, source=code.FRAME, offset=local.stack, text=text)
        return scratch

    def _is_proven(self, pointer: Pointer) -> bool:
        """Is it known, on this way, that the lookup found something? It may be seen as another
        struct by now."""
        return any(one._local is pointer._local for block in self._blocks for one in block.proven)

    def _offset(self, target: Load) -> int:
        return target.offset + (target.pointer._stack if target.pointer._region == "stack" else 0)

    def _value(self, value: Value, to: int, spare: tuple[int, ...]) -> None:
        """Computes an expression into a register, with spare ones for what it needs."""
        text = f"r{to} = {value}"
        match value:
            case Const():
                self._constant(to, value.number, text)
            case MapHandle():
                self._emit(code.LDDW, to=to, map=value.name, text=text)
            case Address():
                self._place(value, to, text)
            case Local():
                self._alive(value, value.block)
                if value.register is None:
                    opcode = code.LDX | code.WIDTHS[8]
                    self._emit(opcode, to=to, source=code.FRAME, offset=value.stack, text=text)
                else:
                    opcode = code.ALU64 | code.MOV | code.REGISTER
                    self._emit(opcode, to=to, source=value.register, text=text)
            case Load():
                # In the last spare one: the next load through it finds it there (`polish`).
                base = self._base(value.pointer, spare[-1] if spare else to)
                opcode = code.LDX | code.WIDTHS[value.kind.size]
                self._emit(opcode, to=to, source=base, offset=self._offset(value), text=text)
            case Cast():
                self._value(value.value, to, spare)
                if value.kind.size < value.value.kind.size:
                    self._cut(to, value.kind, text)
            case Swap():
                self._value(value.value, to, spare)
                self._emit(code.TO_BIG, to=to, number=8 * value.kind.size, text=text)
            case Op():
                self._operation(value, to, spare)
            case _:
                raise BuildError(f"{value!r} is no value of a program")

    def _place(self, value: Address, to: int, text: str) -> None:
        if value.pointer is None:
            self._alive(value.name, value.block)
        base = code.FRAME if value.pointer is None else self._base(value.pointer, to)
        self._emit(code.ALU64 | code.MOV | code.REGISTER, to=to, source=base, text=text)
        if value.offset:
            self._alu("+", to, value.offset, f"r{to} += {value.offset}")

    def _operation(self, value: Op, to: int, spare: tuple[int, ...]) -> None:
        self._value(value.left, to, spare)
        right = value.right
        text = f"r{to} = {value}"
        if value.op == "&" and isinstance(right, Const) and right.number == 0xFFFFFFFF:
            self._cut(to, U32, text)
            return
        half = value.kind.size == 4  # the machine's 32-bit operations clear the upper half
        family = code.ALU32 if half else code.ALU64
        opcode = family | code.ARITHMETIC[value.op]
        if isinstance(right, Const) and right.number < 1 << (32 if half else 31):
            self._emit(opcode, to=to, number=right.number, text=text)
        elif isinstance(right, Local) and right.register is not None:
            self._alive(right, right.block)
            self._emit(opcode | code.REGISTER, to=to, source=right.register, text=text)
        else:
            if not spare:
                raise BuildError(f"{_here()}: {value} is too deep; let(…) a part of it")
            self._value(right, spare[0], spare[1:])
            self._emit(opcode | code.REGISTER, to=to, source=spare[0], text=text)
        if value.op in "+-*<<" and value.kind.size < 4:
            self._cut(to, value.kind, text)

    def _cut(self, register: int, kind: Kind, text: str) -> None:
        """A narrow kind never holds more than its width."""
        if kind.size == 4:
            opcode = code.ALU32 | code.MOV | code.REGISTER
            self._emit(opcode, to=register, source=register, text=text)
        elif kind.size < 4:
            self._alu("&", register, (1 << 8 * kind.size) - 1, text)

    def _constant(self, to: int, number: int, text: str) -> None:
        if number < 1 << 31:
            self._emit(code.ALU64 | code.MOV, to=to, number=number, text=text)
        elif number < 1 << 32:
            self._emit(code.ALU32 | code.MOV, to=to, number=number, text=text)
        else:
            self._emit(code.LDDW, to=to, number=number, text=text)

    def _branch(self, condition: Condition, target: int, wanted: bool) -> None:
        """Jumps to the target when the condition's truth is `wanted`; else goes on."""
        match condition:
            case Both():
                self._branch_both(condition, target, wanted)
            case Null():
                local = condition.pointer._local
                assert local is not None
                op = "==" if condition.missing is wanted else "!="
                self._value(local, 0, ())
                text = f"if {condition.pointer} {op} nothing"
                self._emit(code.JMP | code.JUMPS[op], to=0, label=target, text=text)
            case Compare():
                self._compare(condition, target, wanted)
            case _:
                raise BuildError(f"{condition!r} is no condition")

    def _branch_both(self, condition: Both, target: int, wanted: bool) -> None:
        if condition.every is not wanted:  # one part decides: each jumps by itself
            for part in condition.parts:
                self._branch(part, target, wanted)
            return
        past = self._label()
        for part in condition.parts[:-1]:
            self._branch(part, past, not wanted)
        self._branch(condition.parts[-1], target, wanted)
        self._labels[past] = len(self._code)

    def _compare(self, condition: Compare, target: int, wanted: bool) -> None:
        op = condition.op if wanted else NEGATED[condition.op]
        text = f"if {condition.left} {op} {condition.right}"
        self._value(condition.left, 0, (1, 2, 3, 4, 5))
        right = condition.right
        if isinstance(right, Const) and right.number < 1 << 31:
            opcode = code.JMP | code.JUMPS[op]
            self._emit(opcode, to=0, number=right.number, label=target, text=text)
        else:
            self._value(right, 1, (2, 3, 4, 5))
            opcode = code.JMP | code.JUMPS[op] | code.REGISTER
            self._emit(opcode, to=0, source=1, label=target, text=text)


def proofs(condition: Condition, holds: bool) -> set[Pointer]:
    """The lookups that have found something when the condition's truth is `holds`."""
    if isinstance(condition, Null):
        return {condition.pointer} if condition.missing is not holds else set()
    if isinstance(condition, Both) and condition.every is holds:
        return {found for part in condition.parts for found in proofs(part, holds)}
    return set()


def _reads(value: Value, local: Local) -> bool:
    """Does an expression read a variable? Then it must not be computed in the variable's place."""
    match value:
        case Op():
            return _reads(value.left, local) or _reads(value.right, local)
        case Swap() | Cast():
            return _reads(value.value, local)
        case Load():
            return value.pointer._local is local
    return value is local


def _here() -> Line:
    """The line that wrote what is emitted now: the nearest one outside the builder."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_code.co_filename
        if not name.startswith(HERE) and not name.endswith("contextlib.py"):
            break
        frame = frame.f_back
    return Line(frame.f_code.co_filename, frame.f_lineno)
