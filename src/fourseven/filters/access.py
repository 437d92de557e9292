"""Access: who may come in, by address."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from fourseven.features import Filter, Need
from fourseven.matching.address import address_ranges
from fourseven.matching.text import listed
from fourseven.plan import GatePlan
from fourseven.scalars import Network
from fourseven.snapshot.layout import GateKind

Networks = Annotated[tuple[Network, ...], BeforeValidator(listed)]


class Access(Filter):
    """Lets clients in, or refuses them with 403, by their address.

    `deny` is looked at first: who stands there is refused, whatever `allow` says. Where there is an
    `allow`, only those are let in who stand in it. The address is the client's, as trusted proxies
    tell it. For a rule about anything else (a path, a header, a country that a proxy told), give
    that route a match of its own, with this filter or without it.

        filters: [{access: {allow: [10.0.0.0/8, "2001:db8::/32"]}}]
        filters: [{access: {deny: 203.0.113.0/24}}]
    """

    key: ClassVar[str] = "access"
    need: ClassVar[Need] = Need.REQUEST

    allow: Networks = Field((), description="Networks or addresses; left out: all.")
    deny: Networks = Field((), description="Networks or addresses, refused even if allowed.")

    @model_validator(mode="after")
    def says_something(self) -> Access:
        if not self.allow and not self.deny:
            raise ValueError("access says nothing; write e.g. {allow: [10.0.0.0/8]}")
        return self

    def gates(self) -> tuple[GatePlan, ...]:
        texts = (address_ranges(self.deny), address_ranges(self.allow))
        return (GatePlan(GateKind.GATE_ACCESS, numbers=(bool(self.allow),), texts=texts),)
