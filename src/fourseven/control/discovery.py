"""Discovery at work: sources are looked at, and what they find becomes part of the plan.

    discovery.follow(plan)      its sources are looked at from now on, beside those there are
    await discovery.ready(plan, limit_s)
    plan = discovery.found(plan)
    discovery.use(plan)         only its sources

Every source has a task of its own: it looks, waits as long as the look said, and looks again. A
look that fails is repeated ever later, and what the source had found stays in force. `changed` is
called when a set is another one; the engine publishes the plan anew, once for all changes within a
moment. The set is compared by address: a server that stays keeps its slot, its connections, its
counters and its health.

A server of the file that has a host name in place of an address is a source too (discovery.name).

Laws: one thread. No failure of a source stops anything else, or takes a server away.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fourseven.addresses import is_host_name
from fourseven.compiler.anew import with_servers
from fourseven.control import logs
from fourseven.discovery.found import Found, Look, Unfound
from fourseven.discovery.name import Name
from fourseven.features import Source
from fourseven.plan import BackendPlan, Plan, ServerPlan

RETRY_FIRST_S, RETRY_MAX_S = 1.0, 30.0
TIER_MAX = 7
JITTER = 0.1  # of a wait: balancers that started together do not ask together

Place = tuple[Source, str]  # a source and the folder that its paths are relative to


@dataclass(slots=True)
class Following:
    """One source."""

    backend: str  # the first that has it, for the log
    task: asyncio.Task[None] | None = None
    servers: tuple[Found, ...] | None = None  # None: nothing was found so far
    failure: str = ""  # of the last look
    looked: asyncio.Event = field(default_factory=asyncio.Event)


class Discovery:
    """All sources of one engine."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._following: dict[Place, Following] = {}

    def follow(self, plan: Plan) -> None:
        """Looks at the sources of this plan too."""
        for backend in plan.backends:
            for source, folder, _ in _sources(backend):
                if (source, folder) not in self._following:
                    one = self._following[source, folder] = Following(backend.name)
                    one.task = asyncio.create_task(self._follow(source, folder, one))

    def use(self, plan: Plan | None) -> None:
        """Only the sources of this plan are looked at from now on."""
        wanted = {
            (source, folder)
            for backend in (plan.backends if plan is not None else ())
            for source, folder, _ in _sources(backend)
        }
        for place in self._following.keys() - wanted:
            task = self._following.pop(place).task
            if task is not None:
                task.cancel()

    def pending(self, plan: Plan) -> bool:
        """Is there a source in this plan that was not looked at yet?"""
        return any(not one.looked.is_set() for one in self._of(plan))

    async def ready(self, plan: Plan, limit_s: float) -> None:
        """Every source of the plan was looked at once, or the time is over."""
        waits = [one.looked.wait() for one in self._of(plan)]
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.gather(*waits)
        except TimeoutError:
            pass

    def found(self, plan: Plan) -> Plan:
        """The plan with the servers that its sources have found."""
        backends = tuple(self._found(backend) for backend in plan.backends)
        alike = all(one is other for one, other in zip(backends, plan.backends, strict=True))
        return plan if alike else replace(plan, backends=backends)

    def problems(self, plan: Plan) -> list[str]:
        """A line for each source of the plan that could not be looked at."""
        return [
            f"backends.{backend.name}: {source.words()}: {why}; it is tried again"
            for backend in plan.backends
            for source, folder, _ in _sources(backend)
            if (why := self._why_not(source, folder))
        ]

    def seen(self) -> list[dict[str, Any]]:
        """Every source, for people."""
        return [
            {
                "backend": one.backend,
                "source": source.words(),
                "servers": len(one.servers or ()),
                "failure": one.failure,
            }
            for (source, _), one in self._following.items()
        ]

    # ---- plans ----

    def _of(self, plan: Plan) -> list[Following]:
        places = ((s, folder) for backend in plan.backends for s, folder, _ in _sources(backend))
        return [self._following[place] for place in places if place in self._following]

    def _why_not(self, source: Source, folder: str) -> str:
        one = self._following.get((source, folder))
        if one is None or (one.servers is not None and not one.failure):
            return ""
        return one.failure or "no answer yet"

    def _found(self, backend: BackendPlan) -> BackendPlan:
        """The backend with its servers in the order of the file, each address once."""
        if not any(True for _ in _sources(backend)):
            return backend
        servers: dict[str, ServerPlan] = {}
        for server in backend.servers:
            source = named(server)
            for one in (server,) if source is None else self._servers(source, "", server):
                servers.setdefault(one.address, one)
        for said in backend.sources:
            for one in self._servers(said.source, said.folder, said.server):
                servers.setdefault(one.address, one)
        return with_servers(backend, tuple(servers.values()))

    def _servers(self, source: Source, folder: str, model: ServerPlan) -> Iterator[ServerPlan]:
        following = self._following.get((source, folder))
        for one in (following.servers or ()) if following is not None else ():
            yield replace(
                model,
                address=one.address,
                weight=model.weight if one.weight is None else one.weight,
                max_in_flight=(
                    model.max_in_flight if one.max_in_flight is None else one.max_in_flight
                ),
                tier=min(model.tier + one.rank, TIER_MAX),
                zone=one.zone or model.zone,
                name=one.name,
                known_as=one.known_as,
            )

    # ---- a source ----

    async def _follow(self, source: Source, folder: str, one: Following) -> None:
        """Looks again and again."""
        retry_s, again_s, stamp = RETRY_FIRST_S, 0.0, None
        while True:
            try:
                if stamp is None or source.stamp(Path(folder)) != stamp:
                    look = await source.look(Path(folder))
                    stamp, again_s = look.stamp, self._took(source, one, look)
                retry_s = RETRY_FIRST_S
            except Exception as error:  # whatever it is: this source alone has it
                said = str(error) if isinstance(error, Unfound) else f"a fault: {error!r}"
                self._failed(source, one, said)
                again_s, stamp, retry_s = retry_s, None, min(2 * retry_s, RETRY_MAX_S)
            one.looked.set()
            await asyncio.sleep(again_s * (1 + JITTER * (2 * random.random() - 1)))

    def _took(self, source: Source, one: Following, look: Look) -> float:
        """What a look has found; how long until the next."""
        if look.partly and one.servers is not None:
            raise Unfound(look.partly)  # the set that is there was whole
        servers = look.servers
        if source.single:
            before = set(one.servers or ())
            servers = (next((each for each in servers if each in before), servers[0]),)
        one.failure = look.partly
        if one.servers is None or set(servers) != set(one.servers):
            logs.say(
                "discovery.found",
                backend=one.backend,
                source=source.words(),
                servers=len(servers),
                new=len(set(servers) - set(one.servers or ())),
                gone=len(set(one.servers or ()) - set(servers)),
            )
            one.servers = servers
            self._changed()
        return look.again_s

    def _failed(self, source: Source, one: Following, why: str) -> None:
        if why != one.failure:
            kept = len(one.servers or ())
            words = source.words()
            logs.warn("discovery.failed", backend=one.backend, source=words, why=why, kept=kept)
        one.failure = why


def named(server: ServerPlan) -> Name | None:
    """The source that a server with a host name is; None where it has an address."""
    host, _, port = server.address.rpartition(":")
    if not host or host.startswith(("[", "unix:")) or host.replace(".", "").isdecimal():
        return None
    return Name(host=host, port=int(port)) if is_host_name(host) else None


def _sources(backend: BackendPlan) -> Iterator[tuple[Source, str, ServerPlan]]:
    """Every source of a backend, with its folder and what its servers are like."""
    for server in backend.servers:
        source = named(server)
        if source is not None:
            yield source, "", server
    for said in backend.sources:
        yield said.source, said.folder, said.server
