"""Source hash: one client, one server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from fourseven.balancing.consistent import consistent
from fourseven.balancing.picks.table import by_hash
from fourseven.features import Algorithm, Need, Picker

PREFIX_V4 = 32
PREFIX_V6 = 64  # a household or a host has a /64, and changes its address within it at will


class SourceHash(Algorithm):
    """A client's address decides its server, as long as that server takes work.

    `prefix_v4` and `prefix_v6` say how many bits of the address count: with `prefix_v4: 24`
    neighbours share a server. Behind a trusted proxy, on Layer 7, the address is the client's as
    X-Forwarded-For gives it.

    The hash is consistent: when a server leaves, its clients spread over the others and (but for
    one in a hundred) nobody else moves; when it comes back they return. Balancers with the same
    servers choose alike. Many clients behind one address all meet at one server; see `hash`.

        balance: source_hash
        balance: {source_hash: {prefix_v4: 24, prefix_v6: 56}}
    """

    key: ClassVar[str] = "source_hash"
    need: ClassVar[Need] = Need.ADDRESS

    prefix_v4: Annotated[int, Field(ge=0, le=32)] = PREFIX_V4
    prefix_v6: Annotated[int, Field(ge=0, le=128)] = PREFIX_V6

    def lower(self, servers: Sequence[tuple[str, int]]) -> Picker:
        return Picker(
            pick=by_hash(),
            table=consistent(servers),
            hash_prefix_v4=self.prefix_v4,
            hash_prefix_v6=self.prefix_v6,
        )
