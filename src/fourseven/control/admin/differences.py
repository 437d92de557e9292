"""What differs: the file as it is now against the file in force, and that against what runs.

The two files are compared as what they say, not as text: a comment or another order of keys is no
difference. A server is known by its address and a route by its name, so that one that was put in
front of others is one difference and not many.

Law: pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from typing_extensions import TypedDict

from fourseven.control.admin.view import Change
from fourseven.control.health import Key
from fourseven.control.servers import Seen

ABSENT = object()


class Difference(TypedDict):
    """One value that the two do not say alike; null where one says nothing."""

    path: str
    in_force: Any
    on_disk: Any


class Running(TypedDict):
    """A server that is not as the file in force says."""

    backend: str
    server: str
    what: Literal["state", "weight"]
    in_file: str
    running: str
    keep: bool


class Diff(TypedDict):
    """File against file against what runs."""

    file: str
    loaded_at: float
    on_disk: Literal["same", "changed", "wrong", "unreadable"]
    problems: list[str]
    differences: list[Difference]
    running: list[Running]


def differences(in_force: Any, on_disk: Any) -> list[Difference]:
    """Between what two files say."""
    return list(_between((), in_force, on_disk))


def _between(path: tuple[str, ...], one: Any, other: Any) -> Iterator[Difference]:
    one, other = _by_name(one), _by_name(other)
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from _between((*path, str(key)), one.get(key, ABSENT), other.get(key, ABSENT))
    elif one is ABSENT or other is ABSENT or one != other:
        yield {
            "path": ".".join(path),
            "in_force": None if one is ABSENT else one,
            "on_disk": None if other is ABSENT else other,
        }


def _by_name(value: Any) -> Any:
    """A list of things that have names as a mapping; other values as they are."""
    if not isinstance(value, list) or not value:
        return value
    names = [_name(item) for item in value]
    known = [name for name in names if name is not None]
    if len(known) == len(value) == len(set(known)):
        return dict(zip(known, value, strict=True))
    return {f"[{at}]": item for at, item in enumerate(value)}


def _name(item: Any) -> str | None:
    if isinstance(item, str):
        return item
    found = item.get("address", item.get("name")) if isinstance(item, Mapping) else None
    return found if isinstance(found, str) else None


def running(changes: Iterable[Change], seen: Mapping[Key, Seen]) -> list[Running]:
    """What an operator has changed, against the file in force."""
    found: list[Running] = []
    for one in changes:
        said = seen.get((one["backend"], one["server"]))
        if said is None:  # its server is gone from the file; the word waits for it to come back
            continue
        if one["word"] is not None and one["word"] != said.file_word:
            found.append(_running(one, "state", said.file_word, one["word"]))
        if one["weight"] is not None and one["weight"] != said.file_weight:
            found.append(_running(one, "weight", str(said.file_weight), str(one["weight"])))
    return found


def _running(one: Change, what: Literal["state", "weight"], in_file: str, running: str) -> Running:
    return {
        "backend": one["backend"],
        "server": one["server"],
        "what": what,
        "in_file": in_file,
        "running": running,
        "keep": one["keep"],
    }
