"""From how busy servers say they are to the share of work that each is given.

Servers with the same weight are seldom equally strong, and never equally busy. Each says how much
of what it can do it does (1: all of it). Who is above the mean of all gets a little less, who is
below a little more, step by step, until all are equally busy; their shares are then in proportion
to what they can do, which nobody had to write down.

    share := share * (mean / load) ^ GAIN, at most STEP up or down a second

Laws: pure; time is a step. The largest share is the whole, and none is below `share_min`. A server
that says nothing (any more) returns to its whole share by steps too, and so do all while they have
next to nothing to do: then the numbers are noise.

Source: gRPC A58, "Weighted Round Robin" (weight = rate / utilization), made into a controller, so
that no rate has to be known.
"""

from __future__ import annotations

from collections.abc import Mapping

from fourseven.plan import LoadPlan

GAIN = 0.3  # half of a difference is gone in about two seconds, and nothing swings
STEP = 1.15
IDLE = 0.05  # a mean below it: nobody is busy
LOAD_MIN = 0.01
WHOLE = 1000  # per mille


class Shares:
    """Those of one backend."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self._shares: dict[str, float] = {}  # 1: the whole; absent: it is so

    def step(self, loads: Mapping[str, float | None]) -> dict[str, int]:
        """A second has passed. What each server says (None: nothing); the shares, per mille."""
        said = {address: load for address, load in loads.items() if load is not None}
        mean = sum(said.values()) / len(said) if said else 0.0
        compared = len(said) > 1 and mean >= IDLE
        after: dict[str, float] = {}
        for address in loads:
            share = self._shares.get(address, 1.0)
            load = said.get(address)
            if compared and load is not None:
                factor = (mean / max(load, LOAD_MIN)) ** GAIN
                after[address] = share * min(max(factor, 1 / STEP), STEP)
            else:
                after[address] = min(share * STEP, 1.0)
        self._shares = self._bounded(after)
        return {address: round(WHOLE * share) for address, share in self._shares.items()}

    def _bounded(self, shares: dict[str, float]) -> dict[str, float]:
        most = max(shares.values(), default=1.0)
        least = self.plan.share_min / WHOLE
        return {address: max(share / most, least) for address, share in shares.items()}
