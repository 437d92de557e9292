"""What a named value (a header, a cookie, a query parameter, a JSON value) may be asked for.

A plain value in the file means that it is exactly this; a list, that it is one of these; a
mapping names the tests, and all of them must hold.

Laws: letters are compared as they are. Numbers and booleans in the file stand for the text that
a request would have (`8` is "8", `1.0` is "1", `true` is "true").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fourseven.matching.records import Test
from fourseven.matching.regex import regex_check
from fourseven.matching.rows import pack_list
from fourseven.plan import All, Condition, Expression, Not


def listed(value: Any) -> Any:
    """One thing where a list may stand."""
    return value if isinstance(value, list | tuple) else [value]


def plain_text(value: Any) -> str:
    """The text of a plain value in the file; ValueError for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, str | int):
        return str(value)
    raise ValueError(f"{_kind(value)} cannot be compared; write text, e.g. acme or {{prefix: a}}")


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {dict: "a mapping", list: "a list", tuple: "a list"}
    return "nothing" if value is None else kinds.get(type(value), repr(value))


def regex_text(text: str) -> str:
    """The expression as it is; ValueError says what is wrong with it, and where."""
    try:
        regex_check(text.encode())
    except ValueError as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("the text is empty, so it would always hold; write what to look for")
    return text


Plain = Annotated[str, BeforeValidator(plain_text)]
Sought = Annotated[str, BeforeValidator(plain_text), AfterValidator(_not_empty)]
Regex = Annotated[str, BeforeValidator(plain_text), AfterValidator(regex_text)]
Plains = Annotated[tuple[Plain, ...], BeforeValidator(listed), Field(min_length=1)]


class TextTest(BaseModel):
    """The tests of one value; all that are named must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exact: Plain | None = Field(None, description="It is this.")
    present: bool | None = Field(None, strict=True, description="It is there, whatever it is.")
    prefix: Sought | None = Field(None, description="It begins with this.")
    suffix: Sought | None = Field(None, description="It ends with this.")
    contains: Sought | None = Field(None, description="This is somewhere in it.")
    regex: Regex | None = Field(None, description="This expression is found in it (Perl's rules).")
    any_of: Plains | None = Field(None, description="It is one of these.")

    @model_validator(mode="before")
    @classmethod
    def from_file(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"any_of": value}
        if isinstance(value, dict | TextTest):
            return value
        if value is None:
            raise ValueError("there is no value; write text, or {present: true} for any value")
        return {"exact": value}

    @model_validator(mode="after")
    def at_least_one(self) -> TextTest:
        if not self.model_fields_set:
            raise ValueError("no test is named; write e.g. {present: true} or {prefix: a}")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        plain = {"type": ["string", "number", "boolean"]}
        return {"anyOf": [plain, {"type": "array", "items": plain}, handler(schema)]}

    def lower(self, field: int, name: bytes = b"", number: int = 0) -> Expression:
        """Rows over one field, in the order of the tests above."""
        rows: list[Expression] = []
        for test, key, packed in _TESTS:
            value = getattr(self, key)
            if value is not None:
                rows.append(Condition(field, test, name, packed(value), number))
        if self.present is not None:
            there = Condition(field, Test.TEST_PRESENT, name, b"", number)
            rows.append(there if self.present else Not(there))
        return rows[0] if len(rows) == 1 else All(tuple(rows))


def _packed_list(values: tuple[str, ...]) -> bytes:
    return pack_list(value.encode() for value in values)


_TESTS: tuple[tuple[int, str, Callable[[Any], bytes]], ...] = (
    (Test.TEST_EXACT, "exact", str.encode),
    (Test.TEST_PREFIX, "prefix", str.encode),
    (Test.TEST_SUFFIX, "suffix", str.encode),
    (Test.TEST_CONTAINS, "contains", str.encode),
    (Test.TEST_ANY_OF, "any_of", _packed_list),
    (Test.TEST_REGEX, "regex", str.encode),
)


def lower_named(field: int, values: Mapping[str, TextTest], number: int = 0) -> Expression:
    """All named values hold."""
    parts = [test.lower(field, name.encode(), number) for name, test in values.items()]
    return parts[0] if len(parts) == 1 else All(tuple(parts))
