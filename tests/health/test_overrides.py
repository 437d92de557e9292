"""Checks of one server that are not as its backend says; jitter."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from fourseven.control.health import Health
from fourseven.health.inward import Ways
from fourseven.health.schedule import Pace, Schedule
from fourseven.plan import BackendPlan, HealthPlan, Plan, ServerPlan
from support.clock import play


class Noted:
    """A check that notes whom it asked and when."""

    alpn, only_connects = "", False

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def ask(self, target: object) -> None:
        self.asked.append((target.address, target.port))


def test_each_server_at_its_own_pace():
    async def scene() -> None:
        noted = Noted()
        usual = HealthPlan(noted, interval_ms=1000, jitter_percent=0, rise=1)
        slow = HealthPlan(noted, interval_ms=10_000, jitter_percent=0, rise=1, port=81)
        servers = (
            ServerPlan("a:1"),
            ServerPlan("b:1", health=slow),
            ServerPlan("c:1", unchecked=True),
        )
        plan = Plan((), (BackendPlan("web", servers, "random", 1, health=usual),))
        assert set(Ways().targets(plan)) == {("web", "a:1"), ("web", "b:1")}
        health = Health(lambda key: None)
        health.use(plan)
        await asyncio.sleep(9.5)
        health.stop()
        assert {address for address, _ in noted.asked} == {"a:1", "b:1"}
        assert 9 <= noted.asked.count(("a:1", 0)) <= 11
        assert noted.asked.count(("b:1", 81)) in (1, 2)

    play(scene)


@pytest.mark.parametrize(("jitter", "least", "most"), [(0.0, 1.0, 1.0), (0.5, 0.5, 1.5)])
def test_jitter(jitter: float, least: float, most: float):
    """None: like a clock. A half: between half and one and a half of the interval."""
    began: list[float] = []
    now = 0.0

    def run(key: object) -> None:
        began.append(now)
        schedule.done(key, False, now)

    schedule = Schedule(run, random.Random(7))
    schedule.use({"one": Pace(1.0, 1.0, jitter)}, 0.0)
    while len(began) < 50:
        now += schedule.due(now) or 0.0
    gaps = [after - before for before, after in pairwise(began)]
    assert least - 1e-9 <= min(gaps) <= max(gaps) <= most + 1e-9
    assert jitter == 0.0 or max(gaps) - min(gaps) > 0.5
