"""What `rewrite` and `redirect` share: which prefix of the path is taken off.

A route below `/videos/` that says `rewrite: /` means: take /videos off. So the prefix is the
route's own, unless the filter names one under `strip`. Where a route has several prefixes, or a
pattern in place of one, nobody can tell which is meant, and the file must say it.
"""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, PrivateAttr

from fourseven.features import Feature
from fourseven.filters.values import Place, parse
from fourseven.plan import Part
from fourseven.snapshot.layout import PartKind

_CLIMBS = re.compile(r"(^|/)\.{1,2}(;[^/]*)?(/|$)")


def _is_path(value: str) -> str:
    if not value.startswith(("/", "{path}")):
        raise ValueError(f"{value!r} does not begin with a slash; write /{value}")
    if "/{path}" in value:
        raise ValueError("{path} begins with a slash of its own; leave out the one before it")
    for part in parse(value, Place.PATH):
        if part.kind == PartKind.PART_QUERY:
            raise ValueError(
                "a path does not hold the query, which follows by itself; leave it out"
            )
    if "//" in value or _CLIMBS.search(value):
        raise ValueError(f"{value!r} has an empty, . or .. segment; write the path that it means")
    return value


def _is_plain(value: str) -> str:
    if any(part.kind != PartKind.PART_LITERAL for part in parse(_is_path(value), Place.PATH)):
        raise ValueError("the prefix to take off holds no variables; write e.g. /videos/")
    return value


PathValue = Annotated[str, AfterValidator(_is_path)]
PlainPath = Annotated[str, AfterValidator(_is_plain)]


class TakesPrefix(Feature):
    """The part of a filter that may take a prefix off."""

    prefix: PathValue | None = Field(None, description="What stands in place of the prefix.")
    strip: PlainPath | None = Field(
        None, description="The prefix that is taken off; left out: the route's own."
    )

    _below: bytes = PrivateAttr(b"")

    def under(self, prefix: bytes | None) -> Self:
        if self.prefix is None or self.strip is not None:
            return self
        if prefix is None:
            raise ValueError(
                f"{self.key} has to know which prefix it takes off, and the route has no single "
                "one; add e.g. strip: /videos/"
            )
        step = self.model_copy()
        step._below = prefix
        return step

    def stripped(self) -> bytes:
        """The prefix in the form of a plan; empty: of every path."""
        return self.strip.encode() if self.strip is not None else self._below


def path_parts(value: str) -> tuple[Part, ...]:
    return parse(value, Place.PATH)
