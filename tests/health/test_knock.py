"""Connects by the hundred, for checks that ask no more."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fourseven.control.health import Health
from fourseven.health.connect import Target, way_of
from fourseven.health.knock import TOO_LATE, Knocks
from fourseven.health.tcp import Tcp
from fourseven.plan import BackendPlan, HealthPlan, Plan, ServerPlan

PATIENCE_S = 20.0  # a machine that is shared; a test that passes never waits for it


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Where nobody listens, nor can meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


def told_of(count: int, begin: Callable[[Knocks], None]) -> dict[object, str]:
    """What has come out of so many connects."""

    async def scene() -> dict[object, str]:
        found: dict[object, str] = {}
        all_of_them = asyncio.Event()

        def told(said: list[tuple[Any, str]]) -> None:
            assert not set(found) & {key for key, _ in said}, "each is told of once"
            found.update(said)
            if len(found) == count:
                all_of_them.set()

        knocks = Knocks(told)
        try:
            begin(knocks)
            assert found == {}, "never at once"
            async with asyncio.timeout(PATIENCE_S):
                await all_of_them.wait()
        finally:
            knocks.close()
        return found

    return asyncio.run(scene())


def test_what_comes_out(tmp_path: Path):
    path = str(tmp_path / "listens")
    with (
        closed_port() as closed,
        socket.create_server(("127.0.0.1", 0), backlog=64) as one,
        socket.socket(socket.AF_UNIX) as other,
    ):
        other.bind(path)
        other.listen()

        def begin(knocks: Knocks) -> None:
            for n in range(20):
                knocks.knock(n, socket.AF_INET, one.getsockname(), PATIENCE_S)
            knocks.knock("closed", socket.AF_INET, ("127.0.0.1", closed), PATIENCE_S)
            knocks.knock("unix", socket.AF_UNIX, path, PATIENCE_S)
            knocks.knock("none", socket.AF_UNIX, path + "-", PATIENCE_S)
            knocks.knock("away", socket.AF_INET, one.getsockname(), PATIENCE_S)
            knocks.forget("away")

        found = told_of(23, begin)
    assert found.pop("closed") == "connection refused"
    assert found.pop("none") == "no such file or directory"
    assert found == dict.fromkeys([*range(20), "unix"], "")


def test_nobody_answers_in_time():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        held = []
        for _ in range(4):  # what does not fit in its queue is not answered
            held.append(socket.socket())
            held[-1].setblocking(False)
            with contextlib.suppress(BlockingIOError):
                held[-1].connect(full.getsockname())
        found = told_of(
            1, lambda knocks: knocks.knock("x", socket.AF_INET, full.getsockname(), 0.01)
        )
        for one in held:
            one.close()
    assert found == {"x": TOO_LATE}


@pytest.mark.parametrize(
    ("target", "way"),
    [
        (Target("10.0.0.1:80"), (socket.AF_INET, ("10.0.0.1", 80))),
        (Target("10.0.0.1:80", 81), (socket.AF_INET, ("10.0.0.1", 81))),
        (Target("[::1]:80"), (socket.AF_INET6, ("::1", 80))),
        (Target("unix:/run/x"), (socket.AF_UNIX, "/run/x")),
        (Target("web.internal:80"), None),
    ],
)
def test_which_need_no_name(target: Target, way: object):
    assert way_of(target) == way


def test_a_backend_of_them():
    """Judged as any other check; who leaves the file while it is asked is nobody's."""

    async def scene() -> None:
        changed: list[tuple[str, str]] = []
        well = ServerPlan(f"127.0.0.1:{listening.getsockname()[1]}")
        ill = ServerPlan(f"127.0.0.1:{closed}")
        said = HealthPlan(Tcp(), interval_ms=50, fast_interval_ms=50, fall=1)
        health = Health(changed.append)

        def use(*servers: ServerPlan) -> None:
            health.use(Plan((), (BackendPlan("web", servers, "random", 1, health=said),)))

        use(well, ill)
        async with asyncio.timeout(PATIENCE_S):
            while len(changed) < 2:
                await asyncio.sleep(0.01)
        assert health.asked["web", ill.address].failure == "connection refused"
        assert health.judged["web", well.address].in_use
        assert not health.judged["web", ill.address].in_use
        use(ill)
        assert set(health.judged) == {("web", ill.address)}
        before = health.asked["web", ill.address].at
        async with asyncio.timeout(PATIENCE_S):
            while health.asked["web", ill.address].at == before:
                await asyncio.sleep(0.01)
        health.stop()

    with closed_port() as closed, socket.create_server(("127.0.0.1", 0)) as listening:
        asyncio.run(scene())
