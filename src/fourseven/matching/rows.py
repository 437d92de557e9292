"""Lowers a match to rows: one condition each, with an exit for yes and one for no.

`any`, `all` and `not` nest in the file, but the matcher must not recurse over what a user wrote.
So, as in the classic packet filter (McCanne and Jacobson 1993), the tree becomes a chain of
tests which jump forward only: the two exits of a part are handed down the tree, `not` swaps
them, and what is left are the conditions in the order of the file.

Laws: every condition gives exactly one row, in the order of the file, so that a row's number in
its route is the condition's number for `explain`. Exits point to later rows or to an end; hence
each run ends. Nothing here is native and nothing here knows an address in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from fourseven.matching.records import (
    DEPTH_MAX,
    FIELDS_USED,
    ROW_MATCH,
    ROW_MISS,
    ROWS_MAX,
    TESTS_USED,
)
from fourseven.plan import All, Any_, Condition, Expression, Not


@dataclass(frozen=True, slots=True)
class Row:
    """A condition, and where to go on; exits are numbers in the same route, or an end."""

    condition: Condition
    on_true: int
    on_false: int


def lower_rows(expression: Expression) -> tuple[int, list[Row]]:
    """Where to start (a row's number or an end), and the rows. ValueError beyond a limit."""
    backwards: list[tuple[Condition, int, int]] = []
    start = _emit(expression, ROW_MATCH, ROW_MISS, backwards, DEPTH_MAX)
    count = len(backwards)

    def turn(exit_: int) -> int:
        return exit_ if exit_ >= ROW_MISS else count - 1 - exit_

    rows = [Row(c, turn(yes), turn(no)) for c, yes, no in reversed(backwards)]
    return turn(start), rows


def _emit(
    expression: Expression,
    yes: int,
    no: int,
    rows: list[tuple[Condition, int, int]],
    depth: int,
) -> int:
    """Appends from the last row to the first, so that every exit is known; gives the entry."""
    if depth == 0:
        raise ValueError(f"any, all and not nest deeper than {DEPTH_MAX}; write it flatter")
    match expression:
        case Condition():
            if len(rows) == ROWS_MAX:
                raise ValueError(
                    f"a match has more than {ROWS_MAX} conditions; use any_of or several routes"
                )
            _check(expression)
            rows.append((expression, yes, no))
            return len(rows) - 1
        case Not(part):
            return _emit(part, no, yes, rows, depth - 1)
        case All(parts):
            for part in reversed(parts):
                yes = _emit(part, yes, no, rows, depth - 1)
            return yes
        case Any_(parts):
            for part in reversed(parts):
                no = _emit(part, yes, no, rows, depth - 1)
            return no


def _check(condition: Condition) -> None:
    if not 0 <= condition.field < FIELDS_USED:
        raise ValueError(f"field {condition.field} is not one that this engine can see")
    if not 0 <= condition.test < TESTS_USED:
        raise ValueError(f"test {condition.test} is unknown")
    if not 0 <= condition.number < 1 << 64:
        raise ValueError(f"the number {condition.number} does not fit 64 bits")


def pack_list(values: Iterable[bytes]) -> bytes:
    """The operand of TEST_ANY_OF: each value after its size (4 bytes, little endian)."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def unpack_list(operand: bytes) -> list[bytes]:
    """The values of `pack_list`; ValueError when the operand is not one."""
    values = []
    at = 0
    while at < len(operand):
        if at + 4 > len(operand):
            raise ValueError("a list's operand ends within a size")
        (size,) = struct.unpack_from("<I", operand, at)
        if at + 4 + size > len(operand):
            raise ValueError("a list's operand ends within a value")
        values.append(operand[at + 4 : at + 4 + size])
        at += 4 + size
    return values
