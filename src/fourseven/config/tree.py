"""A file as plain values, and beside them where each one stands.

Every reader (YAML, TOML) gives a Document: `data` of dict, list, str, int, float and bool, and a
tree of Places of the same shape. Errors come as a path into `data`; `Document.find` walks the
Places along it.

Law: a path may be longer than the file is deep, since short forms are spelt out before they are
checked (`path: /x/` is checked as `path.prefix`). The walk then skips the step, and both the place
and the path that is shown are those that the user wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from fourseven.errors import Problem, Severity

DEPTH_MAX = 64  # the deepest sensible file (a match inside any, all, not) has 20
NODES_MAX = 4_000_000  # 100,000 routes are about 1,500,000; aliases count as often as they are used
FILE_MAX = 256 * 1024 * 1024  # bytes; NODES_MAX is the real bound, this one spares reading a device

Step = str | int


class Place(NamedTuple):
    """Where a value begins, from 1, and the same for what it holds."""

    line: int
    column: int
    items: dict[str, KeyPlace] | list[Place] | None = None


class KeyPlace(NamedTuple):
    """Where a key begins, and its value."""

    line: int
    column: int
    value: Place


@dataclass(frozen=True, slots=True)
class Document:
    """One file, read and not yet judged."""

    file: str
    data: dict[str, Any]
    place: Place

    def find(self, path: Iterable[Step], at_key: bool = False) -> tuple[int, int, str]:
        """(line, column, path as shown) of a value; with at_key that of its key."""
        place, line, column, shown = self.place, self.place.line, self.place.column, ""
        steps = tuple(path)
        for i, step in enumerate(steps, 1):
            below, key_at = _descend(place, step)
            if below is None:
                continue
            place = below
            wants_key = at_key and key_at is not None and i == len(steps)
            line, column = key_at if wants_key and key_at else (place.line, place.column)
            shown += f"[{step}]" if isinstance(step, int) else f".{step}" if shown else step
        return line, column, shown

    def problem(
        self, path: Iterable[Step], text: str, severity: Severity = "error", at_key: bool = False
    ) -> Problem:
        """What is wrong at a value, or at its key."""
        line, column, shown = self.find(path, at_key)
        return Problem(self.file, line, column, shown, text, severity)

    def at(self, path: Iterable[Step]) -> str:
        """file:line:column of a value."""
        line, column, _ = self.find(path)
        return f"{self.file}:{line}:{column}"


def _descend(place: Place, step: Step) -> tuple[Place | None, tuple[int, int] | None]:
    """The place one step below, with that of its key; (None, None) where there is no such step."""
    items = place.items
    if isinstance(items, dict) and step in items:
        key = items[str(step)]
        return key.value, (key.line, key.column)
    if isinstance(items, list) and isinstance(step, int) and 0 <= step < len(items):
        return items[step], None
    return None, None
