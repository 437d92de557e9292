"""What a request must have for a route to match: its keys in the index.

Thousands of routes must cost what ten cost. Nearly every route names a host or a path, so the
index keeps each route under what it *necessarily* asks for: a host (exact or wildcard) and a
path (whole, or a prefix by segments). A lookup visits only the routes kept under something that
the request has; each of those is then evaluated in full. So a key may be too wide, never too
narrow: a part which we cannot read (a regular expression, a `not`) asks for nothing.

A route with alternatives (`any`, a list) has several keys. Where they grow beyond ALTERNATIVES
the widest key is taken: slower, never wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fourseven.matching.records import Field, HostKind, Test
from fourseven.matching.rows import unpack_list
from fourseven.plan import All, Any_, Condition, Expression, Not

ALTERNATIVES = 256  # keys of one route: a list of hosts fits, a product of two lists may not


class Key(NamedTuple):
    """What must hold; None asks for nothing."""

    host: tuple[int, bytes] | None = None  # (HostKind, name)
    path: tuple[bool, bytes] | None = None  # (whole, path without a final slash unless whole)


WIDEST = frozenset({Key()})


def keys_of(expression: Expression) -> frozenset[Key]:
    """One of these must hold. Empty: the match can never hold."""
    match expression:
        case Condition():
            return _of_condition(expression)
        case Not():
            return WIDEST
        case All(parts):
            keys = WIDEST
            for part in parts:
                keys = _both(keys, keys_of(part))
            return keys
        case Any_(parts):
            keys = frozenset().union(*(keys_of(part) for part in parts))
            return keys if len(keys) <= ALTERNATIVES else WIDEST


def _both(left: frozenset[Key], right: frozenset[Key]) -> frozenset[Key]:
    if right == WIDEST or len(left) * len(right) > ALTERNATIVES:
        return left if left != WIDEST else right
    return frozenset(Key(a.host or b.host, a.path or b.path) for a in left for b in right)


def _of_condition(condition: Condition) -> frozenset[Key]:
    find = KEYS.get((condition.field, condition.test))
    if find is None:
        return WIDEST
    keys = frozenset(find(condition.operand))
    return keys if len(keys) <= ALTERNATIVES else WIDEST


def _segments(path: bytes) -> Key:
    path = path.rstrip(b"/")
    return Key(path=(False, path)) if path.startswith(b"/") else Key()


def _glob(pattern: bytes) -> list[Key]:
    wild = min((at for at in map(pattern.find, (b"*", b"?", b"[")) if at >= 0), default=-1)
    if wild < 0:
        return [Key(path=(True, pattern))]
    return [_segments(pattern[: pattern.rfind(b"/", 0, wild) + 1])]


KEYS: dict[tuple[int, int], Callable[[bytes], list[Key]]] = {
    (Field.FIELD_HOST, Test.TEST_EXACT): lambda text: [Key((HostKind.HOST_EXACT, text))],
    (Field.FIELD_HOST, Test.TEST_ANY_OF): lambda text: [
        Key((HostKind.HOST_EXACT, host)) for host in unpack_list(text)
    ],
    (Field.FIELD_HOST, Test.TEST_WILDCARD): lambda text: [Key((HostKind.HOST_WILDCARD, text))],
    (Field.FIELD_PATH, Test.TEST_EXACT): lambda text: [Key(path=(True, text))],
    (Field.FIELD_PATH, Test.TEST_ANY_OF): lambda text: [
        Key(path=(True, path)) for path in unpack_list(text)
    ],
    (Field.FIELD_PATH, Test.TEST_SEGMENTS): lambda text: [_segments(text)],
    (Field.FIELD_PATH, Test.TEST_PREFIX): lambda text: [_segments(text[: text.rfind(b"/") + 1])],
    (Field.FIELD_PATH, Test.TEST_GLOB): _glob,
}
