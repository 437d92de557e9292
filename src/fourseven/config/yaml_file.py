"""YAML, the safe and unsurprising part of it, with a place for every value.

libyaml gives events; this file makes values of them. PyYAML's own loaders are not used: they
resolve YAML 1.1 (`no` is False, `1:30` is 90), recurse in C as deep as the file says (a long line
of `[` ends the process), and keep no place of a key that occurs twice.

Laws: plain scalars are read as YAML 1.2's core schema does (true, false, null, numbers; all
else is text). No tags. No duplicate keys. Keys are text, as written. Anchors, aliases and the
merge key `<<` work; an alias counts as often as it is used, so nested aliases cannot grow without
bound. Depth is bounded by a counter, not by the stack.

A null is an error, since `backend:` with nothing behind it is a value somebody forgot.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from fourseven.config.tree import DEPTH_MAX, NODES_MAX, KeyPlace, Place
from fourseven.errors import ConfigErrors, Problem

try:
    from yaml.cyaml import CParser as Parser  # type: ignore[attr-defined]
except ImportError:  # PyYAML without libyaml: slower by ten times, the same events
    from yaml import Loader as Parser  # type: ignore[assignment]

_INTEGER = re.compile(r"[-+]?[0-9]{1,30}", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]{1,16}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?", re.ASCII)
_WORDS = {
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "null": None,
    "Null": None,
    "NULL": None,
    "~": None,
    "": None,
}
_NUMERIC_START = frozenset("0123456789+-.")
_MERGE = "<<"
_NOTHING = "there is no value here; give one, or leave the key out"
_NO_VALUE = "null is no value here; leave the key out, or put the word in quotes"


def read(text: str, file: str) -> tuple[Any, Place, list[Problem]]:
    """The value, its places, and what is wrong with the form. Raises ConfigErrors on bad syntax."""
    reader = _Reader(file)
    try:
        reader.read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        what = error.problem or "the file is not YAML"
        raise ConfigErrors(
            [Problem(file, line, column, "", f"{what}; {_mend(text, line)}")]
        ) from None
    except yaml.reader.ReaderError as error:
        before = text[: max(0, text.find(chr(error.character)))]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        what = f"the character U+{error.character:04X} cannot stand here; remove it"
        raise ConfigErrors([Problem(file, line, column, "", what)]) from None
    return reader.value, reader.place, reader.problems


def _mend(text: str, line: int) -> str:
    """What is most likely wrong in the line at which the parser stopped, or the one before."""
    lines = text.split("\n")
    near = "\n".join(lines[max(0, line - 2) : line])
    if "\t" in near:
        return "indent with spaces; YAML allows no tab"
    if re.search(r"(^|[\s:\[{,-])[*@`%]", near):
        return "put text that begins with * @ ` or % in quotes"
    if near.count("{") != near.count("}") or near.count("[") != near.count("]"):
        return "close every { and [ that is opened"
    return "look at the indentation, the colons and the quotes in and before this line"


class _Open:
    """A mapping or a sequence whose end has not been seen."""

    __slots__ = ("anchor", "column", "items", "key", "key_at", "line", "merges", "nodes", "value")

    def __init__(self, mapping: bool, line: int, column: int, anchor: str | None) -> None:
        self.value: Any = {} if mapping else []
        self.items: Any = {} if mapping else []
        self.line, self.column, self.anchor = line, column, anchor
        self.key: str | None = None  # seen, its value not yet
        self.key_at = (0, 0)
        self.merges: list[tuple[Any, Place]] = []
        self.nodes = 1


class _Reader:
    """Events in, one value out."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.value: Any = {}
        self.place = Place(1, 1, {})
        self.problems: list[Problem] = []
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Any, Place, int]] = {}
        self.documents = 0

    def read(self, text: str) -> None:
        parser = Parser(text)
        get_event = parser.get_event
        steps = _STEPS
        while (event := get_event()) is not None:
            step = steps.get(type(event))
            if step is not None:
                step(self, event)
            if type(event) is yaml.StreamEndEvent:
                return

    def document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            self.stop(event, "a second document begins here; keep one document in a file")

    def scalar(self, event: Any) -> None:
        mark = event.start_mark
        place = Place(mark.line + 1, mark.column + 1)
        if event.tag is not None:
            self.tagged(event)
        text = event.value
        value = text if event.style else _plain(text)
        if self.wants_key():
            self.key(self.open[-1], text, place, plain=not event.style)
            return
        if value is None:
            self.fault(place, _NO_VALUE if text else _NOTHING)
        self.add(value, place, event.anchor, 1)

    def key(self, top: _Open, text: str, place: Place, plain: bool) -> None:
        top.key_at = (place.line, place.column)
        if text in top.value and not (text == _MERGE and plain):
            first = top.items[text]
            what = f"{text!r} stands here twice, first in line {first.line}; keep one of them"
            self.fault(place, what)
        top.key = text

    def alias(self, event: Any) -> None:
        name = event.anchor
        if name not in self.anchors:
            self.stop(event, f"*{name} names no anchor; write &{name} before it, at what it means")
        if self.wants_key():
            self.stop(event, "an alias cannot be a key; write the key out")
        value, place, nodes = self.anchors[name]
        self.add(value, place, None, nodes)
        if self.open and self.open[-1].nodes > NODES_MAX:
            self.stop(event, f"the file grows beyond {NODES_MAX} values here; use fewer aliases")

    def wants_key(self) -> bool:
        """Whether what comes next is the key of an open mapping."""
        return bool(self.open) and self.open[-1].key is None and type(self.open[-1].value) is dict

    def begin(self, event: Any) -> None:
        mapping = type(event) is yaml.MappingStartEvent
        if self.wants_key():
            self.stop(event, "a key must be text; put it in quotes if it begins with [ or {")
        if len(self.open) >= DEPTH_MAX:
            self.stop(event, f"this is nested deeper than {DEPTH_MAX} levels; flatten it")
        if event.tag is not None:
            self.tagged(event)
        mark = event.start_mark
        self.open.append(_Open(mapping, mark.line + 1, mark.column + 1, event.anchor))

    def end(self, _: Any) -> None:
        done = self.open.pop()
        for value, place in done.merges:
            for key, item in value.items():
                if key not in done.value:
                    done.value[key] = item
                    done.items[key] = place.items[key]  # type: ignore[index]
        self.add(done.value, Place(done.line, done.column, done.items), done.anchor, done.nodes)

    def add(self, value: Any, place: Place, anchor: str | None, nodes: int) -> None:
        """A finished value goes to what is open around it."""
        if anchor is not None:
            self.anchors[anchor] = (value, place, nodes)
        if not self.open:
            self.value, self.place = value, place
            return
        top = self.open[-1]
        top.nodes += nodes
        if type(top.value) is list:
            top.value.append(value)
            top.items.append(place)
        elif top.key == _MERGE:
            self.merge(top, value, place)
            top.key = None
        else:
            key = top.key
            assert key is not None
            if key not in top.value:
                top.value[key] = value
                top.items[key] = KeyPlace(*top.key_at, place)
            top.key = None

    def merge(self, top: _Open, value: Any, place: Place) -> None:
        several = value if isinstance(value, list) else [value]
        places = place.items if isinstance(value, list) else [place]
        for one, at in zip(several, places, strict=True):  # type: ignore[arg-type]
            if isinstance(one, dict):
                top.merges.append((one, at))  # type: ignore[arg-type]
            else:
                self.fault(
                    place, "<< takes a mapping or a list of mappings; write e.g. <<: *defaults"
                )

    def tagged(self, event: Any) -> None:
        mark = event.start_mark
        tag = event.tag.removeprefix("tag:yaml.org,2002:")
        what = f"the tag {tag!r} is not read; write the plain value, in quotes for text"
        self.fault(Place(mark.line + 1, mark.column + 1), what)

    def fault(self, place: Place, what: str) -> None:
        keys = (str(o.key) if o.key is not None else "" for o in self.open if type(o.value) is dict)
        path = ".".join(key for key in keys if key)
        self.problems.append(Problem(self.file, place.line, place.column, path, what))

    def stop(self, event: Any, what: str) -> NoReturn:
        mark = event.start_mark
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, "", what))
        raise ConfigErrors(self.problems)


def _plain(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2."""
    if text[:1] in _NUMERIC_START and text:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _HEX.fullmatch(text):
            return int(text, 16)
        return float(text) if _FLOAT.fullmatch(text) else text
    return _WORDS.get(text, text)


_STEPS: dict[type, Any] = {
    yaml.DocumentStartEvent: _Reader.document,
    yaml.ScalarEvent: _Reader.scalar,
    yaml.AliasEvent: _Reader.alias,
    yaml.SequenceStartEvent: _Reader.begin,
    yaml.MappingStartEvent: _Reader.begin,
    yaml.SequenceEndEvent: _Reader.end,
    yaml.MappingEndEvent: _Reader.end,
}
