"""Peak EWMA: of two servers drawn by lot, the one that is expected to answer sooner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fourseven.balancing.cycle import grouped
from fourseven.balancing.ewma import peak_ewma
from fourseven.features import Algorithm, Need, Picker


class PeakEwma(Algorithm):
    """The faster server, by the time its answers took and the work it has in flight.

    Each server has a moving average of its response time that follows a worse answer at once and
    a better one over 10 seconds. Its cost is that average times (requests in flight + 1), for its
    weight; of two servers drawn by weight, the cheaper one takes the work. A server that nobody
    has asked yet is tried with one request first.

    Right where servers differ in speed, or slow down now and then (collections, neighbours,
    another zone). On a Layer 4 listener the time is that of the connect.

        balance: peak_ewma
    """

    key: ClassVar[str] = "peak_ewma"
    need: ClassVar[Need] = Need.ADDRESS

    def lower(self, servers: Sequence[tuple[str, int]]) -> Picker:
        return Picker(pick=peak_ewma(), table=grouped([weight for _, weight in servers]))
