"""Maglev: consistent hashing by a table, for several balancers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Self, cast

from pydantic import Field, model_validator

from fourseven.balancing.consistent import LENGTH, LENGTH_MAX, consistent, is_prime
from fourseven.balancing.keyed import Keyed
from fourseven.balancing.picks.table import by_hash
from fourseven.balancing.source_hash import PREFIX_V4, PREFIX_V6
from fourseven.features import Algorithm, Need, Picker


class NeedOfKey:
    """The client's address is visible at Layer 4; any other key needs the request. The class
    itself, asked without a file, answers with the lower one."""

    def __get__(self, instance: Keyed | None, owner: type[Keyed]) -> Need:
        return Need.REQUEST if instance is not None and instance.named() else Need.ADDRESS


class Maglev(Keyed, Algorithm):
    """The client's address, or a key of the request, decides the server by Maglev's table.

    The table of Eisenbud et al. 2016: servers get their shares to within 1 %, and when one leaves
    its keys spread over the others while fewer than 2 % of the rest move. Balancers with the same
    servers build the same table, whatever the order in the file, so a client keeps its server
    even when it meets another balancer.

    Without a key it is the client's address, of which `prefix_v4` and `prefix_v6` bits count, and
    Layer 4 suffices; with `header`, `cookie`, `query`, `path` or `host` it is Layer 7.
    `table_size` is a prime; 100 times the number of servers keeps the shares within 1 %.
    `bounded_load` as in `hash`.

        balance: maglev
        balance: {maglev: {cookie: session}}
        balance: {maglev: {prefix_v4: 24, table_size: 655373}}
    """

    key: ClassVar[str] = "maglev"
    need: ClassVar[Need] = cast("Need", NeedOfKey())

    prefix_v4: Annotated[int, Field(ge=0, le=32)] = PREFIX_V4
    prefix_v6: Annotated[int, Field(ge=0, le=128)] = PREFIX_V6
    table_size: Annotated[int, Field(ge=251, le=LENGTH_MAX)] = LENGTH

    @model_validator(mode="after")
    def sound(self) -> Self:
        if len(self.named()) > 1:
            raise ValueError(f"maglev takes one key, not {' and '.join(self.named())}")
        if not is_prime(self.table_size):
            raise ValueError(
                f"table_size {self.table_size} is not a prime; write e.g. 65537 or 655373"
            )
        return self

    def lower(self, servers: Sequence[tuple[str, int]]) -> Picker:
        table = consistent(servers, self.table_size)
        return self.keyed(by_hash(), table, self.prefix_v4, self.prefix_v6)
