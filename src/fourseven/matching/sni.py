"""The name that a TLS client asks for.

It stands in the first message of a connection, in the clear, so a route that asks for nothing else
can be chosen without ending TLS.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from fourseven.features import Match, Need
from fourseven.matching.host import HostName
from fourseven.matching.records import Field as Looks
from fourseven.matching.records import Test
from fourseven.matching.rows import pack_list
from fourseven.matching.text import Regex, listed
from fourseven.plan import Any_, Condition, Expression


class Sni(Match):
    """The name that the client asks for in its TLS ClientHello (Server Name Indication).

    A plain value is one name or several. `*.example.com` takes every name with one or more labels
    before .example.com, but not example.com itself. A client that names no host has no such
    value. With encrypted ClientHello it is the outer name.

    A listener whose routes look at nothing but `sni`, `alpn` and `address` passes TLS through as it
    is, at Layer 4. With `tls` in the listener TLS ends there, but for routes with
    `tls: passthrough`.

        match: {sni: db.example.com}
        match: {sni: [example.com, "*.example.com"]}
        match: {sni: {regex: '^shard-[0-9]+\\.example\\.com$'}}
    """

    key: ClassVar[str] = "sni"
    need: ClassVar[Need] = Need.CLIENT_HELLO
    shorthand: ClassVar[str | None] = "name"

    name: Annotated[tuple[HostName, ...], BeforeValidator(listed), Field(min_length=1)] | None = (
        Field(None, description="Names, exact or as *.example.com; one of them.")
    )
    regex: Regex | None = Field(None, description="An expression that is found in the name.")

    @model_validator(mode="after")
    def exactly_one(self) -> Sni:
        if (self.name is None) == (self.regex is None):
            raise ValueError("write either a name or {regex: …}, e.g. sni: db.example.com")
        return self

    def lower(self) -> Expression:
        if self.regex is not None:
            return Condition(Looks.FIELD_SNI, Test.TEST_REGEX, operand=self.regex.encode())
        names = self.name or ()
        exact = [name.encode() for name in names if not name.startswith("*")]
        parts: list[Expression] = [
            Condition(Looks.FIELD_SNI, Test.TEST_WILDCARD, operand=name[1:].encode())
            for name in names
            if name.startswith("*")
        ]
        if len(exact) == 1:
            parts.insert(0, Condition(Looks.FIELD_SNI, Test.TEST_EXACT, operand=exact[0]))
        elif exact:
            packed = pack_list(exact)
            parts.insert(0, Condition(Looks.FIELD_SNI, Test.TEST_ANY_OF, operand=packed))
        return parts[0] if len(parts) == 1 else Any_(tuple(parts))
