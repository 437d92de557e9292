"""Round robin, smooth and weighted: the servers take turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fourseven.balancing.cycle import cycle
from fourseven.balancing.picks.table import in_turn
from fourseven.features import Algorithm, Need, Picker


class RoundRobin(Algorithm):
    """The servers take turns, in proportion to their weights.

    The order is smooth: with weights 5, 1, 1 the light servers' turns lie between those of the
    heavy one, and after any number of turns each server has had its share to within one turn. All
    workers share one sequence. A server that is down or full is passed over, and its turns go to
    the others in proportion.

    Right where requests cost about the same. Where they do not, use `least_requests`.

    Weights whose cycle would be longer than 16,384 turns (1000003 and 7) are rounded to one that
    long; each server keeps at least one turn.

        balance: round_robin
    """

    key: ClassVar[str] = "round_robin"
    need: ClassVar[Need] = Need.ADDRESS

    def lower(self, servers: Sequence[tuple[str, int]]) -> Picker:
        return Picker(pick=in_turn(), table=cycle([weight for _, weight in servers]))
