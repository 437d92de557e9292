"""Outliers: which servers of a backend do so badly with real requests that they are left out.

Three ways to be one:

    in a row   so many errors, one after the other (answers of 5xx, failed connections, timeouts)
    rate       an error rate so much above the others'
    slow       a mean response time so many times the others'

"The others" are their (lower) median, and how far they lie apart is the median of the distances
from it (times 1.4826: for a normal distribution that is the standard deviation). Mean and standard
deviation would be moved by the very servers that are looked for: of five servers with two dead
ones, neither is two standard deviations away.

Rates and times are of a window that forgets a tenth at each look; a server is compared when it had
`requests_min` answers in it, and when at least `servers_min` had.

An ejected server comes back by time: `time` for the first ejection, twice that for the second, and
so on up to `time_max`. Each `time` without an ejection takes one off again. At most `share_max` of
the servers are out at once, though always one may be, and never all.

Laws: no clock and no I/O. The window is filled by whoever owns the counters.

Source: Envoy's outlier detection (arch_overview/upstream/outlier), for the ways and the times.
"""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fourseven.plan import EjectionPlan

ANSWERS, ERRORS, TIME = 0, 1, 2  # of a server's three numbers in the window
WIDTH = 3
KEPT = 0.9  # of the window, from one look to the next
SPREAD_MIN = 0.05  # of an error rate: where all are alike, five points apart are still alike
SPREAD_OF = 1.4826  # median distance to standard deviation
SLOW_MIN_NS = 5e6  # nearer to the median than this nobody is slow: on a fast net all is noise


class Verdict(NamedTuple):
    """A server goes out (why), or is back (empty)."""

    address: str
    at: int  # its place
    why: str


@dataclass(slots=True)
class Past:
    """What is remembered of one server that was ejected."""

    at: int  # its place
    until: float = 0.0  # of its ejection
    out: bool = False
    times: int = 0  # ejections that still count
    since: float = 0.0  # of the last ejection's end, or of the last one that was taken off


@dataclass(slots=True)
class Outliers:
    """The servers of one backend, in an order that stays until `use`."""

    plan: EjectionPlan
    addresses: tuple[str, ...] = ()
    window: array[float] = field(default_factory=lambda: array("d"))
    past: dict[str, Past] = field(default_factory=dict)  # of those that were ever out

    def use(self, plan: EjectionPlan, addresses: Sequence[str]) -> None:
        """From now on these; who stays keeps its past."""
        places = {address: at for at, address in enumerate(self.addresses)}
        window = array("d", bytes(8 * WIDTH * len(addresses)))
        now = {address: at for at, address in enumerate(addresses)}
        for address, at in now.items():
            if (before := places.get(address)) is not None:
                kept = self.window[WIDTH * before : WIDTH * (before + 1)]
                window[WIDTH * at : WIDTH * (at + 1)] = kept
        self.plan, self.addresses, self.window = plan, tuple(addresses), window
        self.past = {one: past for one, past in self.past.items() if one in now}
        for one, past in self.past.items():
            past.at = now[one]

    @property
    def out(self) -> int:
        """How many are ejected."""
        return sum(one.out for one in self.past.values())

    @property
    def out_max(self) -> int:
        """How many may be."""
        servers = len(self.addresses)
        return min(max(1, servers * self.plan.share_max_percent // 100), servers - 1)

    # ---- verdicts ----

    def failing(self, places: Iterable[int], now: float) -> Iterator[Verdict]:
        """These have had too many errors in a row."""
        for at in places:
            yield from self._eject(at, f"{self.plan.errors_in_a_row} errors in a row", now)

    def compared(self, now: float) -> Iterator[Verdict]:
        """Those that stand out in the window, the worst first."""
        least = self.plan.requests_min
        out = {past.at for past in self.past.values() if past.out}
        places = [
            at
            for at, answers in enumerate(self.window[ANSWERS::WIDTH])
            if answers >= least and at not in out
        ]
        if len(places) >= self.plan.servers_min:
            found = [*self._erring(places), *self._slow(places)]
            for _, at, why in sorted(found, reverse=True):
                yield from self._eject(at, why, now)

    def back(self, now: float) -> Iterator[Verdict]:
        """Those whose time is over; and what is long past is forgotten."""
        time_s = self.plan.time_ms / 1000
        for address, past in list(self.past.items()):
            if past.out and now >= past.until:
                past.out, past.since = False, now
                for i in range(WIDTH):  # it is judged by what it does from now on
                    self.window[WIDTH * past.at + i] = 0.0
                yield Verdict(address, past.at, "")
            elif not past.out and now >= past.since + time_s:
                past.times, past.since = past.times - 1, now
                if not past.times:
                    del self.past[address]

    def _eject(self, at: int, why: str, now: float) -> Iterator[Verdict]:
        address = self.addresses[at]
        past = self.past.get(address) or Past(at)
        if past.out or self.out >= self.out_max:
            return
        self.past[address] = past
        past.times += 1
        past.out = True
        past.until = now + min(self.plan.time_ms * past.times, self.plan.time_max_ms) / 1000
        yield Verdict(address, at, why)

    def _erring(self, places: list[int]) -> Iterator[tuple[float, int, str]]:
        if not self.plan.rate_deviations:
            return
        rates = [self.window[WIDTH * at + ERRORS] / self._answers(at) for at in places]
        middle = statistics.median_low(rates)
        spread = SPREAD_OF * statistics.median_low([abs(rate - middle) for rate in rates])
        limit = middle + self.plan.rate_deviations * max(spread, SPREAD_MIN)
        for at, rate in zip(places, rates, strict=True):
            if rate > limit:
                yield rate - limit, at, f"{rate:.0%} errors, where others have {middle:.0%}"

    def _slow(self, places: list[int]) -> Iterator[tuple[float, int, str]]:
        if not self.plan.slow_times:
            return
        means = [self.window[WIDTH * at + TIME] / self._answers(at) for at in places]
        middle = statistics.median_low(means)
        limit = max(middle * self.plan.slow_times, middle + SLOW_MIN_NS)
        for at, mean in zip(places, means, strict=True):
            if mean > limit:
                why = f"{mean / 1e6:.0f} ms a request, where others take {middle / 1e6:.0f} ms"
                yield 0.0, at, why  # worse is no word for it: errors go first

    def _answers(self, at: int) -> float:
        return self.window[WIDTH * at + ANSWERS]
