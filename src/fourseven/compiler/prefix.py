"""The path prefix below which a route lies: what `rewrite: /` takes off.

Read from the lowered match, so that no feature is known by name here. The answer is certain or it
is None: a filter that has to know it then asks the file to say it.
"""

from __future__ import annotations

from fourseven.matching.records import Field, Test
from fourseven.plan import All, Any_, Condition, Expression, Not


def prefix_of(match: Expression) -> bytes | None:
    """The one prefix (by segments) that all its paths have; b"" for any path, None if unclear."""
    match match:
        case Condition(field=Field.FIELD_PATH, test=Test.TEST_SEGMENTS, operand=prefix):
            return prefix
        case Condition(field=Field.FIELD_PATH):
            return None
        case All(parts):
            found = {prefix_of(part) for part in parts} - {b""}
            if len(found) > 1:  # a glob beside a prefix makes the prefix no less certain
                found.discard(None)
            return found.pop() if len(found) == 1 else None if found else b""
        case Any_(parts):
            found = {prefix_of(part) for part in parts}
            return found.pop() if len(found) == 1 else None
        case Condition() | Not():
            return b""
