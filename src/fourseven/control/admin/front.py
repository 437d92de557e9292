"""The admin API's place in an engine: its sockets, and the engine as the API sees it.

The engine tells it what is in force (`use`) and when to take nobody more (`close`). The sockets
come with those of the listeners, from the supervisor, under a name that no listener can have.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from pathlib import Path
from typing import Any, Protocol

from fourseven.control.admin.desk import Desk
from fourseven.control.admin.door import Door, Reception
from fourseven.control.admin.names import ADMIN
from fourseven.control.admin.subject import InForce
from fourseven.control.health import Key
from fourseven.control.servers import Seen, Servers
from fourseven.control.sockets import Want, bound
from fourseven.plan import Plan


class Inside(Protocol):
    """What the API asks of its engine."""

    servers: Servers

    def running(self) -> Plan: ...
    def counters(self) -> dict[str, Any]: ...
    def sources(self) -> list[dict[str, Any]]: ...


class Front:
    """One for each engine. It is the API's Subject."""

    def __init__(self, engine: Inside, socket_path: str) -> None:
        self._engine = engine
        self._path = socket_path  # empty: no unix socket
        self._desk = Desk(self)
        self._door = Door(self._open)
        self.in_force: InForce | None = None
        self.draining = False

    # ---- for the engine ----

    def wants(self, plan: Plan) -> list[Want]:
        """The API's sockets."""
        unix = [Want(ADMIN, f"unix:{self._path}")] if self._path else []
        return unix + [Want(ADMIN, bind) for bind in plan.admin.bind]

    def use(
        self, plan: Plan, read: tuple[bytes, str], fds: dict[str, list[int]], workers: int
    ) -> None:
        """Another file is in force, with these sockets, by Want.key."""
        addresses: dict[str, list[str]] = {}
        for listener in plan.listeners:
            for bind in listener.bind:
                found = fds.get(Want(listener.name, bind).key)
                addresses.setdefault(listener.name, []).append(
                    bound(bind, found[0]) if found else bind
                )
        there = {name: tuple(some) for name, some in addresses.items()}
        self.in_force = InForce(plan, *read, time.time(), there, workers)
        self._door.use({want.key: fds[want.key][0] for want in self.wants(plan)})

    def close(self) -> None:
        """Takes nobody more; who has asked gets an answer."""
        self.draining = True
        self._door.close()

    def busy(self) -> int:
        """Callers that a drain waits for."""
        return self._door.busy()

    async def _open(self, door: Door) -> Reception:
        # aiohttp is loaded by the first caller, beside control and not by it: half a second.
        server = await asyncio.to_thread(importlib.import_module, "fourseven.control.admin.server")
        opened: Reception = await server.reception(door, self._desk)
        return opened

    # ---- for the API ----

    def running(self) -> Plan:
        return self._engine.running()

    def counters(self) -> dict[str, Any]:
        return self._engine.counters()

    def seen(self) -> dict[Key, Seen]:
        return self._engine.servers.seen()

    def sources(self) -> list[dict[str, Any]]:
        return self._engine.sources()

    def words(self) -> list[Any]:
        return self._engine.servers.words()

    def operate(
        self, key: Key, said: str, deadline_s: float | None = None, keep: bool = True
    ) -> None:
        self._engine.servers.operate(key, said, deadline_s, keep)

    def weigh(self, key: Key, weight: int | None, keep: bool = True) -> None:
        self._engine.servers.weigh(key, weight, keep)

    def unsay(self, key: Key) -> None:
        self._engine.servers.unsay(key)

    def on_disk(self) -> bytes | None:
        assert self.in_force is not None
        try:
            return Path(self.in_force.file).read_bytes()
        except OSError:
            return None
