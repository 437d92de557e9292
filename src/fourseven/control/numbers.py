"""Stable small numbers for what outlives a snapshot: slots, backends, listeners.

A server that stays in the file keeps its slot over every reload, and with it the requests in
flight, the measured latency and the connections in the pools. So numbers are given by name, and
given to another only when nothing can still speak of the old one: no snapshot names it, and nothing
is in flight there. Control asks for that (`release`); here is only the book-keeping.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import Protocol

from fourseven.compiler.pack import states_of
from fourseven.compiler.pack_resilience import tables_of
from fourseven.plan import Plan, ServerPlan
from fourseven.snapshot.layout import BACKENDS_MAX, LISTENERS_MAX, ROUTES_MAX, SLOTS_MAX
from fourseven.snapshot.states import States
from fourseven.tls.contexts import Contexts


class Numbering:
    """Numbers from 0 below `limit`, one for each key; freed ones are used again."""

    def __init__(self, what: str, limit: int) -> None:
        self.what = what
        self.limit = limit
        self.taken: dict[Hashable, int] = {}
        self.free: list[int] = []

    def take(self, key: Hashable) -> int:
        """The key's number, a new one if it has none. ValueError when all are in use."""
        number = self.taken.get(key)
        if number is None:
            used = len(self.taken) + len(self.free)
            if not self.free and used >= self.limit:
                raise ValueError(f"more than {self.limit} {self.what} at once")
            number = self.free.pop() if self.free else used
            self.taken[key] = number
        return number

    def release(self, wanted: set[Hashable], idle: Callable[[int], bool]) -> list[int]:
        """Frees the numbers of keys that are not wanted and idle; says which."""
        gone = [key for key, n in self.taken.items() if key not in wanted and idle(n)]
        numbers = [self.taken.pop(key) for key in gone]
        self.free.extend(numbers)
        return numbers


class Idle(Protocol):
    """Whether nothing is in flight at a number any more."""

    def slot(self, number: int) -> bool: ...
    def backend(self, number: int) -> bool: ...
    def listener(self, number: int) -> bool: ...
    def route(self, number: int) -> bool: ...


class Numbers:
    """The numbers of one data plane."""

    def __init__(self) -> None:
        self.slots = Numbering("servers", SLOTS_MAX)
        self.backends = Numbering("backends", BACKENDS_MAX)
        self.listeners = Numbering("bound addresses", LISTENERS_MAX)
        self.states = Numbering("listeners", LISTENERS_MAX)
        self.routes = Numbering("routes", ROUTES_MAX)
        self.kept = States()  # what gates keep over snapshots, and who persists where
        self.contexts = Contexts()  # of TLS, from one snapshot to the next
        self.secrets: tuple[bytes, ...] = (os.urandom(32),)  # of cookies, where the file has none

    def slot(self, backend: str, server: ServerPlan) -> int:
        """A server is the same one while its backend and its address stay."""
        return self.slots.take((backend, server.address))

    def backend(self, name: str) -> int:
        """Of the backend's counters and turn."""
        return self.backends.take(name)

    def route(self, listener: str, name: str) -> int:
        """Of what is counted for it; routes of one name are counted together."""
        return self.routes.take((listener, name))

    def listener(self, name: str, bind: str, mode: int) -> int:
        """Of one socket; another mode is another plane, so another number."""
        return self.listeners.take((name, bind, mode))

    def listener_state(self, name: str) -> int:
        """Of what all sockets of a listener share: its connection limit."""
        return self.states.take(name)

    def release(self, plan: Plan, idle: Idle) -> list[int]:
        """Frees what the plan no longer names and nothing uses; the freed slots are returned.

        A socket's number stays taken while its listener has any session, for one of them may have
        come in by this very socket: it would find itself at whatever listener got the number next.
        """
        slots: set[Hashable] = {(b.name, s.address) for b in plan.backends for s in b.servers}
        backends: set[Hashable] = {b.name for b in plan.backends}
        names: set[Hashable] = {one.name for one in plan.listeners}
        sockets: set[Hashable] = {
            (one.name, bind, one.mode) for one in plan.listeners for bind in one.bind
        }
        quiet = {n for n in self.states.taken.values() if idle.listener(n)}
        self.listeners.release(
            sockets | {key for key in self.listeners.taken if self.state_of(key) not in quiet},
            lambda _: True,
        )
        routes: set[Hashable] = {(one.name, r.name) for one in plan.listeners for r in one.routes}
        self.routes.release(routes, idle.route)
        self.backends.release(backends, idle.backend)
        self.states.release(names, idle.listener)
        self.kept.release(
            {
                (key, gate.state_size)
                for one in plan.listeners
                for route in one.routes
                for key, gate in states_of(one.name, route)
            }
            | {found for backend in plan.backends for found in tables_of(backend)}
        )
        return self.slots.release(slots, idle.slot)

    def state_of(self, socket: Hashable) -> int:
        """The number of the ListenerState that this socket's listener has."""
        assert isinstance(socket, tuple)
        return self.states.taken[socket[0]]
