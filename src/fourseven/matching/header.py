"""The header fields of a request."""

from __future__ import annotations

from typing import ClassVar

from fourseven.features import Match
from fourseven.matching.named import Named
from fourseven.matching.records import Field as Looks
from fourseven.scalars import TOKEN


class Header(Named, Match):
    """Header fields: name and value, or name and tests; every name must hold.

    Names ignore case, values do not. Where a header comes in several lines, each line is a value
    of its own and one of them must hold; a list within one line (`a, b`) is one value, to be asked
    with `contains` or `regex`. The lines are those that came in, before any filter.

        match: {header: {X-Tenant: acme}}
        match: {header: {X-Tenant: [acme, zeta], X-Debug: {present: false}}}
        match: {header: {Accept: {contains: application/json}}}
    """

    key: ClassVar[str] = "header"
    looks: ClassVar[int] = Looks.FIELD_HEADER
    example: ClassVar[str] = "{X-Tenant: acme}"

    @classmethod
    def canonical_name(cls, name: str) -> str:
        if not TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header; write e.g. {cls.example}")
        return name.lower()
