"""Hash: equal requests go to one server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import model_validator

from fourseven.balancing.consistent import consistent
from fourseven.balancing.keyed import Keyed
from fourseven.balancing.picks.table import by_hash
from fourseven.features import Algorithm, Need, Picker


class Hash(Keyed, Algorithm):
    """A header, a cookie, a query parameter, the path or the host decides the server.

    For caches and for servers that keep something in memory: the same key always meets the same
    server. Consistent like `source_hash`. A request without the key, or with an empty one, is
    hashed by its client's address (of IPv6: the first 64 bits).

    `bounded_load: 125` (or `true`) keeps a popular key from drowning its server: none may hold
    more than 125 % of its share of the requests in flight; what is above goes to the key's next
    server (Mirrokni et al. 2018). Lower is more even, higher moves fewer requests.

        balance: {hash: path}
        balance: {hash: {header: X-Tenant}}
        balance: {hash: {cookie: session, bounded_load: 125%}}
    """

    key: ClassVar[str] = "hash"
    need: ClassVar[Need] = Need.REQUEST

    @model_validator(mode="after")
    def one_key(self) -> Self:
        named = self.named()
        if len(named) != 1:
            found = " and ".join(named) or "nothing"
            raise ValueError(
                f"hash needs exactly one of header, cookie, query, path, host and found {found}; "
                "write e.g. {header: X-Tenant}, or use source_hash for the client's address"
            )
        return self

    def lower(self, servers: Sequence[tuple[str, int]]) -> Picker:
        return self.keyed(by_hash(), consistent(servers))
