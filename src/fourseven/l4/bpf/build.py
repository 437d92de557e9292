"""Program: a program of the kernel's machine, written as Python statements.

    p = Program("count", context=SKB)
    seen = p.map("seen", HASH, key=KEY, value=COUNT, size=1024)
    ip = p.packet("ip", 14, IPV4, otherwise=PASS)
    key = p.stack("key", KEY)
    p.set(key.address, ip.source)
    count = p.lookup(seen, "count", key)
    with p.when(count.present):
        p.add(count.packets, 1)
    p.exit(PASS)

Each statement emits at once; an expression is computed where it is used, in scratch registers
(0 to 5), which live no longer than a statement. A variable has one place for its whole life: a
register that calls leave alone (7 to 9; 6 holds the context) while one is free, else the stack;
it ends with the block it was made in, and its place is used again.

What the verifier would refuse late and darkly is refused here, in the line that is wrong: a field
behind a lookup that was not checked, a header used after a helper has moved the packet, a
statement that is never reached, a program that runs off its end, a full stack.

Loops are Python's own: what is repeated is written out.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fourseven.l4.bpf import code
from fourseven.l4.bpf.code import Assembled, Instruction, Line
from fourseven.l4.bpf.layout import U32, U64, BuildError, Kind, Struct
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
    operand,
)

HERE = str(Path(__file__).parent)
STACK = 512  # bytes; the kernel gives no more
KEPT = (7, 8, 9)  # registers that a call leaves alone; 6 holds the context
CONTEXT = 6
SCRATCH = (0, 1, 2, 3, 4, 5)

HASH, ARRAY, LRU_HASH = 1, 2, 9  # enum bpf_map_type


class Helper(NamedTuple):
    """A function of the kernel."""

    number: int
    arguments: int
    moves: bool = False  # the packet may stand elsewhere afterwards


HELPERS = {  # enum bpf_func_id
    "map_lookup_elem": Helper(1, 2),
    "map_update_elem": Helper(2, 4),
    "map_delete_elem": Helper(3, 2),
    "ktime_get_ns": Helper(5, 0),
    "get_prandom_u32": Helper(7, 0),
    "skb_store_bytes": Helper(9, 5, True),
    "l3_csum_replace": Helper(10, 5, True),
    "l4_csum_replace": Helper(11, 5, True),
    "csum_diff": Helper(28, 5),
    "skb_pull_data": Helper(39, 2, True),
    "fib_lookup": Helper(69, 4),
    "redirect_neigh": Helper(152, 4),
}


@dataclass(frozen=True)
class Map:
    """A table that the program shares with the one who loads it."""

    name: str
    type: int
    key: Struct
    value: Struct
    size: int


@dataclass
class Block:
    """What ends with a block."""

    number: int
    registers: list[int] = field(default_factory=list)
    stack: int = 0  # how much was in use when it began
    proven: set[Pointer] = field(default_factory=set)  # lookups known to have found something
    moves: int = 0  # how often the packet had been moved when it began


class Program:
    """A program while it is written. `context` is the struct that the kernel hands to it."""

    def __init__(self, name: str, context: Struct) -> None:
        self.name = name
        self.maps: dict[str, Map] = {}
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
        local = Local("context", U64, CONTEXT, 0, 0)
        self.context = Pointer(context, "context", "context", local, 0, 0)
        self._emit(code.ALU64 | code.MOV | code.REGISTER, to=CONTEXT, source=1, text="r6 = context")

    # ---- variables ----

    def let(self, name: str, value: Value | int, kind: Kind = U64) -> Local:
        """A new variable; its kind is the value's."""
        made = self._local(name, value.kind if isinstance(value, Value) else kind)
        self.set(made, value)
        return made

    def set(self, target: Local | Load, value: Value | int) -> None:
        """Gives a variable or a field a new value."""
        said = operand(value, target.kind, "=")
        if said.kind.size > target.kind.size:
            raise BuildError(
                f"{said} of kind {said.kind.name} does not fit into {target} "
                f"of kind {target.kind.name}; write .to({target.kind.name.upper()})"
            )
        if isinstance(target, Local):
            self._assign(target, said)
            return
        self._value(said, 0, (2, 3, 4, 5))
        base = self._base(target.pointer, 1)
        offset = self._offset(target)
        opcode = code.STX | code.WIDTHS[target.kind.size]
        self._emit(opcode, to=base, source=0, offset=offset, text=f"{target} = r0")

    def add(self, target: Load, value: Value | int) -> None:
        """Adds to a 64-bit field of a map, whole even when several processors do it at once."""
        if target.kind is not U64:
            raise BuildError(f"{target} is {target.kind.name}: only u64 is added to as a whole")
        self._value(operand(value, U64, "+="), 0, (2, 3, 4, 5))
        base = self._base(target.pointer, 1)
        offset = self._offset(target)
        self._emit(code.ATOMIC_ADD, to=base, source=0, offset=offset, text=f"{target} += r0")

    def fetch_add(self, name: str, target: Load, value: Value | int) -> Local:
        """As `add`; what the field held before is a new variable."""
        self.add(target, value)
        last = self._code[-1]
        last.number, last.text = code.FETCH, f"r0 = {target}; {target} += r0"
        made = self._local(name, U64)
        self._keep(made, 0)
        return made

    def stack(self, name: str, struct: Struct) -> Pointer:
        """A struct on the stack, all zero."""
        size = (struct.size + 7) // 8 * 8
        at = self._take(name, size)
        self._emit(code.ALU64 | code.MOV, to=0, number=0, text="r0 = 0")
        for offset in range(0, size, 8):
            self._emit(
                code.STX | code.WIDTHS[8],
                to=code.FRAME,
                source=0,
                offset=at + offset,
                text=f"{name}+{offset} = r0",
            )
        return Pointer(struct, name, "stack", None, at, 0)

    def copy(self, to: Any, source: Any) -> None:
        """An array field into another of the same length."""
        if to.count != source.count:
            raise BuildError(f"{to.count} elements cannot take {source.count}")
        for i in range(to.count):
            self.set(to[i], source[i])

    # ---- the packet ----

    def packet(self, name: str, at: Value | int, struct: Struct, otherwise: int) -> Pointer:
        """A header `at` bytes into the packet. Where the packet ends before the header does, the
        program exits with `otherwise`."""
        local = self._local(name, U64)
        where = operand(at, U64) if isinstance(at, int) else at
        data, end = self.context.data, self.context.data_end
        self._value(data, 1, ())
        if isinstance(where, Const):
            self._alu("+", 1, where.number, f"r1 += {where}")
        else:
            self._value(where, 2, (3, 4, 5, 0))
            self._alu_register("+", 1, 2, f"r1 += {where}")
        self._keep(local, 1)
        self._alu("+", 1, struct.size, f"r1 += size of {struct.name}")
        self._value(end, 2, ())
        inside = self._label()
        text = f"if {name} ends inside the packet"
        self._emit(code.JMP | 0xB8, to=1, source=2, label=inside, text=text)
        self._emit(code.ALU64 | code.MOV, to=0, number=otherwise, text=f"r0 = {otherwise}")
        self._emit(code.EXIT, text="exit")
        self._labels[inside] = len(self._code)
        self._reachable = True
        return Pointer(struct, name, "packet", local, 0, self._moves)

    # ---- maps and helpers ----

    def map(self, name: str, type: int, key: Struct, value: Struct, size: int) -> Map:
        """Declares a map."""
        self.maps[name] = Map(name, type, key, value, size)
        return self.maps[name]

    def lookup(self, map: Map, name: str, key: Pointer) -> Pointer:
        """What a map holds for a key on the stack; ask `.present` or `.missing` before a field."""
        self._fits(map.key, key)
        found = self.call("map_lookup_elem", MapHandle(map.name), key.address, name=name)
        return Pointer(map.value, name, "map", found, 0, 0)

    def update(self, map: Map, key: Pointer, value: Pointer) -> None:
        """Puts a key and its value, both on the stack, into a map."""
        self._fits(map.key, key)
        self._fits(map.value, value)
        self.call("map_update_elem", MapHandle(map.name), key.address, value.address, 0)

    def _fits(self, wanted: Struct, given: Pointer) -> None:
        if given._struct is not wanted:
            raise BuildError(f"{given} is {given._struct.name}; the map takes {wanted.name}")

    def call(
        self, helper: str, *arguments: Value | Pointer | int, name: str = "result", kind: Kind = U64
    ) -> Local:
        """Calls a function of the kernel. What it returns is a new variable."""
        known = HELPERS.get(helper)
        if known is None or known.arguments != len(arguments):
            wanted = f"takes {known.arguments} arguments" if known else "is not known here"
            raise BuildError(f"the helper {helper} {wanted}")
        for i, argument in enumerate(arguments, 1):
            if argument is self.context:
                text = f"r{i} = context"
                self._emit(code.ALU64 | code.MOV | code.REGISTER, to=i, source=CONTEXT, text=text)
            elif isinstance(argument, Pointer):
                raise BuildError(f"{argument}: write .address for a struct on the stack")
            else:
                value = operand(argument, U64) if isinstance(argument, int) else argument
                self._value(value, i, (*range(i + 1, 6), 0))
        self._emit(code.CALL, number=known.number, text=f"r0 = {helper}(…)")
        if known.moves:
            self._moves += 1
            self._moved_by = helper
        result = self._local(name, kind)
        self._keep(result, 0)
        return result

    # ---- the way through ----

    @contextlib.contextmanager
    def when(self, condition: Condition) -> Iterator[None]:
        """What follows in the block happens only when the condition holds."""
        self._close()
        if not isinstance(condition, Condition):
            raise BuildError(f"{condition!r} is no condition; compare it with something")
        after = self._label()
        self._branch(condition, after, False)
        self._enter(_proofs(condition, True))
        yield
        falls = self._leave()
        self._open = (after, falls, condition)

    @contextlib.contextmanager
    def otherwise(self) -> Iterator[None]:
        """After a `when`: what happens when its condition does not hold."""
        if self._open is None:
            raise BuildError("otherwise() stands right after a when(…) block")
        after, falls, condition = self._open
        self._open = None
        end = self._label()
        if falls:
            self._emit(code.JMP | 0x00, label=end, text="go on")
        self._labels[after] = len(self._code)
        self._reachable = True
        self._enter(_proofs(condition, False))
        yield
        falls_too = self._leave()
        if falls:
            self._labels[end] = len(self._code)
        self._reachable = falls or falls_too

    def exit(self, code_: Value | int) -> None:
        """The program ends with this code."""
        self._value(operand(code_, U32), 0, (1, 2, 3, 4, 5))
        self._emit(code.EXIT, text="exit")
        self._reachable = False

    def assemble(self) -> Assembled:
        """The finished program."""
        self._close()
        if self._reachable:
            raise BuildError(f"{self.name} runs off its end; the last statement is an exit")
        return code.place(self.name, self._code, self._labels)

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
            self._blocks[-1].proven |= _proofs(condition, False)

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
        self._alive(target)
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

    def _alive(self, local: Local) -> None:
        if all(block.number != local.block for block in self._blocks):
            raise BuildError(f"{_here()}: {local} ended with the block that it was made in")

    def _base(self, pointer: Pointer, scratch: int) -> int:
        """The register through which a pointer's fields are reached."""
        self._close()
        if pointer._region == "stack":
            return code.FRAME
        if pointer._region == "packet" and pointer._taken != self._moves:
            raise BuildError(
                f"{_here()}: {pointer} is stale: {self._moved_by} may have moved the packet; "
                "take the header again"
            )
        if pointer._region == "map" and not any(pointer in b.proven for b in self._blocks):
            raise BuildError(f"{_here()}: {pointer} may be missing; ask {pointer}.present first")
        local = pointer._local
        assert local is not None
        self._alive(local)
        if local.register is not None:
            return local.register
        opcode = code.LDX | code.WIDTHS[8]
        text = f"r{scratch} = {local.name}"
        self._emit(opcode, to=scratch, source=code.FRAME, offset=local.stack, text=text)
        return scratch

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
                opcode = code.ALU64 | code.MOV | code.REGISTER
                self._emit(opcode, to=to, source=code.FRAME, text=f"r{to} = frame")
                self._alu("+", to, value.stack, text)
            case Local():
                self._alive(value)
                if value.register is None:
                    opcode = code.LDX | code.WIDTHS[8]
                    self._emit(opcode, to=to, source=code.FRAME, offset=value.stack, text=text)
                else:
                    opcode = code.ALU64 | code.MOV | code.REGISTER
                    self._emit(opcode, to=to, source=value.register, text=text)
            case Load():
                base = self._base(value.pointer, to)
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

    def _operation(self, value: Op, to: int, spare: tuple[int, ...]) -> None:
        self._value(value.left, to, spare)
        right = value.right
        text = f"r{to} = {value}"
        if isinstance(right, Const) and right.number < 1 << 31:
            self._alu(value.op, to, right.number, text)
        elif isinstance(right, Local) and right.register is not None:
            self._alive(right)
            self._alu_register(value.op, to, right.register, text)
        else:
            if not spare:
                raise BuildError(f"{_here()}: {value} is too deep; let(…) a part of it")
            self._value(right, spare[0], spare[1:])
            self._alu_register(value.op, to, spare[0], text)
        if value.op in "+-*<<" and value.kind.size < 8:
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


def _proofs(condition: Condition, holds: bool) -> set[Pointer]:
    """The lookups that have found something when the condition's truth is `holds`."""
    if isinstance(condition, Null):
        return {condition.pointer} if condition.missing is not holds else set()
    if isinstance(condition, Both) and condition.every is holds:
        return {found for part in condition.parts for found in _proofs(part, holds)}
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
