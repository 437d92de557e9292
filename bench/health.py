"""What health costs, and how soon it acts.

    health.py cost [SERVERS]    processor time of checks and of ejection; 10,000 servers if left out
    health.py death [ROUNDS]    from a server's death to its last request; 3 rounds if left out

Cost: a process of its own stands for all servers, each at its own address of 127.0.0.0/8. What is
counted is the processor time of the process that checks, for each check; the schedule, the sockets
and the judgement are in it. Ejection is measured with as many servers of a real data plane, all of
which had answers: what one second of looking takes.

Death: three servers of which one dies at a random moment under a steady load, in one of two ways:
it is gone (every connection is reset once it has said what it wants, so that requests can be told
from checks) or it hangs (it takes connections and says nothing).
The time of the last request or connection that it got is counted from its death, with active checks
alone, with ejection alone, and with both, at the defaults of the file. The hanging ones have a
response_timeout of 1 s: nothing else tells ejection of them.

Law: everything started here is stopped by its process id.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import random
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from array import array
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / place) for place in ("tests", "src")]
from fourseven.balancing.random import Random  # noqa: E402
from fourseven.control.dataplane import DataPlane  # noqa: E402
from fourseven.control.ejection import Ejection  # noqa: E402
from fourseven.control.health import Health  # noqa: E402
from fourseven.health.http import Http  # noqa: E402
from fourseven.health.tcp import Tcp  # noqa: E402
from fourseven.plan import BackendPlan, EjectionPlan, HealthPlan, Plan, ServerPlan  # noqa: E402
from support.service import Service  # noqa: E402

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
INTERVAL_S = 10
SECONDS = 15  # of which the first interval spreads the first checks
RESET = struct.pack("ii", 1, 0)
QUIET_S = 3.5  # without a request: none will come; beyond what three failed checks take
RATE = 300  # requests a second, in the tests of death


# ---- cost ----


def addresses(count: int, port: int) -> list[str]:
    return [f"127.{1 + at // 62500}.{at // 250 % 250}.{at % 250 + 1}:{port}" for at in range(count)]


def stand_for(count: int, ready) -> None:
    """All the servers: listens at every address, answers every request, closes."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    port = 0
    with selectors.DefaultSelector() as polled:
        for address in addresses(count, 0):
            host = address.partition(":")[0]
            made = socket.create_server((host, port), backlog=16)
            made.setblocking(False)
            port = port or made.getsockname()[1]
            polled.register(made, selectors.EVENT_READ, True)
        ready.send(port)
        while True:
            for key, _ in polled.select():
                with contextlib.suppress(OSError):
                    serve(polled, key.fileobj, key.data)


def serve(polled, sock, listens: bool) -> None:
    if listens:
        taken, _ = sock.accept()
        taken.setblocking(False)
        polled.register(taken, selectors.EVENT_READ, False)
        return
    try:
        if sock.recv(4096):
            sock.send(OK)
    finally:
        polled.unregister(sock)
        sock.close()


async def checked(check, servers: list[str]) -> tuple[int, float]:
    """How many checks were made, and the processor time that they took."""
    made, reasons = 0, Counter[str]()
    said = HealthPlan(check, interval_ms=INTERVAL_S * 1000, fast_interval_ms=INTERVAL_S * 1000)
    plans = tuple(map(ServerPlan, servers))
    health = Health(lambda _: None)
    took = health._took

    def counted(key, failure) -> None:
        nonlocal made
        made += 1
        reasons[failure] += 1
        took(key, failure)

    health._took = counted  # type: ignore[method-assign]
    health.use(Plan((), (BackendPlan("all", plans, "random", 0, health=said),)))
    await asyncio.sleep(INTERVAL_S / 2)
    before, cpu = made, time.process_time()
    await asyncio.sleep(SECONDS - INTERVAL_S / 2)
    found = made - before, time.process_time() - cpu
    health.stop()
    if bad := {why: count for why, count in reasons.items() if why}:
        print(f"         failed: {bad}")
    return found


class Busy:
    """A data plane's counters, as if every server had answered."""

    def __init__(self, plane: DataPlane) -> None:
        self.slots_of, self.failing, self.forgive = plane.slots_of, plane.failing, plane.forgive
        self.plane = plane

    def tally(self, slots, before, window, kept) -> None:
        self.plane.tally(slots, before, window, kept)
        window[:] = array("d", [1000.0, 3.0, 5e9] * len(slots))


