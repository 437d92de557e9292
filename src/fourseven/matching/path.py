"""The path of a request, in its canonical form."""

from __future__ import annotations

import itertools
import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fourseven.features import Match, Need
from fourseven.matching.glob import glob_pieces
from fourseven.matching.records import Field as Looks
from fourseven.matching.records import Test
from fourseven.matching.rows import pack_list
from fourseven.matching.text import Plain, Regex, listed
from fourseven.plan import All, Any_, Condition, Expression
from fourseven.protocols.probe import path as canonical
from fourseven.snapshot.layout import Relax

EXPANSIONS_MAX = 64  # globs out of one with {a,b}: more is a list that somebody should see
_ENCODED = re.compile(rb'[^!-~]|["<>`^|\\]')  # what never stands bare in a canonical path
_BRACES = re.compile(r"\{([^{}]*)\}")


def _rooted(text: str, example: str) -> str:
    if not text.startswith("/"):
        raise ValueError(
            f"{text!r} does not begin with a slash; write {example.format('/' + text)}"
        )
    for mark, means in (("?", "a query; use the match query"), ("#", "a fragment")):
        if mark in text:
            raise ValueError(f"{text!r} has {means}; write {text.partition(mark)[0]}")
    return text


def canonical_path(text: str) -> str:
    """As the reader of requests makes it: /a/../b is /b, %7e is ~. ValueError with the mend."""
    _rooted(text, "{0}")
    found = canonical(text.encode(), relax=int(Relax.RELAX_ENCODED_SLASH))
    if isinstance(found, int):
        raise ValueError(f"{text!r} is no path that a request can have; write e.g. /videos/")
    return found.decode()


def prefix_path(text: str) -> str:
    """A canonical path that means itself and what is below it."""
    if "*" in text:
        glob = text if text.endswith("*") else text + "**"
        raise ValueError(f"a prefix has no *; write {{glob: {glob}}}")
    return canonical_path(text)


def glob_path(text: str) -> str:
    """A glob that can be compiled."""
    if not text.startswith("/"):
        raise ValueError(f"{text!r} does not begin with a slash; write {{glob: /{text}}}")
    for one in expand(text):
        glob_pieces(one)
    return text


def expand(glob: str) -> list[bytes]:
    """The globs without {a,b}, as bytes of a canonical path."""
    parts = _BRACES.split(glob)
    if any(brace in part for part in parts[::2] for brace in "{}"):
        raise ValueError(f"{glob!r} has a brace without its other half; write e.g. *.{{mp4,webm}}")
    choices = [part.split(",") if at % 2 else [part] for at, part in enumerate(parts)]
    globs = ["".join(chosen) for chosen in itertools.islice(itertools.product(*choices), 65)]
    if len(globs) > EXPANSIONS_MAX:
        raise ValueError(f"{glob!r} stands for more than {EXPANSIONS_MAX} globs; use a regex")
    return [_ENCODED.sub(lambda m: b"%%%02X" % m[0][0], one.encode()) for one in globs]


Prefix = Annotated[Plain, AfterValidator(prefix_path)]
Exact = Annotated[Plain, AfterValidator(canonical_path)]
Glob = Annotated[Plain, AfterValidator(glob_path)]


class Path(Match):
    """The path, without the query; tests that are named together must all hold.

    A plain value is a prefix by whole segments: /videos/ takes /videos, /videos/ and /videos/x,
    but not /videosX. `exact` is the whole path. In a `glob`, * stands for any bytes within a
    segment, ** for any bytes, ? for one, [a-z] for one of these, {a,b} for a or b; the whole path
    must match. A `regex` is found anywhere in the path unless ^ and $ pin it.

    A segment's parameters do not hide it: /videos/ also takes /videos;v=2 (RFC 3986 3.3).
    Those of an inner segment are part of its name: /a;v/admin is not below /a/admin/. Where servers
    cut them off (Java's do), refuse them by a route before: {regex: ';.*/'} with respond: 400.
    Rules see one canonical path: dot segments removed, // merged, needless %XX decoded; so //admin
    and /%61dmin are /admin. What must be encoded (a space) stays encoded, and letters' case counts.

        match: {path: /videos/}
        match: {path: {exact: /healthz}}
        match: {path: {glob: "/videos/**.{mp4,webm}"}}
        match: {path: {regex: '^/v[0-9]+/'}}
    """

    key: ClassVar[str] = "path"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "prefix"

    prefix: Annotated[tuple[Prefix, ...], BeforeValidator(listed), Field(min_length=1)] | None = (
        Field(None, description="It is this or below it, by whole segments; one of them.")
    )
    exact: Annotated[tuple[Exact, ...], BeforeValidator(listed), Field(min_length=1)] | None = (
        Field(None, description="It is this; one of them.")
    )
    glob: Glob | None = Field(None, description="* within a segment, ** over segments, ?, [a-z].")
    regex: Regex | None = Field(None, description="An expression that is found in the path.")

    @classmethod
    def from_file(cls, value: object) -> object:
        return {"prefix": value} if not isinstance(value, dict) else value

    @model_validator(mode="after")
    def at_least_one(self) -> Path:
        if not self.model_fields_set:
            raise ValueError("no test is named; write e.g. path: /videos/ or {exact: /healthz}")
        return self

    def lower(self) -> Expression:
        parts: list[Expression] = []
        if self.exact is not None:
            parts.append(_exact(self.exact))
        if self.prefix is not None:
            rooted = [text.rstrip("/").encode() for text in self.prefix]
            parts.append(_one_of([_row(Test.TEST_SEGMENTS, text) for text in rooted]))
        if self.glob is not None:
            parts.append(_one_of([_row(Test.TEST_GLOB, text) for text in expand(self.glob)]))
        if self.regex is not None:
            parts.append(_row(Test.TEST_REGEX, self.regex.encode()))
        return parts[0] if len(parts) == 1 else All(tuple(parts))


def _row(test: int, operand: bytes) -> Expression:
    return Condition(Looks.FIELD_PATH, test, operand=operand)


def _one_of(parts: list[Expression]) -> Expression:
    return parts[0] if len(parts) == 1 else Any_(tuple(parts))


def _exact(paths: tuple[str, ...]) -> Expression:
    if len(paths) == 1:
        return _row(Test.TEST_EXACT, paths[0].encode())
    return _row(Test.TEST_ANY_OF, pack_list(path.encode() for path in paths))
