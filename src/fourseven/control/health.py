"""Health checks at work: who is asked, what it amounts to, and who hears of it.

The schedule (health.schedule) says when, the check (health.http, ...) asks, the judgement
(health.state) counts. A check that only connects is no task of its own (health.knock). This file
runs them on control's loop. What follows from a judgement is not decided here but in
control.servers, which is told of each server whose state has changed.

A server that stays in the file keeps what is known of it over a reload, as long as it is checked
the same way.

Laws: one thread. An exception in a check is a failed check, never a fault of ours that stops the
checking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from fourseven.control import logs
from fourseven.health.connect import Target, way_of, why
from fourseven.health.inward import Ways, check_of
from fourseven.health.knock import Knocks
from fourseven.health.schedule import Pace, Schedule
from fourseven.health.state import Judgement, State
from fourseven.plan import HealthPlan, Plan

Key = tuple[str, str]  # (backend, the server's address)
TOGETHER_S = 0.01  # checks that are due so soon after each other begin in one turn of the loop


class Asked(NamedTuple):
    """The last check of a server."""

    at: float  # when it ended, monotonic
    took_s: float
    failure: str  # empty: all well


class Health:
    """All checks of one engine. `changed` hears of each server whose state is another."""

    def __init__(self, changed: Callable[[Key], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._schedule = Schedule(self._start)
        self._checks: dict[Key, HealthPlan] = {}
        self._ways = Ways()
        self._targets: dict[Key, Target] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._knocks: Knocks | None = None  # made when one is needed
        self._ways_in: dict[Key, tuple[int, Any]] = {}  # of those that are only connected to
        self._began: dict[Key, float] = {}  # ... and have not answered yet
        self._timer: asyncio.TimerHandle | None = None
        self.judged: dict[Key, Judgement] = {}  # of every server that is checked
        self.asked: dict[Key, Asked] = {}  # those that were, so far

    def use(self, plan: Plan) -> None:
        """From now on the servers of this plan."""
        checks = dict(_checks(plan))
        before, self._targets = self._targets, self._ways.targets(plan)
        kept = {
            key
            for key, check in checks.items()
            if _asks_alike(check, self._checks.get(key)) and before.get(key) == self._targets[key]
        }
        for key in self._checks.keys() - kept:
            self._forget(key)
        for key, check in checks.items():
            if key not in kept:
                self.judged[key] = Judgement(check.rise, check.fall)
            self.judged[key].rise, self.judged[key].fall = check.rise, check.fall
        self._checks = checks
        self._ways_in = dict(self._only_connected_to())
        paces = {key: _pace(check) for key, check in checks.items()}
        now = self._loop.time()
        self._schedule.use({key: pace for key, pace in paces.items() if key in kept}, now)
        self._schedule.use(paces, now)
        self._look()

    def stop(self) -> None:
        """No more checks."""
        if self._timer is not None:
            self._timer.cancel()
        for key in list(self._checks):
            self._forget(key)
        self._checks = {}
        self._schedule.use({}, self._loop.time())
        if self._knocks is not None:
            self._knocks.close()
            self._knocks = None

    # ---- one check ----

    def _look(self) -> None:
        """Starts what is due, and comes again for the next."""
        if self._timer is not None:
            self._timer.cancel()
        wait = self._schedule.due(self._loop.time())
        if wait is not None:
            self._timer = self._loop.call_later(max(wait, TOGETHER_S), self._look)

    def _start(self, key: Hashable) -> None:
        assert isinstance(key, tuple)
        way = self._ways_in.get(key)
        if way is not None:
            self._began[key] = self._loop.time()
            if self._knocks is None:
                self._knocks = Knocks(self._knocked)
            self._knocks.knock(key, *way, self._checks[key].timeout_ms / 1000)
            return
        self._tasks[key] = self._loop.create_task(self._check(key))

    async def _check(self, key: Key) -> None:
        check = self._checks[key]
        failure = ""
        began = self._loop.time()
        try:
            async with asyncio.timeout(check.timeout_ms / 1000):
                await check.check.ask(self._targets[key])
        except Exception as error:  # whatever it is: the server did not prove that it is well
            failure = why(error)
        del self._tasks[key]
        now = self._loop.time()
        self.asked[key] = Asked(now, now - began, failure)
        self._took(key, failure)
        self._look()

    def _knocked(self, said: list[tuple[Hashable, str]]) -> None:
        """Connects have ended."""
        now = self._loop.time()
        for key, failure in said:
            assert isinstance(key, tuple)
            began = self._began.pop(key, None)
            if began is None:
                continue  # a change that another one brought about has taken it away
            self.asked[key] = Asked(now, now - began, failure)
            self._took(key, failure)
        self._look()

    def _only_connected_to(self) -> Iterator[tuple[Key, tuple[int, Any]]]:
        for key, check in self._checks.items():
            target = self._targets[key]
            way = way_of(target) if check.check.only_connects and not target.proxy else None
            if way is not None:
                yield key, way

    def _took(self, key: Key, failure: str) -> None:
        judged = self.judged[key]
        before = judged.state
        judged.result(failure)
        self._schedule.done(key, judged.in_doubt, self._loop.time())
        if judged.state is not before:
            self._say(key, judged.state, failure)
            self._changed(key)

    def _say(self, key: Key, state: State, failure: str) -> None:
        fields = {"backend": key[0], "server": key[1], "state": state.value}
        if failure:
            logs.warn("health.changed", **fields, why=failure)
        else:
            logs.say("health.changed", **fields)

    def _forget(self, key: Key) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()
        if self._began.pop(key, None) is not None and self._knocks is not None:
            self._knocks.forget(key)
        self.judged.pop(key, None)
        self.asked.pop(key, None)


def _asks_alike(one: HealthPlan, other: HealthPlan | None) -> bool:
    """Whether what the one has found holds for the other, however often each asks."""
    return other is not None and (one.check, one.port) == (other.check, other.port)


def _pace(check: HealthPlan) -> Pace:
    return Pace(check.interval_ms / 1000, check.fast_interval_ms / 1000, check.jitter_percent / 100)


def _checks(plan: Plan) -> Iterator[tuple[Key, HealthPlan]]:
    for backend in plan.backends:
        for server in backend.servers:
            check = check_of(backend, server)
            if check is not None:
                yield (backend.name, server.address), check
