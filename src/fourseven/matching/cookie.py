"""The cookies of a request."""

from __future__ import annotations

from typing import ClassVar

from fourseven.features import Match
from fourseven.matching.named import Named
from fourseven.matching.records import Field as Looks
from fourseven.scalars import TOKEN


class Cookie(Named, Match):
    """Cookies: name and value, or name and tests; every name must hold.

    Letters' case counts in names and values. One pair of quotes around a value is not part of it,
    and nothing in it is decoded. Of several cookies of one name any one may hold.

        match: {cookie: {beta: "1"}}
        match: {cookie: {session: {present: true}}}
    """

    key: ClassVar[str] = "cookie"
    looks: ClassVar[int] = Looks.FIELD_COOKIE
    example: ClassVar[str] = '{beta: "1"}'

    @classmethod
    def canonical_name(cls, name: str) -> str:
        if not TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a cookie; write e.g. {cls.example}")
        return name
