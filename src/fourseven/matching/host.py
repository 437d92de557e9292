"""The host that a request names."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fourseven.features import Match, Need
from fourseven.matching.records import Field as Looks
from fourseven.matching.records import Test
from fourseven.matching.rows import pack_list
from fourseven.matching.text import Plain, Regex, listed
from fourseven.plan import Any_, Condition, Expression
from fourseven.protocols.probe import authority


def canonical_host(text: str) -> str:
    """Lower case, without a final dot, the star of a wildcard kept; ValueError with the mend."""
    star, name = ("*", text[1:]) if text.startswith("*.") else ("", text)
    if text == "*":
        raise ValueError("* is any host; leave the host out")
    if "*" in name:
        raise ValueError(f"{text!r} has a * inside; write *.example.com, or use {{regex: …}}")
    if "://" in text or "/" in text:
        bare = text.partition("://")[2] or text
        raise ValueError(f"{text!r} is not a host; write {bare.partition('/')[0]}")
    if not name.isascii():
        raise ValueError(f"{text!r} is not as browsers send it; write {star}{_ascii(name)}")
    found = authority((name[1:] if star else name).encode())
    if isinstance(found, int):
        raise ValueError(f"{text!r} is not a host; write e.g. shop.example.com or *.example.com")
    host, port = found
    if port is not None:
        raise ValueError(f"{text!r} has a port, which no match looks at; write {host.decode()}")
    return f"*.{host.decode()}" if star else host.decode()


def _ascii(name: str) -> str:
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return "its xn-- form"


HostName = Annotated[Plain, AfterValidator(canonical_host)]


class Host(Match):
    """The host that the request names (its Host header or :authority), without the port.

    A plain value is one host or several. `*.example.com` takes every host with one or more labels
    before .example.com, as in the Gateway API: a.example.com and a.b.example.com, but not
    example.com itself. Letters' case and a final dot make no difference.

        match: {host: shop.example.com}
        match: {host: [example.com, "*.example.com"]}
        match: {host: {regex: '^tenant-[0-9]+\\.example\\.com$'}}
    """

    key: ClassVar[str] = "host"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "name"

    name: Annotated[tuple[HostName, ...], BeforeValidator(listed), Field(min_length=1)] | None = (
        Field(None, description="Hosts, exact or as *.example.com; one of them.")
    )
    regex: Regex | None = Field(None, description="An expression that is found in the host.")

    @model_validator(mode="after")
    def exactly_one(self) -> Host:
        if (self.name is None) == (self.regex is None):
            raise ValueError("write either a host or {regex: …}, e.g. host: shop.example.com")
        return self

    def lower(self) -> Expression:
        if self.regex is not None:
            return Condition(Looks.FIELD_HOST, Test.TEST_REGEX, operand=self.regex.encode())
        names = self.name or ()
        exact = [name.encode() for name in names if not name.startswith("*")]
        parts: list[Expression] = [
            Condition(Looks.FIELD_HOST, Test.TEST_WILDCARD, operand=name[1:].encode())
            for name in names
            if name.startswith("*")
        ]
        if len(exact) == 1:
            parts.insert(0, Condition(Looks.FIELD_HOST, Test.TEST_EXACT, operand=exact[0]))
        elif exact:
            packed = pack_list(exact)
            parts.insert(0, Condition(Looks.FIELD_HOST, Test.TEST_ANY_OF, operand=packed))
        return parts[0] if len(parts) == 1 else Any_(tuple(parts))
