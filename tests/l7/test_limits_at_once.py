"""Limits of requests at once, fixed and adaptive, and what counts them."""

from __future__ import annotations

import importlib.util
import random
import threading
from pathlib import Path

import pytest

from fourseven.balancing import gradient
from support.balancer import site
from support.front import Front, Stage
from support.recorder import Conversation, readable
from support.service import settled
from support.wire import WAIT_S, Message, Wire


def limited(stage: Stage, *filters, workers: int = 1) -> Front:
    server = stage.server()
    routes = [{"backend": "all", "filters": list(filters)}]
    return Front(server, stage.balancer(site(server.address, routes=routes), workers=workers))


def held(front: Front) -> threading.Event:
    """The server answers /hold only when the event is set."""
    go = threading.Event()

    def wait(conversation: Conversation, request: Message) -> None:
        conversation.hold(go)
        conversation.answer(b"held")

    front.server.scripts[b"/hold"] = wait
    return go


def ask(wire, target: str, *lines: str) -> None:
    more = "".join(f"{line}\r\n" for line in lines)
    wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode())


def answered(wires: list[Wire], count: int) -> list[Wire]:
    """Those that got something, once there are so many of them."""

    def with_bytes() -> list[Wire]:
        return [wire for wire in wires if readable(wire.socket)]

    assert settled(lambda: len(with_bytes()) >= count)
    return with_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_than_the_limit_at_once(stage: Stage, workers: int):
    front = limited(stage, {"concurrency": 3}, workers=workers)
    go = held(front)
    wires = [front.wire() for _ in range(8)]
    for wire in wires:
        ask(wire, "/hold")
    refused = answered(wires, 5)
    assert [wire.read().status for wire in refused] == [503] * 5
    front.server.wait(lambda: len(front.server.heads) == 3)
    go.set()
    assert [wire.read().status for wire in wires if wire not in refused] == [200] * 3
    counted = front.balancer.counters()["routes"]["web routes[0]"]
    assert counted["reasons"] == {"concurrency": 5}
    assert front.balancer.get("/hold").status == 200
    for wire in wires:
        wire.close()


def test_each_key_has_a_limit_of_its_own(stage: Stage):
    said = {"max": 1, "by": {"header": "X-Key"}, "status": 429}
    front = limited(stage, {"concurrency": said})
    go = held(front)
    first, second = front.wire(), front.wire()
    ask(first, "/hold", "X-Key: one")
    front.server.wait(lambda: len(front.server.heads) == 1)
    assert front.balancer.get("/", "X-Key: one").status == 429
    assert front.balancer.get("/", "X-Key: two").status == 200
    assert front.balancer.get("/").status == 200
    ask(second, "/hold", "X-Key: two")
    front.server.wait(lambda: len(front.server.heads) == 4)
    second.close()
    go.set()
    assert first.read().status == 200
    front.balancer.at_rest()
    for key in ("one", "two"):  # who has left counts no more
        assert front.balancer.get("/", f"X-Key: {key}").status == 200
    first.close()


def test_a_reload_forgets_nobody_who_is_inside(stage: Stage):
    front = limited(stage, {"concurrency": 1})
    go = held(front)
    with front.wire() as wire:
        ask(wire, "/hold")
        front.server.wait(lambda: len(front.server.heads) == 1)
        front.balancer.reload(front.balancer.config)
        assert front.balancer.get("/").status == 503
        go.set()
        assert wire.read().status == 200
    assert front.balancer.get("/").status == 200


# ---- adaptive ----


def interpreted():
    """The same file without the compiler."""
    path = Path(gradient.__file__).with_name("gradient.py")
    spec = importlib.util.spec_from_file_location("gradient_interpreted", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["compiled", "interpreted"])
def twin(request):
    return gradient if request.param == "compiled" else interpreted()


