"""Fetches the JWK sets of filters that name a URL, and keeps them fresh.

One task for each set. It fetches, judges (filters/token_keys), and does so again after the filter's
`refresh`; sooner, when a worker has met a token of a key that it does not know, for keys rotate. A
fetch that fails, or a set that will not do, leaves the last good one in force and is tried again
soon, and then more seldom. The keys reach the workers as those of a file do: the plan is published
anew with them.

Laws: a set is at most 256 KiB, and a server has ten seconds. TLS is verified, by the system's
authorities or those of `ca`, and a redirect is not followed: it could lead to anybody. Strangers
who make up key ids cause one fetch in half a minute, not one each. Nothing waits for a set but a
load, and that for three seconds; without keys a request gets 503, never a pass.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from fourseven.control import logs
from fourseven.filters.token_keys import Row, keys_in, with_rows
from fourseven.plan import GatePlan, KeySource, Plan

SET_MAX = 256 * 1024  # real ones have some kilobytes
TIMEOUT_S = 10.0
AGAIN_S = 5.0  # after a failure; twice as long each time, up to the filter's own interval
UNKNOWN_LOOK_S = 1.0  # how often the workers are asked for unknown keys
UNKNOWN_MIN_S = 30.0  # the least between two fetches that unknown keys cause

Ask = Callable[[KeySource], Awaitable[bytes]]


async def fetch(source: KeySource) -> bytes:
    """The set's bytes; any exception says why there are none."""
    import aiohttp  # slow to load, and few need it

    trust = ssl.create_default_context(cafile=source.authority or None)
    patience = aiohttp.ClientTimeout(total=TIMEOUT_S)
    fields = {"Accept": "application/jwk-set+json, application/json"}
    async with (
        aiohttp.ClientSession(timeout=patience, headers=fields) as session,
        session.get(source.url, ssl=trust, allow_redirects=False) as answer,
    ):
        if answer.status != 200:
            raise ValueError(f"it answered {answer.status}")
        got = b""
        async for part in answer.content.iter_chunked(SET_MAX):
            got += part
            if len(got) > SET_MAX:
                raise ValueError(f"it answered more than {SET_MAX} bytes")
        return got


@dataclass(slots=True)
class _Set:
    """One set, and how it is kept."""

    rows: tuple[Row, ...] = ()
    there: asyncio.Event = field(default_factory=asyncio.Event)  # it was fetched once
    wanted: asyncio.Event = field(default_factory=asyncio.Event)  # a key is unknown: at once
    task: asyncio.Task[None] | None = None


class KeySets:
    """The sets in hand, by where they come from."""

    def __init__(
        self, changed: Callable[[], None], unknown: Callable[[], int], ask: Ask = fetch
    ) -> None:
        self._changed = changed
        self._unknown = unknown
        self._ask = ask
        self._sets: dict[KeySource, _Set] = {}
        self._looking: asyncio.Task[None] | None = None

    # ---- which sets ----

    def follow(self, plan: Plan) -> None:
        """Begins with the sets of this plan."""
        for source in _sources(plan):
            if source not in self._sets:
                one = self._sets[source] = _Set()
                one.task = asyncio.create_task(self._keep(source, one))
        if self._sets and self._looking is None:
            self._looking = asyncio.create_task(self._look())

    def use(self, plan: Plan | None) -> None:
        """Forgets the sets of others."""
        wanted = set(_sources(plan)) if plan is not None else set()
        for source in [source for source in self._sets if source not in wanted]:
            _end(self._sets.pop(source).task)
        if not self._sets:
            _end(self._looking)
            self._looking = None

    def pending(self, plan: Plan) -> bool:
        """Whether a set of this plan was never fetched yet."""
        return any(not self._sets[source].there.is_set() for source in _sources(plan))

    async def ready(self, plan: Plan, within_s: float) -> None:
        """Returns when all sets of this plan are there, or the time is over."""
        sets = [self._sets[source] for source in _sources(plan)]
        waits = [asyncio.create_task(one.there.wait()) for one in sets]
        if waits:
            await asyncio.wait(waits, timeout=within_s)
        for one in waits:
            one.cancel()

    def keyed(self, plan: Plan) -> Plan:
        """The plan with the keys in hand."""
        if not any(one.rows for one in self._sets.values()):
            return plan
        return replace(
            plan,
            listeners=tuple(
                replace(
                    listener,
                    routes=tuple(
                        replace(route, gates=tuple(self._gate(gate) for gate in route.gates))
                        for route in listener.routes
                    ),
                )
                for listener in plan.listeners
            ),
        )

    def _gate(self, gate: GatePlan) -> GatePlan:
        one = self._sets.get(gate.fetched) if gate.fetched is not None else None
        if one is None or not one.rows or gate.fetched is None:
            return gate
        allowed = gate.fetched.algorithms
        rows = tuple((name, mask & allowed, key) for name, mask, key in one.rows if mask & allowed)
        return with_rows(gate, rows)

    # ---- fetching ----

    async def _keep(self, source: KeySource, one: _Set) -> None:
        again = AGAIN_S
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                rows = keys_in(await self._ask(source), source.url, public=True)
            except Exception as error:  # aiohttp has many; none may end the loop
                why = str(error) or type(error).__name__
                logs.warn("keys.failed", url=source.url, why=why, kept=len(one.rows))
                pause, again = again, min(2 * again, source.refresh_s)
            else:
                pause, again = source.refresh_s, AGAIN_S
                if rows != one.rows:
                    logs.say("keys.fetched", url=source.url, keys=len(rows))
                    one.rows = rows
                    self._changed()
                one.there.set()
            one.wanted.clear()
            await _either(one.wanted, pause)
            await asyncio.sleep(max(0.0, began + min(UNKNOWN_MIN_S, pause) - loop.time()))

    async def _look(self) -> None:
        """Tokens of keys that nobody knows: perhaps the sets have newer ones."""
        before = self._unknown()
        while True:
            await asyncio.sleep(UNKNOWN_LOOK_S)
            now = self._unknown()
            if now != before:
                for one in self._sets.values():
                    one.wanted.set()
            before = now


def _sources(plan: Plan) -> Iterator[KeySource]:
    gates: Iterable[GatePlan] = (
        gate for listener in plan.listeners for route in listener.routes for gate in route.gates
    )
    return (gate.fetched for gate in gates if gate.fetched is not None)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Until it is set, or the time is over."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
