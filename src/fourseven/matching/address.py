"""The address of the client."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from fourseven.addresses import canonical_network
from fourseven.features import Match, Need
from fourseven.matching.records import Field as Looks
from fourseven.matching.records import Test
from fourseven.matching.text import listed
from fourseven.plan import Condition, Expression

MAPPED = 0xFFFF << 32  # ::ffff:0:0, under which IPv4 is kept: one form, so no rule is by-passed


def address_ranges(networks: Iterable[str]) -> bytes:
    """The operand of TEST_RANGES: first and last address, ascending, neighbours joined."""
    spans = []
    for text in networks:
        network = ipaddress.ip_network(text)
        first = int(network.network_address) + (MAPPED if network.version == 4 else 0)
        spans.append((first, first + network.num_addresses - 1))
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return b"".join(end.to_bytes(16, "big") for span in joined for end in span)


def network_text(value: Any) -> str:
    """A canonical network; ValueError with the mend."""
    return canonical_network(value)


Network = Annotated[str, BeforeValidator(network_text)]


class Address(Match):
    """The client's address: a network or an address, or a list of which one must hold it.

    It is the other end of the connection; on Layer 7, where that is a trusted proxy, it is the
    client that X-Forwarded-For names. IPv4 within IPv6 (::ffff:10.0.0.1) is the IPv4 address.

        match: {address: 10.0.0.0/8}
        match: {address: [192.0.2.7, "2001:db8::/32"]}
    """

    key: ClassVar[str] = "address"
    need: ClassVar[Need] = Need.ADDRESS
    shorthand: ClassVar[str | None] = "any_of"

    any_of: Annotated[tuple[Network, ...], BeforeValidator(listed), Field(min_length=1)] = Field(
        description="Networks or addresses; in one of them."
    )

    def lower(self) -> Expression:
        operand = address_ranges(self.any_of)
        return Condition(Looks.FIELD_CLIENT, Test.TEST_RANGES, operand=operand)
