"""What a statement has just put away, the next one need not fetch again.

Statements are emitted one by one, each from its variables and back into them, so most begin with a
load of what the one before has stored, and wait for it. This pass goes over the finished program
once and remembers, between one label and the next, which register still holds what a place on the
stack holds; such a load becomes a move between registers, or nothing.

Laws: nothing is known past a label (others come there), past a call (which may write where it was
pointed to, and loses registers 0 to 5), and of a register that was written. A store through another
register than the frame's never meets a variable: only calls are given addresses of the stack.
"""

from __future__ import annotations

from collections.abc import Sequence

from fourseven.l4.bpf import code
from fourseven.l4.bpf.code import Instruction

CLASS = 0x07
LOADS, WRITES = (0, 1, 4, 7), (2, 3)  # classes that write a register; those that write memory
JUMPS = (5, 6)
WHOLE_LOAD = code.LDX | code.WIDTHS[8]
WHOLE_STORE = code.STX | code.WIDTHS[8]
ATOMIC = 0xC0  # a mode of STX: it may give back what was there
SIZES = {bits: size for size, bits in code.WIDTHS.items()}


def polished(
    instructions: Sequence[Instruction], labels: dict[int, int]
) -> tuple[list[Instruction], dict[int, int]]:
    """The same program with fewer loads, and where its labels are now."""
    targets = set(labels.values())
    held: dict[int, int] = {}  # place on the stack → register with the same
    made: list[Instruction] = []
    moved = []
    for at, one in enumerate(instructions):
        moved.append(len(made))
        if at in targets:
            held.clear()
        known = held.get(one.offset) if is_load(one) else None
        if known is None:
            made.append(one)
        elif known != one.to:
            made.append(as_move(one, known))
        note(one, held)
    moved.append(len(made))
    return made, {label: moved[at] for label, at in labels.items()}


def is_load(one: Instruction) -> bool:
    """Of a whole variable?"""
    return one.opcode == WHOLE_LOAD and one.source == code.FRAME


def as_move(one: Instruction, register: int) -> Instruction:
    opcode = code.ALU64 | code.MOV | code.REGISTER
    return Instruction(opcode, to=one.to, source=register, text=one.text, line=one.line)


def note(one: Instruction, held: dict[int, int]) -> None:
    """What is known after an instruction."""
    kind = one.opcode & CLASS
    if kind in JUMPS:
        if one.opcode == code.CALL:
            held.clear()
        return
    if kind in WRITES:
        if one.opcode & 0xE0 == ATOMIC:
            forget(held, {0, one.source})
        elif one.to == code.FRAME:
            size = SIZES[one.opcode & 0x18]
            for place in [p for p in held if p < one.offset + size and one.offset < p + 8]:
                del held[place]
            if one.opcode == WHOLE_STORE:
                held[one.offset] = one.source
        return
    if is_load(one) and held.get(one.offset) == one.to:
        return  # it stays what it was
    forget(held, {one.to})
    if is_load(one):
        held.setdefault(one.offset, one.to)


def forget(held: dict[int, int], registers: set[int]) -> None:
    for place in [place for place, register in held.items() if register in registers]:
        del held[place]
