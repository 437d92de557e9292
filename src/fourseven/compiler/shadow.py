"""Routes that can never match, since an earlier one takes all that they would.

A route is read as a set of conditions that must all hold. Route A covers a later route B when
each condition of A follows from one of B: it is the same condition, or a wider one of the same
kind (the prefix /a of /a/b, *.example.com of www.example.com). So the question is whether A's set
lies within B's *closure*: B's conditions and all that follow from them.

Thousands of routes are compared through an index: each earlier route stands under its rarest
condition, and a later one only looks where its closure says.

Law: it answers only where it is certain. A part that is not understood (a regular expression,
any, not) follows from an equal part alone. The union of several routes is not considered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product

from fourseven.matching.records import Field, Test
from fourseven.matching.rows import unpack_list
from fourseven.plan import All, Any_, Condition, Expression, RoutePlan

Conditions = frozenset[Expression]
ALTERNATIVES = 64  # of one route that are looked at; one with more covers nothing, as far as we say
WITHIN = 256  # conditions that follow from one; a path of more segments is not looked at further


def shadowed(routes: Sequence[RoutePlan]) -> Iterator[tuple[int, int]]:
    """(later, earlier) by number: the later route never matches because of the earlier."""
    needed = [_alternatives(route.match) for route in routes]
    rarity = Counter(part for sets in needed for one in sets for part in one)
    everything: int | None = None  # the first route that takes all
    index: dict[Expression, list[tuple[Conditions, int]]] = {}
    for number, route in enumerate(routes):
        earlier = everything if everything is not None else _cover(route.match, index)
        if earlier is not None:
            yield number, earlier
            continue
        for conditions in needed[number]:
            if not conditions:
                everything = number
            else:
                index.setdefault(min(conditions, key=rarity.__getitem__), []).append(
                    (conditions, number)
                )


def _cover(match: Expression, index: dict[Expression, list[tuple[Conditions, int]]]) -> int | None:
    """The first route in the index whose conditions all follow from this match."""
    closure: set[Expression] = set()
    for part in _parts(match):
        closure |= _follow(part)
    found = [
        number
        for part in closure
        for conditions, number in index.get(part, ())
        if conditions <= closure
    ]
    return min(found, default=None)


def _parts(match: Expression) -> list[Expression]:
    """What must all hold."""
    if isinstance(match, All):
        return [inner for part in match.parts for inner in _parts(part)]
    return [match]


def _alternatives(match: Expression) -> list[Conditions]:
    """Sets of conditions; any one of the sets is enough. None when there are too many."""
    sets: list[list[Expression]] = []
    total = 1
    for part in _parts(match):
        choices = _choices(part)
        total *= len(choices)
        if total > ALTERNATIVES:
            return []
        sets.append(choices)
    return [frozenset(one) for one in product(*sets)]


def _choices(part: Expression) -> list[Expression]:
    """One of these is enough for the part to hold; the part itself is one of them."""
    if isinstance(part, Any_):
        return [part, *(one for one in part.parts if isinstance(one, Condition))]
    if isinstance(part, Condition) and part.test == Test.TEST_ANY_OF:
        values = unpack_list(part.operand)
        return [
            part,
            *(Condition(part.field, Test.TEST_EXACT, part.name, value) for value in values),
        ]
    return [part]


def _follow(part: Expression) -> set[Expression]:
    """The part and what follows from it."""
    found: set[Expression] = {part}
    if not isinstance(part, Condition):
        return found
    if part.test in (Test.TEST_EXACT, Test.TEST_SEGMENTS) and part.field == Field.FIELD_PATH:
        found |= {_other(part, Test.TEST_SEGMENTS, one) for one in _path_prefixes(part)}
    if part.test in (Test.TEST_EXACT, Test.TEST_WILDCARD) and part.field == Field.FIELD_HOST:
        found |= {_other(part, Test.TEST_WILDCARD, one) for one in _host_suffixes(part)}
    if part.test != Test.TEST_PRESENT and part.field in _NAMED and part.test in _NEEDS_A_VALUE:
        found.add(Condition(part.field, Test.TEST_PRESENT, part.name))
    return found


_NAMED = {Field.FIELD_HEADER, Field.FIELD_COOKIE, Field.FIELD_QUERY}
_NEEDS_A_VALUE = {Test.TEST_EXACT, Test.TEST_PREFIX, Test.TEST_SUFFIX, Test.TEST_ANY_OF}


def _path_prefixes(part: Condition) -> Iterator[bytes]:
    """`/a/b`, `/a` and the empty one of a path; operands of a prefix have no final slash."""
    segments = part.operand.rstrip(b"/").split(b"/")[:WITHIN]
    return (b"/".join(segments[:size]) for size in range(1, len(segments) + 1))


def _host_suffixes(part: Condition) -> Iterator[bytes]:
    """`.example.com` and `.com` of www.example.com, and of *.example.com."""
    labels = part.operand.split(b".")[:WITHIN]
    return (b"." + b".".join(labels[at:]) for at in range(1, len(labels)))


def _other(part: Condition, test: int, operand: bytes) -> Condition:
    return Condition(part.field, test, part.name, operand, part.number)
