"""Instructions: what the kernel's machine knows, how it is encoded, how it reads.

Eight bytes each: opcode, two registers, a 16-bit offset, a 32-bit immediate; a 64-bit constant
and a map's descriptor take two. Each instruction remembers the Python line that wrote it and the
builder's names for what it touches, so that a listing reads like the program, and a refusal of the
kernel's verifier can be told in the words of the one who wrote it.

Source: RFC 9669 (BPF Instruction Set Architecture).
"""

from __future__ import annotations

import linecache
import re
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fourseven.l4.bpf.layout import Kind, Struct

ALU64, ALU32, JMP, LDX, ST, STX, LDDW = 0x07, 0x04, 0x05, 0x61, 0x62, 0x63, 0x18
MOV, CALL, EXIT, JA, TO_BIG = 0xB0, 0x85, 0x95, 0x05, 0xDC
ATOMIC32, ATOMIC64 = 0xC3, 0xDB
ADD, FETCH = 0x00, 1  # with FETCH the register gets what was there before
FETCH_OR, FETCH_AND, XOR, SWAP_IF = 0x41, 0x51, 0xA0, 0xF1  # of either width
OURS = 1  # source register of a call: the immediate is the distance to a function of the program
REGISTER = 0x08  # the second operand is a register, not the immediate
ARITHMETIC = {
    "+": 0x00,
    "-": 0x10,
    "*": 0x20,
    "/": 0x30,
    "|": 0x40,
    "&": 0x50,
    "<<": 0x60,
    ">>": 0x70,
    "%": 0x90,
    "^": 0xA0,
}
JUMPS = {"==": 0x10, ">": 0x20, ">=": 0x30, "!=": 0x50, "<": 0xA0, "<=": 0xB0}
WIDTHS = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}
# Source registers of a 64-bit constant: a map's descriptor; where the one row of an array stands.
MAP_DESCRIPTOR, MAP_ROW = 1, 2
FRAME = 10  # the register that points to the stack's end
JUMP_MAX = 32_767  # 16 bits, signed


class Line(NamedTuple):
    """The Python line that wrote an instruction."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.number}"

    @property
    def text(self) -> str:
        return linecache.getline(self.file, self.number).strip()


NOWHERE = Line("", 0)


@dataclass(slots=True)
class Instruction:
    """One step of the machine."""

    opcode: int
    to: int = 0
    source: int = 0
    offset: int = 0
    number: int = 0
    text: str = ""  # as it reads in a listing
    label: int | None = None  # a jump's target, until it is placed
    map: str = ""  # whose descriptor the immediate is
    line: Line = NOWHERE

    @property
    def slots(self) -> int:
        """How many places of eight bytes it takes."""
        return 2 if self.opcode == LDDW else 1

    def encode(self, maps: Mapping[str, int]) -> bytes:
        number = maps[self.map] if self.map else self.number
        source = (self.source or MAP_DESCRIPTOR) if self.map else self.source
        nibbles = source << 4 | self.to if sys.byteorder == "little" else self.to << 4 | source
        low = number & 0xFFFFFFFF
        first = struct.pack("=BBhI", self.opcode, nibbles, self.offset, low)
        if self.slots == 1:
            return first
        return first + struct.pack("=BBhI", 0, 0, 0, number >> 32 & 0xFFFFFFFF)


class Placed(NamedTuple):
    """A function of a program: where it begins, as the kernel counts, and what it is given."""

    name: str
    at: int
    forms: tuple[Struct | Kind, ...] = ()


@dataclass(frozen=True)
class Assembled:
    """A whole program, its jumps placed."""

    name: str
    instructions: tuple[Instruction, ...]
    functions: tuple[Placed, ...] = ()  # behind it

    def encode(self, maps: Mapping[str, int]) -> bytes:
        """The bytecode, with the descriptors of the maps that it names."""
        return b"".join(one.encode(maps) for one in self.instructions)

    def places(self) -> list[tuple[int, Instruction]]:
        """Each instruction with its number, as the kernel counts."""
        found, at = [], 0
        for one in self.instructions:
            found.append((at, one))
            at += one.slots
        return found

    def listing(self) -> str:
        """The program for people: each Python line, then what became of it."""
        lines, last = [], None
        for at, one in self.places():
            if one.line != last:
                lines.append(f"; {one.line}  {one.line.text}")
                last = one.line
            distance = one.number if one.opcode == CALL else one.offset
            target = f"  → {at + 1 + distance}" if one.label is not None else ""
            lines.append(f"{at:6}  {one.text}{target}")
        return "\n".join(lines) + "\n"

    def explain(self, log: str) -> str:
        """A refusal by the verifier, told by the line that wrote the instruction."""
        numbers = re.findall(r"^(\d+): \(", log, re.M)
        said = [line for line in log.splitlines() if line and not _chatter(line)]
        why = said[-1] if said else "it gives no reason"
        by_place = dict(self.places())
        one = by_place.get(int(numbers[-1])) if numbers else None
        if one is None:
            return f"the kernel refuses {self.name}: {why}"
        where = f"{one.line}: {one.line.text}"
        return f"the kernel refuses {self.name} at {where}\n  instruction {one.text}: {why}"


CHATTER = ("processed ", "verification time", "stack depth", "mark_precise", "max_states")


def _chatter(line: str) -> bool:
    """Lines of the log that trace or count, and give no reason."""
    return line.startswith(CHATTER) or bool(re.match(r"(\d+: |; |R\d+\S*=|from \d|func#)", line))


def place(
    name: str,
    code: Sequence[Instruction],
    labels: Mapping[int, int],
    functions: Sequence[tuple[str, int, tuple[Struct | Kind, ...]]] = (),
) -> Assembled:
    """Gives every jump its distance. `labels` counts instructions, the kernel counts slots."""
    starts = [0]
    for one in code:
        starts.append(starts[-1] + one.slots)
    for i, one in enumerate(code):
        if one.label is not None:
            distance = starts[labels[one.label]] - starts[i] - 1
            if one.opcode == CALL:
                one.number = distance
                continue
            one.offset = distance
            if distance > JUMP_MAX:
                raise OverflowError(f"{name}: a jump over {distance} instructions")
    placed = (Placed(name, starts[labels[label]], forms) for name, label, forms in functions)
    return Assembled(name, tuple(code), tuple(placed))
