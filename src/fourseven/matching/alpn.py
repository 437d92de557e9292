"""The protocols that a TLS client offers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from fourseven.features import Match, Need
from fourseven.matching.records import Field as Looks
from fourseven.matching.records import Test
from fourseven.matching.rows import pack_list
from fourseven.matching.text import Plain, listed
from fourseven.plan import Condition, Expression


def protocol_name(text: str) -> str:
    """RFC 7301 3.1: one to 255 bytes."""
    if not 1 <= len(text.encode()) <= 255:
        raise ValueError(f"{text[:40]!r} is no protocol's name; write e.g. h2 or http/1.1")
    return text


Protocol = Annotated[Plain, AfterValidator(protocol_name)]


class Alpn(Match):
    """A protocol that the client offers in its TLS ClientHello (ALPN).

    A plain value is one protocol or several, of which one must be offered; the client may offer
    others too. The names are those of IANA's list, letters' case counts.

        match: {alpn: h2}
        match: {alpn: [postgresql, imap]}
    """

    key: ClassVar[str] = "alpn"
    need: ClassVar[Need] = Need.CLIENT_HELLO
    shorthand: ClassVar[str | None] = "any_of"

    any_of: Annotated[tuple[Protocol, ...], BeforeValidator(listed), Field(min_length=1)] = Field(
        description="Protocols; one of them is offered."
    )

    def lower(self) -> Expression:
        names = [name.encode() for name in self.any_of]
        if len(names) == 1:
            return Condition(Looks.FIELD_ALPN, Test.TEST_EXACT, operand=names[0])
        return Condition(Looks.FIELD_ALPN, Test.TEST_ANY_OF, operand=pack_list(names))
