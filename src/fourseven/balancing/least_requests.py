"""Least requests: the server with the least work in flight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fourseven.balancing.picks.live import least
from fourseven.features import Algorithm, Need, Picker


class LeastRequests(Algorithm):
    """The server with the fewest requests (Layer 4: connections) in flight, for its weight.

    The count is exact over all workers. A server of weight 2 counts as equally loaded with twice
    the requests. Servers that are equally loaded share the work by weight, so an idle backend
    does not send everything to its first server.

    Right where requests differ in cost. Looks at every server for each request: with more than a
    few hundred servers, `power_of_two` is nearly as good and costs the same for any number.

        balance: least_requests
    """

    key: ClassVar[str] = "least_requests"
    need: ClassVar[Need] = Need.ADDRESS

    def lower(self, servers: Sequence[tuple[str, int]]) -> Picker:  # noqa: ARG002 (reads slots)
        return Picker(pick=least())
