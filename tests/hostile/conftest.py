"""One balancer and one recording server for all hostile vectors, and the checks after each.

A vector that crashes the balancer fails by itself; the next one gets a new balancer.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.balancer import Balancer
from support.front import Front, config
from support.recorder import Recorder


@pytest.fixture(scope="session")
def shared() -> Iterator[dict[str, Front]]:
    fronts: dict[str, Front] = {}
    yield fronts
    for front in fronts.values():
        front.balancer.stop()
        front.server.stop()


@pytest.fixture
def front(shared: dict[str, Front]) -> Iterator[Front]:
    if "front" not in shared:
        server = Recorder("server")
        try:
            shared["front"] = Front(server, Balancer(config(server)))
        except BaseException:
            server.stop()
            raise
    now = shared["front"]
    now.server.scripts.clear()
    now.server.forget()
    try:
        yield now
        now.balancer.verify_alive()
        now.server.settle()
        assert not now.server.faults, "the server could not read what it got"
    finally:
        if not now.balancer.alive() or now.server.faults:
            del shared["front"]
            now.balancer.stop()
            now.server.stop()
