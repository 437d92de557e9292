"""A header of the request: one value, one server."""

from __future__ import annotations

from typing import ClassVar

from fourseven.features import Need
from fourseven.matching.table import Field as Seen
from fourseven.persistence.kept import Kept
from fourseven.plan import KeyPlan, PersistencePlan
from fourseven.scalars import TokenName
from fourseven.snapshot.layout import PersistenceKind


class Header(Kept):
    """A request header: all requests with one value of it go to one server.

    The first request with a value is balanced, and the table keeps where it went. Requests without
    the header are balanced. Against `balance: {hash: {header: …}}`: the table moves nobody when a
    server joins, and the first choice is the algorithm's; the hash needs no memory, and machines
    choose alike.

        persistence: {header: X-Tenant}
        persistence: {header: {name: Authorization, ttl: 10m}}
    """

    key: ClassVar[str] = "header"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "name"

    name: TokenName

    def lower(self) -> PersistencePlan:
        key = KeyPlan(field=int(Seen.FIELD_HEADER), name=self.name.encode())
        return self.kept(int(PersistenceKind.PERSIST_TABLE), key)
