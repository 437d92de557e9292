"""The admin API over a made-up engine: any plan, any names, and traffic that was never served.

For pictures and for the dashboard's tests: what a page shows does not depend on how it was counted.
The book of servers is the real one, so that what an operator says is seen; the counters grow with
time, each at its own rate, and wave a little.
"""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
import zlib
from dataclasses import replace
from typing import Any

import yaml

from fourseven.compiler.anew import as_they_stand
from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.control.admin.desk import Desk
from fourseven.control.admin.door import Door
from fourseven.control.admin.server import reception
from fourseven.control.admin.subject import InForce
from fourseven.control.health import Key
from fourseven.control.servers import Seen, Servers
from fourseven.observe.latency import BOUNDS_S
from fourseven.plan import Plan

TOKEN = "a-token-for-the-dashboard"
CLASSES = len(BOUNDS_S) + 1


class Silent:
    """Nobody is told."""

    def tell(self, changed: Any) -> None: ...
    def reweigh(self) -> None: ...
    def keep(self, words: Any) -> None: ...
    def in_flight(self, keys: set[Key]) -> dict[Key, int]:
        return dict.fromkeys(keys, 0)


class MadeUp:
    """A Subject. `rates`: requests a second of (listener, route); `troubles`: (state, why)."""

    draining = False

    def __init__(
        self,
        config: dict[str, Any],
        rates: dict[tuple[str, str], float] | None = None,
        troubles: dict[Key, tuple[str, str]] | None = None,
    ) -> None:
        raw = yaml.safe_dump({"admin": {"token": TOKEN}, **config}, sort_keys=False).encode()
        self.plan = compile_plan(loads(raw, "/etc/fourseven/fourseven.yaml"))
        self.rates, self.troubles = rates or {}, troubles or {}
        self.circuits: set[Key] = set()  # those that are open
        self.began = time.monotonic() - 4000
        addresses = {one.name: one.bind for one in self.plan.listeners}
        since = time.time() - 7260
        self.in_force = InForce(
            self.plan, raw, "/etc/fourseven/fourseven.yaml", since, addresses, 2
        )
        self.servers = Servers(Silent())
        self.servers.use(
            replace(self.plan, backends=tuple(replace(b, health=None) for b in self.plan.backends))
        )

    # ---- what was said ----

    def running(self) -> Plan:
        out = {key for key, one in self.seen().items() if not one.usable}
        return as_they_stand(self.plan, out)

    def seen(self) -> dict[Key, Seen]:
        found = self.servers.seen()
        for key, (state, why) in self.troubles.items():
            if found[key].word == "enable":
                found[key] = found[key]._replace(
                    state=state, why=why, usable=state in ("up", "starting"),
                    share=400 if state == "starting" else 1000,
                    since=time.time() - 260, checked_at=time.time() - 1, check_ms=1.2, check=why,
                )  # fmt: skip
        return found

    def sources(self) -> list[dict[str, Any]]:
        names = {one.name for one in self.plan.backends}
        if "tools" not in names:
            return []
        return [
            {
                "backend": "tools",
                "source": "dns tools.internal",
                "servers": 1,
                "failure": "SERVFAIL",
            }
        ]

    def words(self) -> list[Any]:
        return self.servers.words()

    def operate(
        self, key: Key, said: str, deadline_s: float | None = None, keep: bool = True
    ) -> None:
        self.servers.operate(key, said, deadline_s, keep)

    def weigh(self, key: Key, weight: int | None, keep: bool = True) -> None:
        self.servers.weigh(key, weight, keep)

    def unsay(self, key: Key) -> None:
        self.servers.unsay(key)

    def on_disk(self) -> bytes | None:
        return self.in_force.raw

    # ---- what was counted ----

    def counters(self) -> dict[str, Any]:
        seen = self.seen()
        listeners: dict[str, Any] = {}
        routes: dict[Key, Any] = {}
        led: dict[str, float] = {}
        for at, listener in enumerate(self.plan.listeners):
            total = 0.0
            for number, route in enumerate(listener.routes):
                count = self._count(self.rates.get((listener.name, route.name), 0), at * 7 + number)
                total += count
                routes[listener.name, route.name] = requests(
                    count, 0.002 * (1 + number % 5), 0.004 if number % 4 == 1 else 0
                )
                weights = sum(weight for _, weight in route.backends)
                for name, weight in route.backends:
                    led[name] = led.get(name, 0) + count * weight / max(weights, 1)
            listeners[listener.name] = listener_row(int(total), listener.layer == "L7", at)
        servers: dict[Key, Any] = {}
        backends: dict[str, Any] = {}
        for backend in self.plan.backends:
            keys = [(backend.name, one.address) for one in backend.servers]
            taking = [key for key in keys if seen[key].usable and seen[key].weight] or keys[:1]
            total = led.get(backend.name, 0)
            backends[backend.name] = requests(total, 0.003, 0) | {
                "requests": int(total),
                "retries": int(total / 900),
                "pick_failed": 0,
                "queued": int(total / 400),
            }
            shares = {key: 0.6 + 0.8 * (like(key) % 97) / 97 for key in taking}
            for key in keys:
                count = total * shares.get(key, 0) / sum(shares.values())
                servers[key] = server_row(count, key, key in shares)
                servers[key]["circuit_open"] = int(key in self.circuits)
        workers = {"accepted": 1, "faults": {}, "accepted_by_worker": [1, 1]}
        return {
            "workers": workers,
            "listeners": listeners,
            "routes": routes,
            "backends": backends,
            "servers": servers,
            "kernel": {},
        }

    def _count(self, rate: float, at: int) -> float:
        """Requests so far: the integral of a rate that waves."""
        s = time.monotonic() - self.began
        return rate * (s + 0.9 * math.sin(s / (1.1 + at % 3)) + 4 * math.sin(s / 17 + at))