def settle(twin, capacity: float, windows: int, limit: float = 20.0, seed: int = 7) -> float:
    """A service that does `capacity` at once in 10 ms; who comes above that waits in its queue."""
    draw = random.Random(seed)
    long_ns = 0.0
    for window in range(windows):
        short_ns = 10e6 * max(1.0, limit / capacity) * draw.uniform(0.95, 1.05)
        long_ns = twin.long_latency(long_ns, short_ns, float(window), 1.5)
        limit = twin.next_limit(limit, short_ns, long_ns, limit, 1.5, 10.0, 1000.0)
    return limit


@pytest.mark.parametrize("capacity", [50.0, 200.0])
def test_the_limit_finds_what_the_service_bears(twin, capacity):
    limit = settle(twin, capacity, 400)
    assert capacity * 0.9 <= limit <= capacity * 2.2


def test_the_limit_shrinks_when_the_service_gets_slower(twin):
    long_ns, limit = 10e6, 100.0
    for window in range(50, 70):
        long_ns = twin.long_latency(long_ns, 40e6, float(window), 1.5)
        limit = twin.next_limit(limit, 40e6, long_ns, limit, 1.5, 10.0, 1000.0)
    assert limit < 25


def test_the_long_average_forgets_a_bad_time_quickly(twin):
    long_ns = 100e6
    for window in range(50, 100):
        long_ns = twin.long_latency(long_ns, 10e6, float(window), 1.5)
    assert long_ns < 25e6


def test_a_limit_that_is_not_used_up_does_not_grow(twin):
    assert twin.next_limit(100.0, 10e6, 10e6, 49.0, 1.5, 10.0, 1000.0) == 100.0
    assert twin.next_limit(100.0, 10e6, 10e6, 50.0, 1.5, 10.0, 1000.0) > 100.0


@pytest.mark.parametrize("short", [0.0, 1.0, 1e18])
def test_the_limit_stays_within_its_bounds(twin, short):
    limit = 20.0
    for _ in range(2000):
        limit = twin.next_limit(limit, short, 1e6, limit, 1.5, 10.0, 300.0)
        assert 10.0 <= limit <= 300.0


def test_adaptive_concurrency_holds_its_limit_and_lets_it_grow(stage: Stage):
    said = {"min": 2, "start": 2, "max": 50, "window": "20ms"}
    front = limited(stage, {"adaptive_concurrency": said})
    go = held(front)
    wires = [front.wire() for _ in range(4)]
    for wire in wires:
        ask(wire, "/hold")
    refused = answered(wires, 2)
    assert [wire.read().status for wire in refused] == [503] * 2
    front.server.wait(lambda: len(front.server.heads) == 2)
    go.set()
    for wire in wires:
        if wire not in refused:
            assert wire.read().status == 200
    counted = front.balancer.counters()["routes"]["web routes[0]"]
    assert counted["reasons"] == {"adaptive": 2}
    for _ in range(30):  # where the machine stands still, latencies grow and the limit shrinks
        load_two_at_once(front)
        if entered(front, wires, go) >= 3:  # it was 2
            break
    else:
        pytest.fail("the limit does not grow")
    for wire in wires:
        wire.close()


def load_two_at_once(front: Front) -> None:
    """Each request waits at the server until there is another."""
    ended: list[int] = []
    pair = threading.Barrier(2)

    def both(conversation: Conversation, request: Message) -> None:
        pair.wait(WAIT_S)
        conversation.answer(b"both")

    front.server.scripts[b"/x"] = both

    def load() -> None:
        with front.wire() as wire:
            for _ in range(150):
                ask(wire, "/x")
                ended.append(wire.read().status)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended.count(200) == len(ended) == 300


def entered(front: Front, wires: list[Wire], go: threading.Event) -> int:
    """How many of these are let in at once; the others are refused."""
    go.clear()
    begun = len(front.server.heads)
    for wire in wires:
        ask(wire, "/hold")

    def inside() -> int:
        return len(front.server.heads) - begun

    front.server.wait(lambda: inside() + sum(readable(w.socket) for w in wires) == len(wires))
    count = inside()
    go.set()
    assert sorted(wire.read().status for wire in wires) == [200] * count + [503] * (4 - count)
    return count