async def ejecting(servers: list[str]) -> float:
    """Processor time of one second."""
    plans = tuple(map(ServerPlan, servers))
    picker = Random().lower([(one, 1) for one in servers])
    backend = BackendPlan(
        "all", plans, "random", picker.pick, picker.table, ejection=EjectionPlan(slow_times=5)
    )
    plane = DataPlane(1)
    plane.start()
    try:
        plan = Plan((), (backend,))
        plane.publish(plan, {})
        ejection = Ejection(lambda *_: None)
        ejection.use(plan, Busy(plane))  # type: ignore[arg-type]
        cpu = time.process_time()
        await asyncio.sleep(5)
        took = (time.process_time() - cpu) / 5
        ejection.stop()
    finally:
        plane.stop()
    return took


def cost(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=stand_for, args=(count, theirs))
    child.start()
    try:
        port = ours.recv()
        servers = addresses(count, port)
        print(f"{count} servers, each asked every {INTERVAL_S} s")
        for check in (Tcp(), Http(path="/healthz")):
            made, cpu_s = asyncio.run(checked(check, servers))
            share = cpu_s / (SECONDS - INTERVAL_S / 2)
            each_us = cpu_s / made * 1e6
            print(f"{check.key:<8} {made:6} checks  {each_us:6.0f} us each  {share:6.1%} of a core")
        share = asyncio.run(ejecting(servers))
        print(
            f"ejection {count:6} servers {share * 1e6 / count:6.2f} us each  {share:6.1%} of a core"
        )
    finally:
        child.kill()
        child.join()


# ---- death ----


class Mortal:
    """A server that can die, and remembers when it was last asked for anything."""

    def __init__(self) -> None:
        self.state = "well"
        self.asked = 0.0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.open: set[asyncio.StreamWriter] = set()

    def die(self, how: str) -> None:
        self.state = how
        if how == "gone":
            for writer in list(self.open):
                self.reset(writer)

    def reset(self, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            ended = OSError, asyncio.IncompleteReadError, asyncio.CancelledError
            with contextlib.suppress(*ended):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    if not head.startswith(b"GET /healthz"):
                        self.asked = time.monotonic()
                    if self.state == "gone":
                        self.reset(writer)
                        return
                    if self.state == "hangs":
                        await asyncio.sleep(3600)
                    writer.write(OK)
        finally:
            self.open.discard(writer)
            writer.close()


WAYS = {
    "active checks": {"health": {"http": "/healthz"}},
    "ejection": {"ejection": True},
    "both": {"health": {"http": "/healthz"}, "ejection": True},
}


async def load(port: int, failed: list[float]) -> None:
    """A steady rate, each request on a connection of its own."""
    running: set[asyncio.Task[None]] = set()
    while True:
        task = asyncio.create_task(one(port, failed))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(1 / RATE)


async def one(port: int, failed: list[float]) -> None:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    except OSError:
        answer = b""
    if not answer.startswith(b"HTTP/1.1 200"):
        failed.append(time.monotonic())


async def dies(how: str, way: str) -> tuple[float, int]:
    """Seconds from a death to the last request, and how many requests failed."""
    servers = [Mortal() for _ in range(3)]
    for server in servers:
        await server.start()
    backend = {"servers": [f"127.0.0.1:{server.port}" for server in servers], **WAYS[way]}
    if how == "hangs":
        backend["response_timeout"] = "1s"
    config = {
        "listeners": {"web": {"protocol": "http", "backend": "all"}},
        "backends": {"all": backend},
    }
    failed: list[float] = []
    service = await asyncio.to_thread(Service, config)
    loading = asyncio.create_task(load(service.address()[1], failed))
    try:
        await asyncio.sleep(2 + random.random() * 2)  # well, at any moment between checks
        victim = random.choice(servers)
        died = time.monotonic()
        victim.die(how)
        while time.monotonic() - max(victim.asked, died) < QUIET_S:
            await asyncio.sleep(0.05)
        return max(victim.asked - died, 0.0), len(failed)
    finally:
        loading.cancel()
        await asyncio.to_thread(service.__exit__, None, None, None)
        for server in servers:
            server.server.close()


def death(rounds: int) -> None:
    print(f"{RATE} requests a second, three servers, {rounds} deaths each; seconds to the last one")
    print(f"{'':<6} {'':<14} {'median':>7} {'longest':>8} {'failed requests a death':>24}")
    for how in ("gone", "hangs"):
        for way in WAYS:
            seen = [asyncio.run(dies(how, way)) for _ in range(rounds)]
            found = sorted(last_s for last_s, _ in seen)
            failed = sum(count for _, count in seen) / rounds
            middle = found[len(found) // 2]
            print(f"{how:<6} {way:<14} {middle:7.2f} {found[-1]:8.2f} {failed:24.1f}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    what, *more = sys.argv[1:] or ["cost"]
    {"cost": cost, "death": death}[what](int((more or [{"cost": 10_000, "death": 3}[what]])[0]))
