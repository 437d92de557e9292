"""A backend as a whole: its circuit, its limits, and the fallback of a route.

What must hold over all workers is asked with several.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from scenarios.test_failures import GET, POST, nowhere  # noqa: F401 (a fixture)
from scenarios.test_resilience import (
    Gauge,
    backend,
    counted,
    eventually,
    failing,
    reasons,
    refused_and_probed,
    silent,
    storm,
)
from support.balancer import Config
from support.front import Stage


@pytest.fixture
def go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def falling_back(servers: list[Any], spare: str, **more: Any) -> Config:
    config = backend(servers, **more)
    config["listeners"]["web"]["routes"][0]["fallback"] = "spare"
    config["backends"]["spare"] = {"servers": [spare]}
    return config


def test_a_circuit_of_the_whole(stage: Stage):
    """Errors of all servers count together; open, nobody goes to any of them; then one finds out."""
    servers = [stage.server(name).on(b"", failing()) for name in ("one", "two")]
    breaker = {"of": "backend", "errors": "50%", "requests": 6, "open": "150ms"}
    config = backend([one.address for one in servers], breaker=breaker, retries=0)
    balancer = stage.balancer(config, workers=2)
    assert [balancer.ask(GET).get("x-from") for _ in range(6)] == [b"the failed one"] * 6
    probes = refused_and_probed(balancer)
    assert sum(len(one.heads) for one in servers) == 6 + probes
    for server in servers:
        server.on(b"", failing(b"200 OK"))
    eventually(lambda: balancer.ask(GET).status == 200)
    assert [balancer.ask(GET).status for _ in range(6)] == [200] * 6
    opened, refusals, of_servers = counted(
        balancer, "backend_circuit_opened", "backend_circuit_refused", "circuits_opened"
    )
    assert (opened, of_servers) == (1 + probes, 0)
    balancer.at_rest()
    assert reasons(balancer) == {"backend_circuit": refusals}
    assert balancer.counters()["backends"]["all"]["circuit_open"] == 0


def test_who_finds_out_and_leaves(stage: Stage, go: threading.Event):
    """A probe whose client hangs up gives its turn to the next one."""
    server = stage.server().on(b"", failing())
    breaker = {"of": "both", "requests": 1, "open": "50ms"}
    balancer = stage.balancer(backend([server.address], breaker=breaker, retries=0))
    assert balancer.ask(GET).status == 503
    server.on(b"", silent(go))
    with balancer.wire() as wire:
        until = len(server.heads)
        while len(server.heads) == until:  # the circuit is still open for a moment
            wire.send(GET)
            if not wire.quiet(0.05):
                assert wire.read().status == 503
        assert balancer.ask(GET).status == 503, "another one is finding out"
        wire.reset()
    server.on(b"", failing(b"200 OK"))
    eventually(lambda: balancer.ask(GET).status == 200)


@pytest.mark.parametrize("workers", [2, 4])
def test_connections_to_all_servers(stage: Stage, workers: int):
    """Never more than the limit over all servers and workers, and everybody is served."""
    gauge = Gauge(0.003)
    servers = [stage.server(name).on(b"", gauge.script) for name in ("one", "two", "three")]
    config = backend(
        [one.address for one in servers],
        limits={"connections": 5},
        queue={"size": 100, "timeout": "60s"},
    )
    balancer = stage.balancer(config, workers=workers)
    assert set(storm(balancer, 16, 8)) == {200}
    assert gauge.most <= 5
    for server in servers:
        server.settle()
    talking = [one for server in servers for one in server.conversations]
    assert len([one for one in talking if not one.finished.is_set()]) <= 5
    balancer.at_rest()
    assert counted(balancer, "queue_timeouts") == [0]


def test_a_limit_of_connections_without_a_queue(stage: Stage, go: threading.Event):
    server = stage.server().on(b"/x", silent(go))
    balancer = stage.balancer(backend([server.address], limits={"connections": 1}))
    with balancer.wire() as wire:
        wire.send(GET)
        server.wait(lambda: server.heads)
        assert balancer.ask(GET).status == 503
        eventually(lambda: reasons(balancer) == {"backend_connections": 1})
        go.set()
        assert wire.read().status == 200
    assert balancer.ask(GET).status == 200


def test_a_fallback(stage: Stage, nowhere: str, go: threading.Event):  # noqa: F811
    """A backend without servers, with an open circuit, or full: another one serves, and the client
    is told nothing."""
    first, spare = stage.server("first"), stage.server("spare")
    balancer = stage.balancer(falling_back([first.address], spare.address))
    listeners = {"listeners": balancer.config["listeners"]}
    assert balancer.ask(POST).body == b"first"
    balancer.order("order", "all", first.address, False, False)
    assert [balancer.ask(one).body for one in (GET, POST, GET)] == [b"spare"] * 3
    assert counted(balancer, "fallbacks") == [3]
    balancer.order("order", "all", first.address, True, True)

    balancer.reload(falling_back([nowhere], spare.address) | listeners)
    assert [balancer.ask(one).body for one in (GET, POST)] == [b"spare"] * 2
    balancer.reload(falling_back([nowhere], spare.address, retries=0) | listeners)
    assert balancer.ask(POST).body == b"spare", "nothing was sent, so it may go elsewhere"

    first.on(b"", failing())
    breaker = {"of": "backend", "requests": 1, "open": "1m"}
    config = falling_back([first.address], spare.address, breaker=breaker, retries=0)
    balancer.reload(config | listeners)
    assert [balancer.ask(GET).status for _ in range(3)] == [503, 200, 200]

    first.on(b"", silent(go))
    config = falling_back(
        [{"address": first.address, "max_in_flight": 1}],
        spare.address,
        queue={"size": 1, "timeout": "50ms"},
    )
    balancer.reload(config | listeners)
    with balancer.wire() as wire:
        seen = len(first.heads)
        wire.send(GET)
        first.wait(lambda: len(first.heads) > seen)
        assert balancer.ask(POST).body == b"spare", "it has waited, and then fallen back"
        go.set()
        assert wire.read().body == b"late"
    balancer.at_rest()
    assert counted(balancer, "fallbacks") == [9]
    assert reasons(balancer) == {}


def test_a_fallback_that_cannot_serve_either(stage: Stage, nowhere: str):  # noqa: F811
    balancer = stage.balancer(falling_back([nowhere], nowhere))
    with balancer.wire() as wire:
        for _ in range(3):
            assert wire.send(GET).read().status in (502, 503)
    assert counted(balancer, "fallbacks") == [3]
