"""Random: each server with the probability of its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fourseven.balancing.cycle import grouped
from fourseven.balancing.picks.table import at_random
from fourseven.features import Algorithm, Need, Picker


class Random(Algorithm):
    """Each request goes to a server drawn by lot, in proportion to the weights.

    Needs no shared count and no agreement, so any number of balancers can stand side by side. Over
    few requests the spread is rougher than that of `round_robin`. Weights are rounded as there.

        balance: random
    """

    key: ClassVar[str] = "random"
    need: ClassVar[Need] = Need.ADDRESS

    def lower(self, servers: Sequence[tuple[str, int]]) -> Picker:
        return Picker(pick=at_random(), table=grouped([weight for _, weight in servers]))
