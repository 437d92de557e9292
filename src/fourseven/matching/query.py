"""The query parameters of a request."""

from __future__ import annotations

from typing import ClassVar

from fourseven.features import Match
from fourseven.matching.named import Named
from fourseven.matching.records import Field as Looks


class Query(Named, Match):
    """Query parameters: name and value, or name and tests; every name must hold.

    Names and values are compared decoded (%41 is A, + is a space), and letters' case counts. Of
    several parameters of one name any one may hold, since servers differ on which they take. A
    parameter without = has an empty value.

        match: {query: {version: "2"}}
        match: {query: {debug: {present: true}, lang: [de, at]}}
    """

    key: ClassVar[str] = "query"
    looks: ClassVar[int] = Looks.FIELD_QUERY
    example: ClassVar[str] = '{version: "2"}'
