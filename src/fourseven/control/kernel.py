"""The kernel planes of one engine: opened, given their part of each plan, looked after, let go.

    planes = KernelPlanes(name, log)       nothing is touched yet
    planes.publish(plan, down)             adopts what a predecessor left; all planes or none
    planes.usable(down, cut, tenths)       servers without new work, whose flows end, who start
    planes.drain(); planes.busy()          a stop
    planes.close(remove)                   remove=False: the kernel goes on without us

A plane is opened when a listener needs it, and closed when none does and its last flow has ended.
What a predecessor left and no listener needs is removed at the first publish.

Interfaces and addresses of this host come and go; the kernel tells (netlink), and a wildcard bind
then means others. Nothing is asked in between, so at rest this costs nothing but the planes' own
ageing of flows.

Laws: one thread (control). A plan that one plane refuses leaves every plane as it was. Failures
after a publish are logged and tried again; they never stop the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any

from fourseven.control import logs
from fourseven.control.fitting import eased, fitted
from fourseven.control.health import Key
from fourseven.control.remains import OPENERS, REMOVERS, Opener, Remover
from fourseven.errors import FoursevenError
from fourseven.l4 import host, netlink, pins
from fourseven.l4.abilities import ABILITIES
from fourseven.l4.kernel_plan import KernelPlan, end, kernel_plan
from fourseven.l4.kernel_plane import Home, KernelPlane, PlaneCounts
from fourseven.plan import Plan

FORBIDDEN = (errno.EPERM, errno.EACCES)
ROUTES_S = 1.0  # between two questions about routes; the data path itself asks as often
SETTLE_S = 0.1  # an interface that comes up is several messages
EMPTY_LOOK_S = 10.0  # how often a plane that no listener needs is asked whether its flows ended


class KernelPlanes:
    """What this engine has in the kernel."""

    def __init__(
        self,
        name: str,
        openers: dict[str, Opener] | None = None,
        removers: dict[str, Remover] | None = None,
    ) -> None:
        self._name = name
        self._openers = OPENERS if openers is None else openers
        self._removers = REMOVERS if removers is None else removers
        self._loop = asyncio.get_running_loop()
        self._home: Home | None = None  # None: nothing was needed so far
        self._planes: dict[str, KernelPlane] = {}
        self._plan: Plan | None = None
        self._down: frozenset[Key] = frozenset()
        self._cuts: frozenset[Key] = frozenset()
        self._tenths: dict[Key, int] = {}  # of the weight, of those that start slowly
        self._own: tuple[int, ...] = ()
        self._watch: socket.socket | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._complaints: dict[str, list[str]] = {}
        self._left: dict[str, list[str]] = {}  # servers that a plane cannot have

    # ---- plans ----

    def publish(self, plan: Plan, down: set[Key]) -> None:
        """Puts the kernel's part of a plan in force; FoursevenError: all is as it was."""
        wanted = {one.plane for one in plan.listeners} & ABILITIES.keys()
        first = self._plan is None
        if not wanted and not self._planes and not first:
            self._plan = plan
            return
        if wanted and self._home is None:
            self._settle_in()
        before, self._own = self._own, own_addresses() if wanted else ()
        opened: list[str] = []
        try:
            with contextlib.ExitStack() as undo:
                for name in sorted(wanted - self._planes.keys()):
                    self._planes[name] = self._open(name)
                    opened.append(name)
                for name in sorted(self._planes):
                    self._planes[name].apply(self._part(plan, name, down))
                    undo.callback(self._revert, name)
                undo.pop_all()
        except BaseException:
            self._own = before
            for name in opened:  # of one that was adopted, a predecessor may be in force
                one = self._planes.pop(name)
                one.close(remove=not one.adopted)
            raise
        self._plan, self._down = plan, frozenset(down)
        if first:
            self._sweep_up(wanted)
        if self._planes:
            self._follow()
            self._stand()
            for name in self._planes:
                self._tick(name)

    def usable(
        self, down: set[Key], cut: Collection[Key] = (), tenths: Mapping[Key, int] | None = None
    ) -> None:
        """Other servers may not have new work: they leave the tables, their flows go on, but for
        those of the servers in `cut`, once each time that one comes to be there. `tenths`: of
        their weight, for those that start slowly."""
        if self._plan is None:
            return
        new, self._cuts = frozenset(cut) - self._cuts, frozenset(cut)
        before = self._down, self._tenths
        self._down, self._tenths = frozenset(down), dict(tenths or {})
        if before != (self._down, self._tenths):
            for name in self._planes:
                self._again(name)
        for key in new:
            self._cut(key)

    def in_flight(self, keys: Collection[Key]) -> dict[Key, int]:
        """Flows at these servers, as far as kernel planes serve them."""
        sums: dict[Key, int] = {}
        wanted = {(key[0], found): key for key in keys if (found := end(key[1])) is not None}
        for one in self._planes.values() if wanted else ():
            with contextlib.suppress(FoursevenError, OSError):
                servers = one.counters().servers
                for server, key in wanted.items():
                    if server in servers:
                        sums[key] = sums.get(key, 0) + servers[server].flows_active
        return sums

    def _cut(self, key: Key) -> None:
        """Ends the flows of a server: their clients connect anew, elsewhere."""
        server = end(key[1])
        if server is None:  # a name or a path: no kernel plane serves it
            return
        for name, one in self._planes.items():
            try:
                if flows := one.cut((key[0], server)):
                    logs.say("kernel.cut", plane=name, backend=key[0], server=key[1], flows=flows)
            except (FoursevenError, OSError) as error:
                logs.warn("kernel.cut", plane=name, why=str(error))

    def _part(self, plan: Plan, name: str, down: set[Key] | frozenset[Key]) -> KernelPlan:
        fit, left = fitted(plan, name, self._own)
        if left and left != self._left.get(name):
            many = "" if len(left) == 1 else f" (and {len(left) - 1} more)"
            logs.warn("kernel.left_out", plane=name, why=left[0] + many)
        self._left[name] = left
        return kernel_plan(eased(fit, self._tenths), name, self._own, down)

    def _revert(self, name: str) -> None:
        """Back to the plan before; it was in force, so nothing refuses it."""
        if self._plan is not None:
            with contextlib.suppress(FoursevenError):
                self._planes[name].apply(self._part(self._plan, name, self._down))

    def _again(self, name: str) -> None:
        assert self._plan is not None
        try:
            self._planes[name].apply(self._part(self._plan, name, self._down))
        except FoursevenError as error:
            logs.fail("kernel.refused", plane=name, why=str(error))

    def _open(self, name: str) -> KernelPlane:
        assert self._home is not None
        return self._openers[name](self._home)

    def _settle_in(self) -> None:
        """Where the planes keep what outlives us."""
        try:
            self._home = Home(self._name, pins.take(self._name))
        except OSError as error:
            self._home = Home(self._name)
            logs.warn("kernel.no_pins", why=error.strerror, so="flows end with the engine")

    def _sweep_up(self, wanted: set[str]) -> None:
        """Removes what a predecessor left and nobody needs."""
        home = self._home or Home(self._name, pins.found(self._name))
        for name, remove in self._removers.items():
            if name in wanted:
                continue
            try:
                if remove(home):
                    logs.say("kernel.removed", plane=name, why="no listener needs it any more")
            except (FoursevenError, OSError) as error:
                if getattr(error, "errno", 0) in FORBIDDEN:
                    continue  # nor has anybody like us left anything there
                logs.warn("kernel.left", plane=name, why=str(error))
        if self._home is None and home.pins is not None:
            pins.leave(home.pins)
        with contextlib.suppress(OSError):  # what is not ours to remove was looked at, no more
            if many := pins.sweep():
                logs.say("kernel.removed", homes=many, why="their network namespaces are gone")

    # ---- the host ----

    def _follow(self) -> None:
        if self._watch is None:
            self._watch = netlink.watch()
            self._loop.add_reader(self._watch, self._moved)

    def _moved(self) -> None:
        """Something of interfaces, addresses or routes changed: look once it has settled."""
        assert self._watch is not None
        routes = True
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    routes = netlink.only_routes(self._watch.recv(1 << 16)) and routes
                except OSError as error:  # more came than fits: that is news enough
                    if isinstance(error, BlockingIOError):
                        raise
                    routes = False
        if not routes:
            self._later("host", SETTLE_S, self._look_around)
        elif "ways" not in self._timers:  # a router's may change all the time
            self._later("ways", ROUTES_S, self._look_at_ways)

    def _look_around(self) -> None:
        self._own = own_addresses()
        self._ask_ways()
        for name in self._planes:
            self._again(name)
        self._stand()

    def _look_at_ways(self) -> None:
        self._timers.pop("ways", None)
        for name in self._ask_ways():
            self._again(name)

    def _ask_ways(self) -> list[str]:
        """The planes that must have their plan again, since ways to servers begin elsewhere."""
        found = []
        for name, one in self._planes.items():
            try:
                if one.moved():
                    found.append(name)
            except (FoursevenError, OSError) as error:
                logs.warn("kernel.ways", plane=name, why=str(error))
        return found

    def _stand(self) -> None:
        assert self._plan is not None
        chosen = list(self._plan.kernel.interfaces) or [
            one.name for one in host.standing(netlink.links())
        ]
        for name, one in self._planes.items():
            try:
                problems = one.stand(chosen)
            except (FoursevenError, OSError) as error:
                problems = [str(error)]
            if problems != self._complaints.get(name, []):
                for problem in problems:
                    logs.warn("kernel.interface", plane=name, why=problem)
            self._complaints[name] = problems

    # ---- time ----

    def _tick(self, name: str) -> None:
        one = self._planes.get(name)
        if one is None:
            return
        try:
            again_s = one.tick()
        except (FoursevenError, OSError) as error:
            logs.warn("kernel.tick", plane=name, why=str(error))
            again_s = EMPTY_LOOK_S
        if self._is_idle(name):
            self._drop(name)
            return
        self._later(f"tick {name}", again_s, self._tick, name)

    def _is_idle(self, name: str) -> bool:
        assert self._plan is not None
        if any(one.plane == name for one in self._plan.listeners):
            return False
        with contextlib.suppress(FoursevenError, OSError):
            return self._planes[name].busy() == 0
        return False

    def _drop(self, name: str) -> None:
        """Its last flow has ended, and no listener needs it."""
        self._planes.pop(name).close(remove=True)
        logs.say("kernel.removed", plane=name, why="no listener needs it any more")

    def _later(self, key: str, delay_s: float, what: Callable[..., None], *about: Any) -> None:
        if (before := self._timers.pop(key, None)) is not None:
            before.cancel()
        self._timers[key] = self._loop.call_later(delay_s, what, *about)

    # ---- seeing ----

    def counters(self) -> dict[str, PlaneCounts]:
        """What each plane has counted."""
        return {name: one.counters() for name, one in self._planes.items()}

    # ---- the end ----

    def drain(self) -> None:
        """No new flows; what is there goes on."""
        for name, one in self._planes.items():
            try:
                one.drain()
            except (FoursevenError, OSError) as error:
                logs.warn("kernel.drain", plane=name, why=str(error))

    def busy(self) -> int:
        return sum(one.busy() for one in self._planes.values())

    def close(self, remove: bool) -> None:
        """Lets go of all; remove: nothing of ours stays in the kernel. The second time, nothing."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._watch is not None:
            self._loop.remove_reader(self._watch)
            self._watch.close()
            self._watch = None
        for name, one in self._planes.items():
            try:
                one.close(remove)
            except (FoursevenError, OSError) as error:
                logs.fail("kernel.left", plane=name, why=str(error))
        self._planes.clear()
        if remove and self._home is not None and self._home.pins is not None:
            pins.leave(self._home.pins)
        self._home = None


def own_addresses() -> tuple[int, ...]:
    """What a wildcard bind stands for just now."""
    return tuple(host.own())


def merged(counted: dict[str, Any], planes: dict[str, PlaneCounts]) -> dict[str, Any]:
    """The workers' counters with those of the kernel planes: a row each for listeners and servers.

    Bytes add up over both; what only the kernel knows (packets, flows by their end, drops) has
    names of its own.
    """
    listeners = {name: dict(row) for name, row in counted["listeners"].items()}
    servers = {key: dict(row) for key, row in counted["servers"].items()}
    for counts in planes.values():
        for name, one in counts.listeners.items():
            row = listeners.setdefault(name, {})
            _add(row, asdict(one))
        for (backend, server), count in counts.servers.items():
            row = servers.setdefault((backend, str(server)), {})
            said = asdict(count)
            _add(row, {SERVER_NAMES.get(name, name): value for name, value in said.items()})
    kernel = {name: counts.drops for name, counts in planes.items()}
    return {**counted, "listeners": listeners, "servers": servers, "kernel": kernel}


# A server's row counts bytes to and from it; a listener's, in and out.
SERVER_NAMES = {
    "bytes_in": "bytes_to",
    "bytes_out": "bytes_from",
    "packets_in": "packets_to",
    "packets_out": "packets_from",
}


def _add(row: dict[str, Any], counted: dict[str, Any]) -> None:
    for name, value in counted.items():
        if isinstance(value, dict):
            _add(row.setdefault(name, {}), value)
        else:
            row[name] = row.get(name, 0) + value
