"""The engine's control thread: turns files into plans and plans into what the workers serve.

    python -m fourseven.control.engine --channel FD

One asyncio loop, started by the supervisor and led by its messages (child.py lists them). A file
comes as bytes; it is checked and compiled; the sockets it needs are asked for; the data plane gets
plan and sockets in one step. Nothing is half in force: until `publish` returns, the old plan is.

Laws: the data plane is touched by this thread alone. A worker that fails takes the process down:
the supervisor has the next one up within a second, on the same sockets, which beats a limping one.
A descriptor that a plan has lost is closed only after every worker must have let go of it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from array import array
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Any, Protocol

from fourseven.compiler.anew import as_they_stand, with_weights
from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.config.warnings import warnings_of
from fourseven.control import logs
from fourseven.control.access_log import Log, Target
from fourseven.control.admin.front import Front
from fourseven.control.certificates import Watch
from fourseven.control.channel import Channel, Message
from fourseven.control.discovery import Discovery
from fourseven.control.ejection import Ejection
from fourseven.control.fitting import TENTHS
from fourseven.control.health import Key
from fourseven.control.host import facts_for
from fourseven.control.kernel import KernelPlanes, merged
from fourseven.control.key_sets import KeySets
from fourseven.control.load import Loads
from fourseven.control.servers import Servers
from fourseven.control.sockets import Want
from fourseven.control.spans import Exporter, Reader
from fourseven.control.stapling import Stapling
from fourseven.errors import ConfigErrors, FoursevenError
from fourseven.health.standing import WHOLE, Order
from fourseven.plan import GatePlan, ListenerPlan, OutwardPlan, Plan, TlsPlan
from fourseven.snapshot.layout import WORKERS_MAX, ListenerMode

FATAL = 70  # EX_SOFTWARE
RECLAIM_S = 0.1  # a retired snapshot waits for a turn of each worker, mostly milliseconds
# A worker is woken by each publish and lets go in that turn. A turn is far below a millisecond;
# even on a machine that is short of cores, a woken thread runs within this.
LET_GO_S = 2.0
DRAIN_LOOK_S = 0.05
REPUBLISH_S = 0.1  # changes of weights and servers within this are published together
FOUND_S = 3.0  # servers that are to be found before a file is in force; longer, it is without them
CERTIFICATES_LOOK_S = 2.0  # one stat for each file: nothing; a renewal is in force soon after
TICKET_KEY_S = 4 * 3600.0  # as long as a ticket lives (tls/site); two older keys are accepted
DEFER_ACCEPT_S = (
    1  # the kernel hands a connection over when its first bytes are there, or after this
)


class Plane(Protocol):
    """What control asks of the data plane (dataplane.DataPlane)."""

    fatal_fd: int

    @property
    def log(self) -> Log: ...
    @property
    def spans(self) -> Reader: ...
    def start(self) -> None: ...
    def publish(self, plan: Plan, fds: dict[str, list[int]], out: Set[Key]) -> None: ...
    def order(self, backend: str, address: str, order: Order) -> None: ...
    def in_flight(self, backend: str, address: str) -> int: ...
    def slots_of(self, backend: str, addresses: tuple[str, ...]) -> array[int]: ...
    def failing(self, slots: array[int], in_a_row: int) -> list[int]: ...
    def forgive(self, slot: int) -> None: ...
    def tally(
        self, slots: array[int], before: array[int], window: array[float], kept: float
    ) -> None: ...
    def loads(self, slots: array[int], expires_ms: int) -> list[float | None]: ...
    def use_secret(self, secret: bytes) -> None: ...
    def reclaim(self) -> int: ...
    def rotate_tickets(self) -> None: ...
    def drain(self) -> None: ...
    def busy(self) -> int: ...
    def fatal(self) -> int: ...
    def counters(self) -> dict[str, Any]: ...
    def unknown_keys(self) -> int: ...
    def stop(self) -> None: ...


def plan_of(raw: bytes, file: str) -> Plan:
    """The plan of a file, with its warnings. ConfigErrors says all that is wrong."""
    config = loads(raw, file)
    plan = compile_plan(config, facts_for(config))
    return replace(plan, warnings=tuple(str(problem) for problem in warnings_of(config, plan)))


class Engine:
    """One process's control half."""

    def __init__(
        self,
        sock: socket.socket,
        new_plane: Callable[[int], Plane],
        read_plan: Callable[[bytes, str], Plan] = plan_of,
        home: str = "alone",
        admin: str = "",
    ) -> None:
        self._new_plane = new_plane
        self._kernel = KernelPlanes(home)
        self._plan: Plan | None = None  # in force, as the file has it
        self._read_plan = read_plan
        self._loop = asyncio.get_running_loop()
        self._channel = Channel(sock, self._received, self._orphaned)
        self._plane: Plane | None = None
        self._workers = 0
        self._secret = b""  # of cookies, where the file has none: the supervisor's
        self._fds: dict[str, list[int]] = {}  # by Want.key; open while a plan in force needs them
        self._loading: tuple[int, Plan] | None = None
        self._read: tuple[bytes, str] = (b"", "")  # the file of the last load, and its name
        self._certificates: tuple[Plan, bytes, str, Watch] | None = None  # of what is in force
        self.servers = Servers(self)
        self._front = Front(self, admin)
        self._discovery = Discovery(self.reweigh)
        self._finding: asyncio.Task[None] | None = None
        self._log = Target()
        self._spans = Exporter()
        self._ejection = Ejection(self.servers.eject)
        self._loads = Loads(self.servers.burden)
        self._stapling = Stapling(self.reweigh)
        self._keys = KeySets(self.reweigh, self._unknown_keys)
        self._out: set[Key] = set()  # servers without new work
        self._cut: set[Key] = set()  # those whose flows end
        self._tenths: dict[Key, int] = {}  # of their weight, of those that start slowly
        self._republishing = False
        self._deadline_ms = 30_000
        self._told: dict[str, dict[str, Any]] = {}  # what the log knows of each listener
        self._reclaiming = False
        self._draining = False
        self._done = asyncio.Event()

    async def run(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(signum, self._drain, None)
        self._loop.add_signal_handler(signal.SIGHUP, lambda: None)  # the supervisor's business
        await self._done.wait()
        self._channel.close()

    # ---- messages ----

    def _received(self, message: Message, fds: list[int]) -> None:
        try:
            match message["type"]:
                case "load":
                    self._load(message)
                case "opened":
                    self._opened(message, fds)
                case "drain":
                    self._drain(message["deadline_ms"], keep=message["keep"])
                case "reopen" if self._plane is not None:
                    self._log.reopen(self._plane.log)
                case "ping":
                    self._channel.send({"type": "pong"})
        except Exception as error:  # a fault of ours: the old plan stays, and somebody must know
            logs.LOG.exception("engine.fault")
            self._refuse("fault", [f"a fault in fourseven: {error!r} (see the log)"])

    def _load(self, message: Message) -> None:
        self._loading = None
        identity = message["id"]
        try:
            if self._plan is None:
                self.servers.recall(message.get("words", ()))
                self._secret = bytes.fromhex(message.get("secret", ""))
            self._read = message["content"].encode("latin-1"), message["file"]
            plan = self._read_plan(*self._read)
        except ConfigErrors as errors:
            self._refuse("config", [str(problem) for problem in errors.problems], identity)
            return
        self._loading = (identity, plan)
        self._workers = self._workers or worker_count(plan.workers)
        self._discovery.follow(plan)
        self._keys.follow(plan)
        if self._discovery.pending(plan) or self._keys.pending(plan):
            self._finding = self._loop.create_task(self._find(identity, plan))
        else:
            self._ask(identity, plan)

    async def _find(self, identity: int, plan: Plan) -> None:
        """A file comes into force with what it lets us find and fetch, if that comes soon."""
        await asyncio.gather(self._discovery.ready(plan, FOUND_S), self._keys.ready(plan, FOUND_S))
        if self._loading == (identity, plan):
            self._ask(identity, plan)

    def _ask(self, identity: int, plan: Plan) -> None:
        """For the sockets."""
        asked = wants_of(plan, self._workers) + self._front.wants(plan)
        wants = [[want.listener, want.bind, want.copies] for want in asked]
        self._channel.send({"type": "open", "id": identity, "wants": wants})

    def _opened(self, message: Message, fds: list[int]) -> None:
        fresh: dict[str, list[int]] = {}
        for key, count in message["shares"]:
            fresh[key], fds = fds[:count], fds[count:]
        if self._loading is None or self._loading[0] != message["id"] or self._draining:
            _close(fresh)
            return
        if message["problems"]:
            self._refuse("sockets", message["problems"])
            return
        began = time.monotonic()
        words = self.servers.words()
        passed = self.servers.forget_passing() if self._plan is not None else []
        try:
            self._publish(self._loading[1], fresh)
        except (FoursevenError, ValueError, OSError, MemoryError) as error:
            _close(fresh)
            self.servers.recall(words)
            self._refuse("plane", [f"the data plane refuses the file: {error}"])
            return
        self._loaded(round((time.monotonic() - began) * 1000), passed)

    def _loaded(self, took_ms: int, passed: Sequence[Key]) -> None:
        assert self._loading is not None
        identity, plan = self._loading
        self._loading = None
        files = [file for tls in _secured(plan) for file in tls.files]
        self._certificates = (plan, *self._read, Watch(files)) if files else None
        self._deadline_ms = plan.shutdown_timeout_ms
        self._front.use(plan, self._read, self._fds, self._workers)
        problems = list(plan.warnings)
        if plan.workers and plan.workers != self._workers:
            problems.append(f"workers: {plan.workers} takes effect with `fourseven upgrade`")
        problems += self._discovery.problems(plan)
        problems += [f"{key[1]} of {key[0]} is as the file has it again" for key in passed]
        told = {listener.name: _told(listener) for listener in plan.listeners}
        for name, fields in told.items():
            if self._told.get(name) != fields:
                logs.say("listener", **fields)
        self._told = told
        logs.say("engine.ready", pid=os.getpid(), workers=self._workers, publish_ms=took_ms)
        self._channel.send(
            {
                "type": "loaded",
                "id": identity,
                "problems": problems,
                "shutdown_timeout_ms": self._deadline_ms,
            }
        )

    def _refuse(self, kind: str, problems: list[str], identity: int = 0) -> None:
        if self._loading is not None:
            identity = self._loading[0]
            self._loading = None
        self._discovery.use(self._plan)
        self._keys.use(self._plan)
        self._channel.send({"type": "refused", "id": identity, "kind": kind, "problems": problems})

    def _orphaned(self) -> None:
        """The supervisor is gone. Nobody could reload or stop us: finish what runs, and go.

        Its successor wants the sockets while we still finish; in any other drain the supervisor
        sees to them.
        """
        logs.fail("engine.orphaned", pid=os.getpid())
        self._drain(None)
        self._loop.call_later(LET_GO_S, self._let_go)

    # ---- the data plane ----

    def _publish(self, plan: Plan, fresh: dict[str, list[int]]) -> None:
        """Puts the plan in force with the sockets that it needs."""
        if self._plane is None:
            self._plane = self._new_plane(self._workers)
            if self._secret:
                self._plane.use_secret(self._secret)
            self._loop.add_reader(self._plane.fatal_fd, self._fatal)
            self._plane.start()
            self._loop.call_later(CERTIFICATES_LOOK_S, self._look_at_certificates)
            self._loop.call_later(TICKET_KEY_S, self._rotate_tickets)
        found = self._discovery.found(plan)
        weighed = with_weights(found, self.servers.weights)
        out = self.servers.out(found)
        self._kernel.publish(weighed, out)
        log_fd = -1
        try:
            log_fd = self._log.open(plan.access_log)
            ready = self._keys.keyed(self._stapling.stapled(weighed))
            self._publish_workers(heard(ready), fresh, out)
        except BaseException:
            if self._plan is not None:
                before = with_weights(self._discovery.found(self._plan), self.servers.weights)
                self._kernel.publish(before, self.servers.out(before))
            if log_fd >= 0:
                os.close(log_fd)
            raise
        self._plan = plan
        self._log.use(self._plane.log, plan.access_log, log_fd)
        self._spans.use(plan.tracing, self._plane.spans)
        self._discovery.use(plan)
        self._stapling.use(plan)
        self._keys.use(plan)
        self.servers.use(found)
        self._ejection.use(found, self._plane)
        self._loads.use(found, self._plane)
        self._out, self._cut, self._tenths = set(), set(), {}
        self.tell(self.servers.orders)  # to each: a slot may remember an earlier life

    def _publish_workers(self, plan: Plan, fresh: dict[str, list[int]], out: Set[Key]) -> None:
        assert self._plane is not None
        there = self._fds | fresh
        wants = wants_of(plan, self._workers)
        kept = {want.key: there[want.key] for want in [*wants, *self._front.wants(plan)]}
        by_listener: dict[str, list[int]] = {}
        for want in wants:
            by_listener.setdefault(want.listener, []).extend(kept[want.key])
        first = {one.name: speaks_first(one) for one in plan.listeners}
        waiting = {want.key: first[want.listener] for want in wants}
        # A protocol in which the server speaks first must not wait for the client: off before,
        # on after.
        defer_accept(kept, [key for key, client in waiting.items() if not client], 0)
        self._plane.publish(plan, by_listener, out)
        defer_accept(kept, [key for key, client in waiting.items() if client], DEFER_ACCEPT_S)
        lost = {key: fds for key, fds in there.items() if key not in kept}
        self._fds = kept
        if lost:
            self._loop.call_later(LET_GO_S, self._close, lost)
        if not self._reclaiming:
            self._reclaim()

    # ---- the servers (control.servers.Outlet) ----

    def tell(self, changed: dict[Key, Order]) -> None:
        """The data planes hear what these servers may do."""
        assert self._plane is not None
        for key, order in changed.items():
            self._plane.order(*key, order)
            (self._out.discard if order.usable else self._out.add)(key)
            (self._cut.add if order.cut else self._cut.discard)(key)
            self._tenths.pop(key, None)
            if order.share < WHOLE:
                self._tenths[key] = max(1, order.share * TENTHS // WHOLE)
        self._kernel.usable(self._out, self._cut, self._tenths)

    def reweigh(self) -> None:
        """Other weights, servers or staples: the plan is published anew, once for all of them."""
        if not self._republishing:
            self._republishing = True
            self._loop.call_later(REPUBLISH_S, self._republish)

    def keep(self, words: list[Any]) -> None:
        """The supervisor keeps the operator's words for the next engine."""
        self._channel.send({"type": "words", "words": words})

    def in_flight(self, keys: set[Key]) -> dict[Key, int]:
        """Requests, connections and flows at these servers."""
        assert self._plane is not None
        workers = {key: self._plane.in_flight(*key) for key in keys}
        kernel = self._kernel.in_flight(keys)
        return {key: count + kernel.get(key, 0) for key, count in workers.items()}

    def _republish(self) -> None:
        self._republishing = False
        if self._plan is None or self._draining:
            return
        try:
            self._publish(self._plan, {})
        except (FoursevenError, ValueError, OSError, MemoryError) as error:
            logs.fail("servers.kept", why=f"the data plane refuses the change: {error}")

    def _reclaim(self) -> None:
        """Frees old snapshots; comes again while some are still in use."""
        assert self._plane is not None
        self._reclaiming = self._plane.reclaim() > 0
        if self._reclaiming:
            self._loop.call_later(RECLAIM_S, self._reclaim)

    def _close(self, lost: dict[str, list[int]]) -> None:
        """Closes sockets that every worker has let go of."""
        if self._plane is not None:
            self._plane.reclaim()  # sees the workers' last turns: they are done with the socket
        _close(lost)

    def _look_at_certificates(self) -> None:
        """Renewed certificates come into force; wrong ones leave the old ones there."""
        if self._draining:
            return
        self._loop.call_later(CERTIFICATES_LOOK_S, self._look_at_certificates)
        if self._certificates is None or self._loading is not None:
            return
        before, raw, file, watch = self._certificates
        if not watch.changed():
            return
        try:
            plan = self._read_plan(raw, file)
            if _secured(plan) != _secured(before):
                self._publish(with_tls_of(before, plan), {})
                self._certificates = (plan, raw, file, watch)
                logs.say("certificates.renewed", file=file)
                for problem in sorted(set(plan.warnings) - set(before.warnings)):
                    logs.warn("certificates.doubtful", problem=problem)
        except ConfigErrors as errors:
            why = "; ".join(str(problem) for problem in errors.problems)
            logs.warn("certificates.kept", file=file, why=why)
        except (FoursevenError, ValueError, OSError, MemoryError) as error:
            logs.warn("certificates.kept", file=file, why=str(error))

    def _rotate_tickets(self) -> None:
        assert self._plane is not None
        if not self._draining:
            self._plane.rotate_tickets()
            self._loop.call_later(TICKET_KEY_S, self._rotate_tickets)

    def _fatal(self) -> None:
        error = self._plane.fatal() if self._plane is not None else 0
        logs.fail("worker.failed", pid=os.getpid(), error=os.strerror(error))
        os._exit(FATAL)  # the other workers may be in any state: the kernel cleans up

    # ---- the end ----

    def counters(self) -> dict[str, Any]:
        """What the workers and the kernel planes have counted, as DataPlane.counters() has it."""
        counted: dict[str, Any] = {"workers": {}, "listeners": {}, "servers": {}}
        if self._plane is not None:
            counted = self._plane.counters()
        return merged(counted, self._kernel.counters())

    def running(self) -> Plan:
        """The plan as it is served now: with the servers that were found, and other weights; those
        that get no new work are taken out."""
        assert self._plan is not None
        plan = with_weights(self._discovery.found(self._plan), self.servers.weights)
        return as_they_stand(plan, self.servers.out(plan))

    def _unknown_keys(self) -> int:
        """Tokens of keys that no set holds, of all workers."""
        return self._plane.unknown_keys() if self._plane is not None else 0

    def sources(self) -> list[dict[str, Any]]:
        """Where servers are found, for people."""
        return self._discovery.seen()

    def _drain(self, deadline_ms: int | None, keep: bool = True) -> None:
        """Takes no new connection, and ends when the last one has, or at the deadline.

        keep: the kernel planes go on, and another engine has them or will.
        """
        if self._draining:
            return
        self._draining = True
        self._front.close()
        self._stapling.close()
        self._keys.use(None)
        if keep:
            self._kernel.close(remove=False)
        else:
            self._kernel.drain()
        limit_ms = self._deadline_ms if deadline_ms is None else deadline_ms
        if self._plane is not None:
            self._plane.drain()
        self._channel.send({"type": "draining"})
        self._look(self._loop.time() + limit_ms / 1000)

    def _let_go(self) -> None:
        """Others may listen there now. But flows of UDP still answer from their listener's socket;
        were it closed, its number would soon be another socket's, and that would get the answers.
        """
        answering = {key: fds for key, fds in self._fds.items() if key.startswith("udp:")}
        self._close({key: fds for key, fds in self._fds.items() if key not in answering})
        self._fds = answering

    def _look(self, deadline: float) -> None:
        busy = (self._plane.busy() if self._plane is not None else 0) + self._kernel.busy()
        if (busy or self._front.busy()) and self._loop.time() < deadline:
            self._loop.call_later(DRAIN_LOOK_S, self._look, deadline)
            return
        if busy:
            logs.warn("drain.cut", connections=busy)
        self._discovery.use(None)
        self._ejection.stop()
        self._loads.stop()
        self.servers.stop()
        self._kernel.close(remove=True)
        if self._plane is not None:
            self._loop.remove_reader(self._plane.fatal_fd)
            self._spans.stop()
            self._plane.stop()
        logs.say("engine.drained", pid=os.getpid())
        self._done.set()


def heard(plan: Plan) -> Plan:
    """The plan as the workers have it: without binds that have no socket here."""
    listeners = []
    for one in plan.listeners:
        bind = tuple(bind for bind in one.bind if bind not in one.unheard)
        if bind or not one.unheard:
            listeners.append(replace(one, bind=bind))
    return replace(plan, listeners=tuple(listeners))


def wants_of(plan: Plan, workers: int) -> list[Want]:
    """Every socket that a plan needs, in the order of its listeners and their binds."""
    return [
        Want(listener.name, bind, workers if bind.startswith("udp:") else 1)
        for listener in plan.listeners
        if listener.mode != ListenerMode.MODE_NONE
        for bind in listener.bind
        if bind not in listener.unheard
    ]


def _secured(plan: Plan) -> list[TlsPlan | OutwardPlan | GatePlan]:
    """Every plan that was made from files: certificates, users, keys."""
    listeners = [one.tls for one in plan.listeners if one.tls is not None]
    routes = (route for listener in plan.listeners for route in listener.routes)
    gates = [gate for route in routes for gate in route.gates if gate.files]
    return [*listeners, *(one.tls for one in plan.backends if one.tls is not None), *gates]


def with_tls_of(plan: Plan, renewed: Plan) -> Plan:
    """The plan with the certificates of another one that was made of the same file."""
    there = {one.name: one.tls for one in renewed.backends}
    backends = tuple(replace(one, tls=there.get(one.name, one.tls)) for one in plan.backends)
    return replace(plan, listeners=renewed.listeners, backends=backends)


def speaks_first(listener: ListenerPlan) -> bool:
    """Whether nothing happens before the client has spoken."""
    return listener.mode == ListenerMode.MODE_HTTP or listener.hello or bool(listener.proxies)


def worker_count(asked: int) -> int:
    """0 is one worker for each core that we may use."""
    return min(asked or len(os.sched_getaffinity(0)), WORKERS_MAX)


def defer_accept(fds: dict[str, list[int]], keys: Sequence[str], seconds: int) -> None:
    """TCP_DEFER_ACCEPT on the TCP sockets among these."""
    for key in keys:
        if key.startswith("tcp:"):
            with socket.socket(fileno=os.dup(fds[key][0])) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, seconds)


def _told(listener: ListenerPlan) -> dict[str, Any]:
    told = {
        "name": listener.name,
        "bind": ",".join(listener.bind),
        "layer": listener.layer,
        "plane": listener.plane,
        "because": listener.because,
    }
    return told | ({"refused": "; ".join(listener.refused)} if listener.refused else {})


def _close(fds: dict[str, list[int]]) -> None:
    for some in fds.values():
        for fd in some:
            os.close(fd)


def main(arguments: Sequence[str] | None = None) -> None:
    # The workers are native: loaded here, so that this module can be read and tested without them.
    from fourseven.control.dataplane import DataPlane

    parser = argparse.ArgumentParser(description="Started by `fourseven run`.")
    parser.add_argument("--home", default="alone", help="By which kernel planes know us.")
    parser.add_argument("--admin", default="", help="Where the admin API listens.")
    parser.add_argument("--channel", type=int, required=True)
    said = parser.parse_args(arguments)
    channel = socket.socket(fileno=said.channel)
    channel.set_inheritable(False)
    logs.set_up()

    async def serve() -> None:
        await Engine(channel, DataPlane, home=said.home, admin=said.admin).run()

    asyncio.run(serve())


if __name__ == "__main__":
    main(sys.argv[1:])