def requests(count: float, typical_s: float, failing: float) -> dict[str, Any]:
    whole, failed = int(count), int(count * failing)
    latencies = [0] * CLASSES
    middle = next(at for at, bound in enumerate(BOUNDS_S) if bound >= typical_s)
    for step, share in (
        (-2, 0.15),
        (-1, 0.25),
        (0, 0.3),
        (1, 0.18),
        (2, 0.08),
        (5, 0.03),
        (9, 0.01),
    ):
        latencies[min(middle + step, CLASSES - 1)] += int(whole * share)
    return {
        "begun": whole, "ended": whole, "bytes_in": whole * 420, "bytes_out": whole * 9000,
        "status": [0, 0, whole - failed - whole // 50, 0, whole // 50, failed],
        "latency_ns": int(whole * typical_s * 1e9), "latencies": latencies,
        "reasons": {"connect": failed} if failed else {},
    }  # fmt: skip


def listener_row(count: int, http: bool, at: int) -> dict[str, Any]:
    row = {
        "accepted": count // 20 if http else count, "refused_limit": 0, "requests": count if http else 0,
        "bytes_in": count * 420, "bytes_out": count * 9000, "flows": 0, "sessions": 40 + 25 * at,
        "status": [0, 0, int(count * 0.978), 0, count // 50, int(count * 0.001)],
    }  # fmt: skip
    if not http:
        row |= {"status": [0] * 6, "bytes_out": count * 70_000}
    return row


def like(key: Key) -> int:
    """A number that is always the same for it."""
    return zlib.crc32(" ".join(key).encode())


def server_row(count: float, key: Key, usable: bool) -> dict[str, Any]:
    whole = int(count)
    return {
        "requests": whole, "connects": whole // 40, "connect_errors": 0 if usable else 31, "timeouts": 0,
        "resets": 0, "bad_answers": 0, "bytes_to": whole * 420, "bytes_from": whole * 9000,
        "status": [0, 0, whole, 0, 0, 0], "in_flight": like(key) % 9 if usable and whole else 0,
        "latency_ns": whole * (1_200_000 + like(key) % 5_000_000),
        "ewma_ns": 1_200_000 + like(key) % 5_000_000 if usable else 0,
    }  # fmt: skip


class Hall:
    """The API of a made-up engine at an address, in a thread: `with Hall(...) as hall: hall.url`."""

    def __init__(self, *about: Any) -> None:
        self.about = about
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.subject: MadeUp | None = None
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        self.subject = MadeUp(*self.about)
        desk = Desk(self.subject)
        door = Door(lambda door: reception(door, desk))
        door.use({"address": self.listening.fileno()})
        self._ready.set()
        await self._end.wait()
        door.close()
        self.subject.servers.stop()

    def __enter__(self) -> Hall:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()
        self.listening.close()
