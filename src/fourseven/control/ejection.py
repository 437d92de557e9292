"""Ejection at work: reads the workers' counters, and puts outliers out of work for a while.

Errors in a row are looked at every LOOK_S, in one native pass over the slots; that is the reaction
time to a server that dies between two checks. Rates and times are compared at each `interval`. Who
is an outlier is decided in health.outlier; what follows from it, in control.servers.

Laws: one thread, and no work at all while no backend asks for it. A server that comes back begins
with no error in a row, or the next look would put it out again.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fourseven.control import logs
from fourseven.control.health import Key
from fourseven.health.outlier import KEPT, WIDTH, Outliers, Verdict
from fourseven.plan import Plan

LOOK_S = 0.1


class Counters(Protocol):
    """What is asked of the data plane."""

    def slots_of(self, backend: str, addresses: tuple[str, ...]) -> array[int]: ...
    def failing(self, slots: array[int], in_a_row: int) -> list[int]: ...
    def forgive(self, slot: int) -> None: ...
    def tally(
        self, slots: array[int], before: array[int], window: array[float], kept: float
    ) -> None: ...


@dataclass(slots=True)
class Watched:
    """A backend that ejects."""

    outliers: Outliers
    slots: array[int] = field(default_factory=lambda: array("I"))
    counted: array[int] = field(default_factory=lambda: array("Q"))  # at the last interval
    next: float = 0.0  # when servers are compared again


class Ejection:
    """All backends of one engine that eject. `eject` gets a server and why; empty: it is back."""

    def __init__(self, eject: Callable[[Key, str], None]) -> None:
        self._eject = eject
        self._loop = asyncio.get_running_loop()
        self._watched: dict[str, Watched] = {}
        self._counters: Counters | None = None
        self._timer: asyncio.TimerHandle | None = None

    def use(self, plan: Plan, counters: Counters) -> None:
        """From now on the backends of this plan, whose servers have slots there."""
        self._counters = counters
        before, self._watched = self._watched, {}
        for backend in plan.backends:
            if backend.ejection is None:
                continue
            one = before.get(backend.name) or Watched(Outliers(backend.ejection))
            addresses = tuple(dict.fromkeys(server.address for server in backend.servers))
            if addresses != one.outliers.addresses:
                one.slots = counters.slots_of(backend.name, addresses)
                one.counted = array("Q", bytes(8 * WIDTH * len(addresses)))
                # What was counted before we looked is not news: taken in, and not weighed.
                nothing = array("d", bytes(8 * WIDTH * len(addresses)))
                counters.tally(one.slots, one.counted, nothing, 0.0)
            one.outliers.use(backend.ejection, addresses)
            self._watched[backend.name] = one
        for name in before.keys() - self._watched.keys():
            self._pardon(name, before[name])
        if self._watched and self._timer is None:
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watched = {}

    def _pardon(self, name: str, one: Watched) -> None:
        """The file does not ask for it any more."""
        for address, past in one.outliers.past.items():
            if past.out:
                self._eject((name, address), "")

    def _look(self) -> None:
        self._timer = None
        if not self._watched:
            return
        assert self._counters is not None
        now = self._loop.time()
        for name, one in self._watched.items():
            self._judge(name, one, self._counters, now)
        self._timer = self._loop.call_later(LOOK_S, self._look)

    def _judge(self, name: str, one: Watched, counters: Counters, now: float) -> None:
        outliers = one.outliers
        for address, at, _ in outliers.back(now):
            counters.forgive(one.slots[at])
            logs.say("server.returned", backend=name, server=address)
            self._eject((name, address), "")
        verdicts: list[Verdict] = []
        if outliers.plan.errors_in_a_row:
            places = counters.failing(one.slots, outliers.plan.errors_in_a_row)
            verdicts += outliers.failing(places, now)
        if now >= one.next:
            one.next = now + outliers.plan.interval_ms / 1000
            counters.tally(one.slots, one.counted, outliers.window, KEPT)
            verdicts += outliers.compared(now)
        for address, _, why in verdicts:
            for_s = outliers.past[address].until - now
            logs.warn("server.ejected", backend=name, server=address, why=why, for_s=f"{for_s:g}")
            self._eject((name, address), why)
