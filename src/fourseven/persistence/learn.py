"""The application's own cookie, learnt from the answer that sets it."""

from __future__ import annotations

from typing import ClassVar

from fourseven.features import Need
from fourseven.matching.table import Field as Seen
from fourseven.persistence.kept import Kept
from fourseven.plan import KeyPlan, PersistencePlan
from fourseven.scalars import TokenName
from fourseven.snapshot.layout import PersistenceKind


class Learn(Kept):
    """The application's own cookie: who sets it keeps its clients.

    When a server's answer has a `Set-Cookie` of this name, its value is written down with that
    server; requests that carry the value go there. Nothing is added to any answer. Requests without
    the cookie are balanced. `ttl` counts from a value's last use, `rows` bounds how many are kept.

        persistence: {learn: JSESSIONID}
        persistence: {learn: {name: sid, ttl: 2h, rows: 500000}}
    """

    key: ClassVar[str] = "learn"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "name"

    name: TokenName

    def lower(self) -> PersistencePlan:
        key = KeyPlan(field=int(Seen.FIELD_COOKIE), name=self.name.encode())
        return self.kept(int(PersistenceKind.PERSIST_LEARNT), key)
