"""Servers' own words at work: what workers have heard of their load becomes shares of new work.

Once a second the reports that stand in the slots (l7.load) are read, and each backend that listens
takes a step (health.load). What follows goes the way of all that concerns a server: through the one
book (control.servers), so slow start and it go together, and `status` shows the share.

Laws: one thread, and no work at all while no backend asks for it. A backend that does not listen
any more has its whole shares at once.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fourseven.control.health import Key
from fourseven.health.load import WHOLE, Shares
from fourseven.plan import Plan

LOOK_S = 1.0


class Reports(Protocol):
    """What is asked of the data plane."""

    def slots_of(self, backend: str, addresses: tuple[str, ...]) -> array[int]: ...
    def loads(self, slots: array[int], expires_ms: int) -> list[float | None]: ...


@dataclass(slots=True)
class Heard:
    """A backend that listens."""

    shares: Shares
    addresses: tuple[str, ...] = ()
    slots: array[int] = field(default_factory=lambda: array("I"))


class Loads:
    """All backends of one engine that listen. `burden` gets a server and its share, per mille."""

    def __init__(self, burden: Callable[[Key, int], None]) -> None:
        self._burden = burden
        self._loop = asyncio.get_running_loop()
        self._heard: dict[str, Heard] = {}
        self._reports: Reports | None = None
        self._timer: asyncio.TimerHandle | None = None

    def use(self, plan: Plan, reports: Reports) -> None:
        """From now on the backends of this plan, whose servers have slots there."""
        self._reports = reports
        before, self._heard = self._heard, {}
        for backend in plan.backends:
            if backend.load is None:
                continue
            one = before.get(backend.name) or Heard(Shares(backend.load))
            one.shares.plan = backend.load
            one.addresses = tuple(dict.fromkeys(server.address for server in backend.servers))
            one.slots = reports.slots_of(backend.name, one.addresses)
            self._heard[backend.name] = one
        for name in before.keys() - self._heard.keys():
            for address in before[name].addresses:
                self._burden((name, address), WHOLE)
        if self._heard and self._timer is None:
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._heard = {}

    def _look(self) -> None:
        self._timer = None
        if not self._heard:
            return
        assert self._reports is not None
        for name, one in self._heard.items():
            loads = self._reports.loads(one.slots, one.shares.plan.expires_ms)
            shares = one.shares.step(dict(zip(one.addresses, loads, strict=True)))
            for address, share in shares.items():
                self._burden((name, address), share)
        self._timer = self._loop.call_later(LOOK_S, self._look)
