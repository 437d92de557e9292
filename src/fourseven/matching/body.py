"""The payload of a request: its JSON, its text, its size, its type."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from fourseven.features import Match, Need
from fourseven.matching.records import Field as Looks
from fourseven.matching.records import Test
from fourseven.matching.text import Plain, Regex, Sought, TextTest, listed, lower_named
from fourseven.plan import All, Any_, Condition, Expression, Not
from fourseven.scalars import TOKEN
from fourseven.units import format_size, size_bytes

WITHIN = 16 * 1024  # bytes: what decides (a plan, a kind, a tenant) stands early
WITHIN_MAX = 48 * 1024  # a worker's buffer has 68 KiB, and the head may take the rest
POINTER_STEPS_MAX = 16  # each step reads the rest of its container: this bounds the work

_SIZE = re.compile(r"(<=|>=|<|>|=)\s*(.+)")
_STEP = re.compile(r"(?:[^~/]|~0|~1)*")


def size_test(value: Any) -> str:
    """`> 1048576` of `> 1MiB`; ValueError with the mend."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no test of a size; write e.g. '> 1MiB' or '<= 512'")
    return f"{match[1]} {size_bytes(match[2])}"


def within_size(value: Any) -> int:
    size = size_bytes(value)
    if not 1 <= size <= WITHIN_MAX:
        raise ValueError(
            f"{value} is out of bounds; write at most {format_size(WITHIN_MAX)}, since that much"
            " is held back before a server is chosen"
        )
    return size


def media_type(text: str) -> str:
    """`application/json` or `image/*` in lower case; ValueError with the mend."""
    kind, slash, name = text.partition("/")
    if not slash or not TOKEN.fullmatch(kind) or not TOKEN.fullmatch(name) or "*" in kind:
        bare = text.partition(";")[0].strip()
        right = bare if "/" in bare and bare != text else "application/json or image/*"
        raise ValueError(f"{text!r} is not a media type; write e.g. {right}")
    if "*" in name and name != "*":
        raise ValueError(f"{text!r} has a * within a name; write {kind}/*")
    return text.lower()


def pointer(text: str) -> str:
    """A JSON pointer; ValueError with the mend."""
    if text and not text.startswith("/"):
        path = text.removeprefix("$").strip(".").replace(".", "/")
        raise ValueError(f"{text!r} is not a JSON pointer; write /{path}")
    steps = text.split("/")[1:]
    if len(steps) > POINTER_STEPS_MAX:
        raise ValueError(f"{text!r} has more than {POINTER_STEPS_MAX} steps; look higher up")
    if not all(_STEP.fullmatch(step) for step in steps):
        raise ValueError(f"{text!r} has a ~ that is neither ~0 (a ~) nor ~1 (a /)")
    return text


SizeTest = Annotated[str, BeforeValidator(size_test), WithJsonSchema({"type": "string"})]
Within = Annotated[
    int, BeforeValidator(within_size), WithJsonSchema({"type": ["string", "integer"]})
]
MediaType = Annotated[Plain, AfterValidator(media_type)]


def pointers(value: Any) -> Any:
    """The mapping as it is, when its keys are JSON pointers."""
    for key in value if isinstance(value, dict) else ():
        pointer(str(key))
    return value


class Body(Match):
    """The payload; tests that are named together must all hold.

    `json` gives values at JSON pointers (RFC 6901): a string is compared decoded, a number without
    needless zeros, true, false and null as these words. `contains` and `regex` search in the body's
    bytes. These look at the first 16 KiB (`within`, at most 48KiB), which are held back until the
    route is chosen; JSON that goes on behind that counts as far as it is complete. Of a name that
    occurs twice the last value counts, as servers read it.

    `type` is the Content-Type without parameters (`image/*` takes all images). `size` is the
    Content-Length; a body in chunks that does not end within the prefix counts as larger than any
    size. A body that is compressed is not decompressed.

        match: {body: {json: {/user/plan: gold}}}
        match: {body: {type: [image/*, video/*], size: "> 1MiB"}}
        match: {body: {contains: "<soap:Envelope", within: 4KiB}}
    """

    key: ClassVar[str] = "body"
    need: ClassVar[Need] = Need.REQUEST

    type: Annotated[tuple[MediaType, ...], BeforeValidator(listed), Field(min_length=1)] | None = (
        Field(None, description="Media types; one of them.")
    )
    size: Annotated[tuple[SizeTest, ...], BeforeValidator(listed), Field(min_length=1)] | None = (
        Field(None, description="'> 1MiB', '<= 512'; a list: all of them.")
    )
    json_: Annotated[dict[str, TextTest], BeforeValidator(pointers), Field(min_length=1)] | None = (
        Field(None, alias="json", description="Values at JSON pointers; all of them.")
    )
    contains: Sought | None = Field(None, description="This is somewhere in the first bytes.")
    regex: Regex | None = Field(None, description="This expression is found in the first bytes.")
    within: Within = Field(WITHIN, description="How many of the first bytes count.")

    @model_validator(mode="after")
    def at_least_one(self) -> Body:
        if not self.model_fields_set - {"within"}:
            raise ValueError("no test is named; write e.g. {json: {/user/plan: gold}}")
        return self

    def body_prefix(self) -> int:
        looks_inside = (self.json_, self.contains, self.regex, self.size)
        return self.within if any(test is not None for test in looks_inside) else 0

    def lower(self) -> Expression:
        """What the head decides comes first: it costs no waiting."""
        parts: list[Expression] = []
        if self.type is not None:
            kinds = [_type(kind) for kind in self.type]
            parts.append(kinds[0] if len(kinds) == 1 else Any_(tuple(kinds)))
        parts += [_size(test) for test in self.size or ()]
        for test, text in ((Test.TEST_CONTAINS, self.contains), (Test.TEST_REGEX, self.regex)):
            if text is not None:
                operand = text.encode()
                parts.append(Condition(Looks.FIELD_BODY, test, b"", operand, self.within))
        if self.json_ is not None:
            parts.append(lower_named(Looks.FIELD_BODY_JSON, self.json_, self.within))
        return parts[0] if len(parts) == 1 else All(tuple(parts))


def _type(kind: str) -> Expression:
    if kind.endswith("/*"):
        return Condition(Looks.FIELD_BODY_TYPE, Test.TEST_PREFIX, operand=kind[:-1].encode())
    return Condition(Looks.FIELD_BODY_TYPE, Test.TEST_EXACT, operand=kind.encode())


_SIZES = {
    ">": (Test.TEST_ABOVE, False),
    "<": (Test.TEST_BELOW, False),
    "=": (Test.TEST_EQUAL, False),
    "<=": (Test.TEST_ABOVE, True),
    ">=": (Test.TEST_BELOW, True),
}


def _size(test: str) -> Expression:
    sign, _, number = test.partition(" ")
    kind, turned = _SIZES[sign]
    row = Condition(Looks.FIELD_BODY_SIZE, kind, number=int(number))
    return Not(row) if turned else row
