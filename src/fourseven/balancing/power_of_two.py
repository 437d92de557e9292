"""Power of two choices: of two servers drawn by lot, the less loaded one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fourseven.balancing.cycle import grouped
from fourseven.balancing.picks.live import of_two
from fourseven.features import Algorithm, Need, Picker


class PowerOfTwo(Algorithm):
    """Two different servers are drawn by weight, and the one with less in flight takes the work.

    Nearly as even as `least_requests` (Mitzenmacher 2001), at a cost that does not grow with the
    number of servers, and without the herd: balancers that do not know of each other do not all
    choose the same idle server.

        balance: power_of_two
    """

    key: ClassVar[str] = "power_of_two"
    need: ClassVar[Need] = Need.ADDRESS

    def lower(self, servers: Sequence[tuple[str, int]]) -> Picker:
        return Picker(pick=of_two(), table=grouped([weight for _, weight in servers]))
