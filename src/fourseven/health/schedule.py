"""When which server is checked: ten thousand of them, one after the other instead of all at once.

    schedule = Schedule(run)          run(key) starts a check; its end is told by `done`
    schedule.use({key: Pace(...)})    those that are wanted; who stays keeps its turn
    wait = schedule.due(now)          starts what is due; seconds until the next

The first checks are spread by a low-discrepancy sequence (the golden ratio: any number of servers,
in any order of arrival, stands evenly), a few of them within moments and thousands over their whole
interval; each later one comes an interval after the last began, give or take a little, so that
balancers which started together drift apart. Checks run side by side, at most RUNNING_MAX of them;
a slow one delays no other.

Laws: no clock and no I/O: time is passed in. A key is never checked twice at the same time.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

GOLDEN = 0.618_033_988_749_894_9
JITTER = 0.1  # where nobody says otherwise
FIRST = 0.01  # seconds for each new server, within which all of them have their first check
RUNNING_MAX = 512  # each is a socket; a net that has gone silent must not use up all of them


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, in seconds."""

    interval: float
    fast: float  # while in doubt
    jitter: float = JITTER  # of it, both ways


@dataclass(slots=True)
class Turn:
    """One key's place in the queue."""

    pace: Pace
    stamp: int = 0  # of its entry in the heap; older entries are void
    running: bool = False
    began: float = 0.0


@dataclass
class Schedule:
    """Who is next. `chance` is for tests."""

    run: Callable[[Hashable], None]
    chance: random.Random = field(default_factory=random.Random)
    turns: dict[Hashable, Turn] = field(default_factory=dict)
    running: int = 0
    _heap: list[tuple[float, int, Hashable]] = field(default_factory=list)
    _stamp: int = 0

    def use(self, wanted: Mapping[Any, Pace], now: float) -> None:
        """From now on these; a new one has its first turn within its interval."""
        for key in [key for key in self.turns if key not in wanted]:
            self.running -= self.turns.pop(key).running
        first = FIRST * len(wanted.keys() - self.turns.keys())
        for key, pace in wanted.items():
            turn = self.turns.get(key)
            if turn is None:
                turn = self.turns[key] = Turn(pace)
                spread = (self._stamp * GOLDEN) % 1.0
                self._queue(key, turn, now + spread * min(first, pace.interval))
            elif turn.pace != pace:
                turn.pace = pace
                if not turn.running:
                    self._queue(key, turn, now + self.chance.random() * pace.interval)

    def done(self, key: Hashable, in_doubt: bool, now: float) -> None:
        """A check has ended. A key that was taken away meanwhile is nobody's."""
        turn = self.turns.get(key)
        if turn is None or not turn.running:
            return
        turn.running = False
        self.running -= 1
        pace = turn.pace.fast if in_doubt else turn.pace.interval
        pace *= 1 + turn.pace.jitter * (2 * self.chance.random() - 1)
        self._queue(key, turn, max(now, turn.began + pace))

    def due(self, now: float) -> float | None:
        """Starts every check that is due; seconds until the next one, None when there is none."""
        while self._heap and self.running < RUNNING_MAX:
            at, stamp, key = self._heap[0]
            turn = self.turns.get(key)
            if turn is None or turn.stamp != stamp:
                heapq.heappop(self._heap)
                continue
            if at > now:
                return at - now
            heapq.heappop(self._heap)
            turn.running, turn.began = True, now
            self.running += 1
            self.run(key)
        return None

    def _queue(self, key: Hashable, turn: Turn, at: float) -> None:
        self._stamp += 1
        turn.stamp = self._stamp
        heapq.heappush(self._heap, (at, turn.stamp, key))
