"""TOML: the standard library reads it; this file adds where each value stands.

`tomllib` keeps no places. It has judged the text before this scanner sees it, so the scanner may
believe that every string, array and table ends, and only needs to know where keys and values
begin: it is a tenth of a TOML parser.

Laws: the places have the shape of tomllib's values (a test compares them on random files).
Depth is bounded by DEPTH_MAX in both.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import Any

from fourseven.config.tree import DEPTH_MAX, KeyPlace, Place
from fourseven.errors import ConfigErrors, Problem

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(
    r'[ \t]*((?P<bare>[A-Za-z0-9_-]+)|"(?P<basic>(?:[^"\\]|\\.)*)"|\'(?P<raw>[^\']*)\')[ \t]*'
)
_STRING = re.compile(
    r'"""(?:[^\\]|\\[\s\S])*?"{3,5}|\'\'\'[\s\S]*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\''
)  # fmt: skip
_BARE = re.compile(r"[^,\]}#\n]*")
_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def read(text: str, file: str) -> tuple[Any, Place, list[Problem]]:
    """The value and its places. Raises ConfigErrors on bad syntax, with the first fault alone."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigErrors([_syntax(str(error), text, file)]) from None
    except RecursionError:
        raise ConfigErrors([Problem(file, 0, 0, "", _TOO_DEEP)]) from None
    scanner = _Scanner(text.replace("\r\n", "\n"))
    try:
        scanner.document()
    except _TooDeep as deep:
        line, column = scanner.where(deep.at)
        raise ConfigErrors([Problem(file, line, column, "", _TOO_DEEP)]) from None
    return data, scanner.root, []


_TOO_DEEP = f"this is nested deeper than {DEPTH_MAX} levels; flatten it"


def _syntax(message: str, text: str, file: str) -> Problem:
    found = _WHERE.search(message)
    if found and found[1]:
        line, column = int(found[1]), int(found[2])
    else:
        last = text.rpartition("\n")[2]
        line, column = text.count("\n") + 1, len(last) + 1
    what = _WHERE.sub("", message)
    mend = "keep one of them" if "overwrite" in what or "twice" in what else "see https://toml.io"
    return Problem(file, line, column, "", f"{what[:1].lower()}{what[1:]}; {mend}")


class _TooDeep(Exception):
    def __init__(self, at: int) -> None:
        self.at = at


class _Scanner:
    """Reads valid TOML for its places alone."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self.root = Place(1, 1, {})
        self.table = self.root  # where the next keys belong

    def where(self, at: int) -> tuple[int, int]:
        line = bisect_right(self.lines, at)
        return line, at - self.lines[line - 1] + 1

    def skip(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        if found is None:  # the text is valid, so this is a fault of the scanner
            raise AssertionError(f"offset {self.at} of valid TOML is not understood")
        self.at = found.end()
        return found

    def document(self) -> None:
        self.skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                self.header()
            else:
                self.pair(self.table, 0)
            self.skip(_BLANK)

    def header(self) -> None:
        """`[a.b]` opens a table, `[[a.b]]` adds one to a list."""
        line, column = self.where(self.at)
        double = self.text.startswith("[[", self.at)
        self.at += 2 if double else 1
        keys = self.keys()
        self.at += 2 if double else 1
        table = self.walk(self.root, keys[:-1], line, column)
        name, at = keys[-1]
        items: Any = table.items
        if double:
            entry = items.setdefault(name, KeyPlace(*at, Place(line, column, [])))
            entry.value.items.append(Place(line, column, {}))
        elif name not in items:
            items[name] = KeyPlace(*at, Place(line, column, {}))
        self.table = _last(items[name].value)

    def walk(
        self, table: Place, keys: list[tuple[str, tuple[int, int]]], line: int, column: int
    ) -> Place:
        """The table under these keys, made where it is not there yet."""
        for name, at in keys:
            items: Any = table.items
            if name not in items:
                items[name] = KeyPlace(*at, Place(line, column, {}))
            table = _last(items[name].value)
        return table

    def keys(self) -> list[tuple[str, tuple[int, int]]]:
        """A dotted key, each part with its place."""
        found = []
        while True:
            match = self.skip(_KEY)
            start = match.start(1)
            found.append((_name(match), self.where(start)))
            if len(found) > DEPTH_MAX:
                raise _TooDeep(start)
            if not self.text.startswith(".", self.at):
                return found
            self.at += 1

    def pair(self, table: Place, depth: int) -> None:
        keys = self.keys()
        self.at += 1  # =
        table = self.walk(table, keys[:-1], *keys[0][1])
        name, at = keys[-1]
        items: Any = table.items
        items[name] = KeyPlace(*at, self.value(depth + len(keys)))

    def value(self, depth: int) -> Place:
        if depth > DEPTH_MAX:
            raise _TooDeep(self.at)
        self.skip(_BLANK)
        line, column = self.where(self.at)
        first = self.text[self.at]
        if first == "[":
            return Place(line, column, self.array(depth))
        if first == "{":
            place = Place(line, column, {})
            self.inline(place, depth)
            return place
        self.skip(_STRING if first in "\"'" else _BARE)
        return Place(line, column)

    def array(self, depth: int) -> list[Place]:
        found: list[Place] = []
        while self.step("]"):
            found.append(self.value(depth + 1))
        return found

    def inline(self, table: Place, depth: int) -> None:
        while self.step("}"):
            self.pair(table, depth)

    def step(self, end: str) -> bool:
        """Past the opening sign or a comma; False behind the end."""
        self.skip(_BLANK)
        if self.text[self.at] != end:
            self.at += 1
            self.skip(_BLANK)
        if self.text[self.at] == end:
            self.at += 1
            return False
        return True


def _last(place: Place) -> Place:
    return place.items[-1] if isinstance(place.items, list) else place


def _name(match: re.Match[str]) -> str:
    if match["basic"] is None:
        return match["bare"] if match["bare"] is not None else match["raw"]
    name: str = next(iter(tomllib.loads(f'"{match["basic"]}" = 0')))
    return name
