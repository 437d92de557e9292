"""One balancer and one recording server for all hostile vectors, and the checks after each.

A vector that crashes the balancer fails by itself; the next one gets a new balancer.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.balancer import Balancer, Config, site
from support.front import Front
from support.recorder import Recorder


@pytest.fixture(scope="session")
def shared() -> Iterator[dict[str, Front]]:
    fronts: dict[str, Front] = {}
    yield fronts
    for front in fronts.values():
        front.balancer.stop()
        front.server.stop()


def with_admin_denied(config: Config) -> Config:
    """The configuration with a rule in front that denies /admin."""
    denied = {"match": {"path": "/admin"}, "filters": [{"respond": 403}]}
    config["listeners"]["web"]["routes"].insert(0, denied)
    return config


def with_http2(config: Config) -> Config:
    """The configuration with HTTP/2 for clients that know it beforehand."""
    config["listeners"]["web"]["http_versions"] = [1.1, 2]
    return config


CONFIGS = {"front": lambda config: config, "guarded": with_admin_denied, "both": with_http2}


@pytest.fixture
def front(shared: dict[str, Front]) -> Iterator[Front]:
    """The default configuration."""
    yield from lend(shared, "front")


@pytest.fixture
def guarded(shared: dict[str, Front]) -> Iterator[Front]:
    """The same with /admin denied."""
    yield from lend(shared, "guarded")


@pytest.fixture
def both(shared: dict[str, Front]) -> Iterator[Front]:
    """The same with HTTP/2."""
    yield from lend(shared, "both")


def lend(shared: dict[str, Front], name: str) -> Iterator[Front]:
    if name not in shared:
        server = Recorder("server")
        try:
            shared[name] = Front(server, Balancer(CONFIGS[name](site(server.address))))
        except BaseException:
            server.stop()
            raise
    now = shared[name]
    now.server.scripts.clear()
    now.server.forget()
    try:
        yield now
        now.balancer.verify_alive()
        now.server.settle()
        assert not now.server.faults, "the server could not read what it got"
    finally:
        if not now.balancer.alive() or now.server.faults:
            del shared[name]
            now.balancer.stop()
            now.server.stop()
