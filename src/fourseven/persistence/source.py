"""The client's address: one address, one server, as long as it comes back."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fourseven.balancing.source_hash import PREFIX_V4, PREFIX_V6
from fourseven.features import Need
from fourseven.matching.table import Field as Seen
from fourseven.persistence.kept import Kept
from fourseven.plan import KeyPlan, PersistencePlan
from fourseven.snapshot.layout import PersistenceKind


class Source(Kept):
    """The client's address: its first server stays its server.

    `prefix_v4` and `prefix_v6` say how many bits of the address count. Behind a trusted proxy, on
    Layer 7, the address is the client's as X-Forwarded-For gives it. At Layer 4 the relay keeps the
    table; the planes in the kernel keep none, and `balance: source_hash` does the like there.

        persistence: source
        persistence: {source: {ttl: 1h, prefix_v4: 24}}
    """

    key: ClassVar[str] = "source"
    need: ClassVar[Need] = Need.ADDRESS

    prefix_v4: Annotated[int, Field(ge=0, le=32)] = PREFIX_V4
    prefix_v6: Annotated[int, Field(ge=0, le=128)] = PREFIX_V6

    def lower(self) -> PersistencePlan:
        key = KeyPlan(
            field=int(Seen.FIELD_CLIENT), prefix_v4=self.prefix_v4, prefix_v6=self.prefix_v6
        )
        return self.kept(int(PersistenceKind.PERSIST_TABLE), key)
