"""Health checks at work: who is asked, what it amounts to, and who is told.

The schedule (health.schedule) says when, the check (health.http, ...) asks, the judgement
(health.state) counts. This file runs them on control's loop and tells the data planes which servers
may have new work:

    usable = up, or nobody knows better

A backend of which fewer than `panic` percent are up is served by all of its servers: most likely
the check is wrong or the net is, and the few that are left would only be crushed. A server that
stays in the file keeps what is known of it over a reload, as long as it is checked the same way.

Laws: one thread. The data planes hear of changes alone, and after each publish of what is not
usable. An exception in a check is a failed check, never a fault of ours that stops the checking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple

from fourseven.control import logs
from fourseven.health.connect import Target, why
from fourseven.health.schedule import Pace, Schedule
from fourseven.health.state import Judgement, State
from fourseven.plan import BackendPlan, HealthPlan, Plan

Key = tuple[str, str]  # (backend, the server's address)
Tell = Callable[[set[Key]], None]


class Seen(NamedTuple):
    """What is known of a server, for people."""

    state: str
    reason: str  # of the last failure
    usable: bool


class Health:
    """All checks of one engine. `tell` gets every server that may not have new work."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._schedule = Schedule(self._start)
        self._checks: dict[Key, HealthPlan] = {}
        self._judged: dict[Key, Judgement] = {}
        self._backends: tuple[BackendPlan, ...] = ()
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._told: set[Key] = set()

    def use(self, plan: Plan) -> set[Key]:
        """From now on the servers of this plan; those of them that may not have new work."""
        self._backends = tuple(one for one in plan.backends if one.health is not None)
        checks = dict(_checks(self._backends))
        kept = {key for key, check in checks.items() if _asks_alike(check, self._checks.get(key))}
        for key in self._checks.keys() - kept:
            self._forget(key)
        for key, check in checks.items():
            if key not in kept:
                self._judged[key] = Judgement(check.rise, check.fall)
            self._judged[key].rise, self._judged[key].fall = check.rise, check.fall
        self._checks = checks
        paces = {key: _pace(check) for key, check in checks.items()}
        now = self._loop.time()
        self._schedule.use({key: pace for key, pace in paces.items() if key in kept}, now)
        self._schedule.use(paces, now)
        self._told = self.down()
        self._look()
        return self._told

    def down(self) -> set[Key]:
        """The servers that may not have new work."""
        found: set[Key] = set()
        for backend in self._backends:
            assert backend.health is not None
            keys = {(backend.name, server.address) for server in backend.servers}
            down = {key for key in keys if not self._judged[key].in_use}
            if 100 * (len(keys) - len(down)) >= backend.health.panic_percent * len(keys):
                found |= down
        return found

    def seen(self) -> dict[Key, Seen]:
        """Every server that is checked."""
        down = self.down()
        return {
            key: Seen(one.state.value, one.reason, key not in down)
            for key, one in self._judged.items()
        }

    def stop(self) -> None:
        """No more checks."""
        if self._timer is not None:
            self._timer.cancel()
        for key in list(self._checks):
            self._forget(key)
        self._checks = {}
        self._schedule.use({}, self._loop.time())

    # ---- one check ----

    def _look(self) -> None:
        """Starts what is due, and comes again for the next."""
        if self._timer is not None:
            self._timer.cancel()
        wait = self._schedule.due(self._loop.time())
        self._timer = self._loop.call_later(wait, self._look) if wait is not None else None

    def _start(self, key: Hashable) -> None:
        assert isinstance(key, tuple)
        self._tasks[key] = self._loop.create_task(self._check(key))

    async def _check(self, key: Key) -> None:
        check = self._checks[key]
        failure = ""
        try:
            async with asyncio.timeout(check.timeout_ms / 1000):
                await check.check.ask(Target(key[1], check.port))
        except Exception as error:  # whatever it is: the server did not prove that it is well
            failure = why(error)
        del self._tasks[key]
        self._took(key, failure)

    def _took(self, key: Key, failure: str) -> None:
        judged = self._judged[key]
        before = judged.state
        judged.result(failure)
        self._schedule.done(key, judged.in_doubt, self._loop.time())
        if judged.state is not before:
            self._changed(key, judged.state, failure)
        self._look()

    def _changed(self, key: Key, state: State, failure: str) -> None:
        fields = {"backend": key[0], "server": key[1], "state": state.value}
        if failure:
            logs.warn("health.changed", **fields, why=failure)
        else:
            logs.say("health.changed", **fields)
        down = self.down()
        if down != self._told:
            self._told = down
            self._tell(down)

    def _forget(self, key: Key) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()
        self._judged.pop(key, None)


def _asks_alike(one: HealthPlan, other: HealthPlan | None) -> bool:
    """Whether what the one has found holds for the other, however often each asks."""
    return other is not None and (one.check, one.port) == (other.check, other.port)


def _pace(check: HealthPlan) -> Pace:
    return Pace(check.interval_ms / 1000, check.fast_interval_ms / 1000)


def _checks(backends: tuple[BackendPlan, ...]) -> Iterator[tuple[Key, HealthPlan]]:
    for backend in backends:
        assert backend.health is not None
        for server in backend.servers:
            yield (backend.name, server.address), backend.health
