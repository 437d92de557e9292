"""What scenarios share: one balancer, with the default configuration and one server behind it, for all
of them that ask for no option of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.front import Front, Stage


@pytest.fixture(scope="session")
def kept() -> Iterator[list[Stage]]:
    stages: list[Stage] = []
    yield stages
    for stage in stages:
        stage.strike()


@pytest.fixture
def front(kept: list[Stage]) -> Iterator[Front]:
    """The shared front with the default configuration, its record emptied."""
    if not kept:
        kept.append(Stage())
        kept[0].front()
    stage = kept[0]
    now = Front(stage.servers[0], stage.balancers[0])
    now.server.scripts.clear()
    now.server.forget()
    try:
        yield now
        now.server.settle()
        stage.verify()
    finally:
        if not now.balancer.alive() or now.server.faults:
            kept.clear()
            stage.strike()
