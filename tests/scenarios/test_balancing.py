"""Every balancing algorithm live: how requests spread over real servers, and who is left out."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from fourseven.registry import ALGORITHMS
from support.balancer import Balancer, site
from support.front import Stage
from support.nowhere import refused
from support.recorder import Conversation, Recorder
from support.wire import Message

OPTIONS = {"hash": {"header": "X-Key"}}  # what an algorithm must be told
CLIENTS = 64  # So many leave one of three servers out once in 10^10 times.
KEYS = sorted(algorithm.key for algorithm in ALGORITHMS)


def backend(
    stage: Stage, balance: Any, weights: tuple[int, ...] = (1, 1, 1), **more: Any
) -> Balancer:
    servers = [stage.server(f"s{number}") for number in range(len(weights))]
    config = site(**more)
    config["backends"]["all"] |= {
        "balance": balance,
        "servers": [
            {"address": server.address, "weight": weight}
            for server, weight in zip(servers, weights, strict=True)
        ],
    }
    return stage.balancer(config)


def named(key: str) -> Any:
    return {key: OPTIONS[key]} if key in OPTIONS else key


def spread(balancer: Balancer, requests: int, lines: str = "X-Key: {}") -> Counter[str]:
    """Who answered, over requests that differ in their key and come on one connection."""
    seen: Counter[str] = Counter()
    with balancer.wire() as wire:
        for number in range(requests):
            line = lines.format(number)
            wire.send(f"GET /{number} HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n".encode())
            seen[wire.read().body.decode()] += 1
    return seen


@pytest.mark.parametrize("key", KEYS)
def test_each_algorithm_serves(stage: Stage, key: str):
    """All requests are answered; by all servers, unless the client's address decides."""
    seen = spread(backend(stage, named(key)), 120)
    assert seen.total() == 120
    one_client = key in ("source_hash", "maglev")
    assert len(seen) == (1 if one_client else 3) or key == "peak_ewma", seen


@pytest.mark.parametrize("key", KEYS)
def test_each_algorithm_survives_a_dead_server(stage: Stage, key: str):
    alive = [stage.server(name) for name in ("s0", "s2")]
    with refused() as dead:
        config = site(alive[0].address, dead, alive[1].address)
        config["backends"]["all"]["balance"] = named(key)
        seen = spread(stage.balancer(config), 60)
    assert seen.total() == 60
    assert set(seen) <= {"s0", "s2"}


def test_round_robin_by_weight_is_exact_and_smooth(stage: Stage):
    balancer = backend(stage, "round_robin", (5, 1, 2))
    order = []
    with balancer.wire() as wire:
        for _ in range(16):
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            order.append(wire.read().body.decode())
    assert Counter(order) == {"s0": 10, "s1": 2, "s2": 4}
    assert "s0 s0 s0 s0" not in " ".join(order[:8])


def test_weight_zero_takes_nothing(stage: Stage):
    for key in ("round_robin", "least_requests", "random", "power_of_two"):
        seen = spread(backend(stage, key, (1, 0, 1)), 40)
        assert seen["s1"] == 0, key


def test_random_by_weight(stage: Stage):
    seen = spread(backend(stage, "random", (8, 1, 1)), 400)
    assert 260 < seen["s0"] < 370, seen  # 320 expected, the spread is 8


def busy(server: Recorder, go: threading.Event) -> None:
    def script(conversation: Conversation, request: Message) -> None:
        conversation.hold(go)
        conversation.answer(server.name.encode())

    server.on(b"/busy", script)


@pytest.mark.parametrize("workers", [1, 2])
def test_least_requests_sees_every_worker(stage: Stage, workers: int):
    """Exact over all workers: who has one request less gets the next, wherever it came in."""
    balancer = backend(stage, "least_requests", (1, 1, 1))
    if workers > 1:
        config = dict(balancer.config)
        balancer = stage.balancer(
            {**config, "listeners": {"web": listener(config)}}, workers=workers
        )
    go = threading.Event()
    for server in stage.servers:
        busy(server, go)
    wires = []
    try:
        for count in range(1, 10):
            wires.append(balancer.wire())
            wires[-1].send(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
            stage.servers[0].wait(
                lambda count=count: sum(len(server.heads) for server in stage.servers) == count
            )
        assert [len(server.heads) for server in stage.servers] == [3, 3, 3]
        go.set()
        assert all(wire.read().status == 200 for wire in wires)
    finally:
        go.set()
        for wire in wires:
            wire.close()


def listener(config: dict[str, Any]) -> dict[str, Any]:
    """The listener without its bind, so that it gets a port of its own."""
    return {key: value for key, value in config["listeners"]["web"].items() if key != "bind"}


def test_hash_of_a_header_keeps_to_its_server(stage: Stage):
    balancer = backend(stage, {"hash": {"header": "X-Key"}})
    first = {key: balancer.get("/", f"X-Key: {key}").body for key in range(CLIENTS)}
    assert len(set(first.values())) == 3
    for key in range(CLIENTS):
        assert balancer.get("/other", f"X-Key: {key}").body == first[key]


def test_source_hash_keeps_a_client_to_its_server(stage: Stage):
    balancer = backend(stage, "source_hash")
    first = {n: balancer.get("/", source=f"127.0.0.{n}").body for n in range(2, 2 + CLIENTS)}
    assert len(set(first.values())) == 3
    for n in range(2, 2 + CLIENTS):
        assert balancer.get("/x", source=f"127.0.0.{n}").body == first[n]


def test_backends_by_weight(stage: Stage):
    stable, canary = stage.server("stable"), stage.server("canary")
    config = {
        "listeners": {"web": {"protocol": "http", "routes": [{"backends": {"a": 90, "b": 10}}]}},
        "backends": {"a": {"servers": [stable.address]}, "b": {"servers": [canary.address]}},
    }
    seen = spread(stage.balancer(config), 400)
    assert 5 < seen["canary"] < 90, seen  # 40 expected; beyond once in 10^9 times
