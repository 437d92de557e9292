"""The file is loaded anew while requests wait, limits are used up and circuits are open.

What a reload changes counts at once, for those who wait as well; what belongs to a server or a
limit that is gone never comes back with its successor.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from scenarios.test_failures import GET
from scenarios.test_resilience import backend, counted, eventually, failing, silent
from support.balancer import Balancer, Config
from support.front import Stage


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """Set at the end of the test, so that no script is left behind."""
    event = threading.Event()
    yield event
    event.set()


def reload(balancer: Balancer, config: Config) -> None:
    listeners = {
        name: {**one, "bind": balancer.config["listeners"][name]["bind"]}
        for name, one in config["listeners"].items()
    }
    balancer.reload(config | {"listeners": listeners})


def test_who_waits_gets_the_new_server(stage: Stage, go: threading.Event):
    """A queue before a server that is full; then the file names a second one."""
    busy, free = stage.server("busy").on(b"/x", silent(go)), stage.server("free")
    place = {"address": busy.address, "max_in_flight": 1}
    queue = {"size": 10, "timeout": "60s"}
    balancer = stage.balancer(backend([place], queue=queue), workers=2)
    with balancer.wire() as first, balancer.wire() as second:
        first.send(GET)
        busy.wait(lambda: busy.heads)
        second.send(GET)
        eventually(lambda: counted(balancer, "waiting") == [1])
        reload(balancer, backend([place, free.address], queue=queue))
        assert second.read().body == b"free"
        with balancer.wire() as third:
            assert third.send(GET).read().body == b"free"


def test_a_circuit_is_not_inherited(stage: Stage):
    """The number of a server that is gone goes to another one, and not its circuit."""
    bad, good = stage.server("bad").on(b"", failing()), stage.server("good")
    breaker = {"requests": 2, "open": "5m"}
    balancer = stage.balancer(backend([bad.address], breaker=breaker, retries=0))
    assert [balancer.ask(GET).status for _ in range(3)] == [503] * 3
    assert len(bad.heads) == 2, "the circuit is open"
    other = stage.server("other")
    reload(balancer, backend([other.address]))
    eventually(lambda: balancer.order("reclaim") == 0)
    reload(balancer, backend([good.address], breaker=breaker, retries=0))
    assert balancer.ask(GET).body == b"good"


def limited(server: str, rate: Any) -> Config:
    config = backend([server])
    config["listeners"]["web"]["routes"] = [{"backend": "all", "filters": [{"rate_limit": rate}]}]
    return config


@pytest.mark.parametrize("by", [{}, {"by": "client"}])
def test_a_larger_rate_counts_at_once(stage: Stage, by: dict[str, str]):
    """An empty bucket of an hour's rate is no debt of an hour at a thousand a second."""
    server = stage.server("good")
    config = limited(server.address, {"rate": "1/h", "keys_max": 1000, **by} if by else "1/h")
    balancer = stage.balancer(config)
    assert [balancer.ask(GET).status for _ in range(2)] == [200, 429]
    rate = {"rate": "1000/s", **({"keys_max": 1000, **by} if by else {})}
    reload(balancer, limited(server.address, rate))
    eventually(lambda: balancer.ask(GET).status == 200)
