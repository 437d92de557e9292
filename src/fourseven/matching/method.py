"""The method of a request."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from fourseven.features import Match, Need
from fourseven.matching.records import Field as Looks
from fourseven.matching.records import Test
from fourseven.matching.rows import pack_list
from fourseven.matching.text import Plain, listed
from fourseven.plan import Condition, Expression
from fourseven.scalars import TOKEN


def canonical_method(text: str) -> str:
    """A method as it is sent; ValueError with the mend."""
    if not TOKEN.fullmatch(text):
        raise ValueError(f"{text!r} is not a method; write e.g. GET or [GET, HEAD]")
    if text != text.upper():
        raise ValueError(f"methods are in capitals (RFC 9110 9.1); write {text.upper()}")
    return text


MethodName = Annotated[Plain, AfterValidator(canonical_method)]


class Method(Match):
    """The method: one, or a list of which one must be it.

    GET does not take HEAD with it: name both where both are meant.

        match: {method: POST}
        match: {method: [GET, HEAD]}
    """

    key: ClassVar[str] = "method"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "any_of"

    any_of: Annotated[tuple[MethodName, ...], BeforeValidator(listed), Field(min_length=1)] = Field(
        description="Methods; one of them."
    )

    def lower(self) -> Expression:
        names = [name.encode() for name in self.any_of]
        if len(names) == 1:
            return Condition(Looks.FIELD_METHOD, Test.TEST_EXACT, operand=names[0])
        return Condition(Looks.FIELD_METHOD, Test.TEST_ANY_OF, operand=pack_list(names))
