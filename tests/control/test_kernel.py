"""The kernel planes of an engine, with planes that only write down what they are told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace

import pytest

from fourseven.balancing.round_robin import RoundRobin
from fourseven.control import kernel
from fourseven.control.kernel import KernelPlanes, merged
from fourseven.errors import FoursevenError
from fourseven.l4.kernel_plan import TCP, address_bits, end
from fourseven.l4.kernel_plane import Counts, Home, ListenerCounts, PlaneCounts
from fourseven.plan import All, BackendPlan, ListenerPlan, Plan, RoutePlan, ServerPlan

SERVERS = ("10.0.0.1:80", "10.0.0.2:80")


class Fake:
    """A plane that remembers."""

    def __init__(self, name: str, adopted: bool = False) -> None:
        self.name, self.adopted = name, adopted
        self.told: list[str] = []
        self.flows_alive = 0
        self.refuses = self.has_moved = False
        self.plans = []

    def apply(self, plan) -> None:
        if self.refuses:
            raise FoursevenError("not that")
        self.plans.append(plan)
        self.told.append(f"apply {len(plan.services)}")

    def stand(self, interfaces) -> list[str]:
        self.told.append(f"stand {','.join(interfaces)}")
        return []

    def moved(self) -> bool:
        self.told.append("moved")
        return self.has_moved

    def tick(self) -> float:
        return 60.0

    def drain(self) -> None:
        self.told.append("drain")

    def busy(self) -> int:
        return self.flows_alive

    def counters(self) -> PlaneCounts:
        return PlaneCounts()

    def close(self, remove: bool) -> None:
        self.told.append(f"close {'all' if remove else 'and leave'}")


def plan(*planes: str, servers=SERVERS, interfaces=("eth0",)) -> Plan:
    route = RoutePlan("r", All(), (("web", 1),))
    listeners = tuple(
        ListenerPlan(f"l{i}", (f"tcp://10.9.0.1:{80 + i}",), 0, (route,), "L4", name)
        for i, name in enumerate(planes)
    )
    table = tuple(range(len(servers)))
    backend = BackendPlan(
        "web", tuple(map(ServerPlan, servers)), "round_robin", 0, table, balance=RoundRobin()
    )
    made = Plan(listeners, (backend,))
    return replace(made, kernel=replace(made.kernel, interfaces=interfaces))


class Stage:
    """KernelPlanes over fakes."""

    def __init__(self, monkeypatch, left: set[str] = frozenset()) -> None:
        self.fakes: dict[str, Fake] = {}
        self.left = set(left)
        self.removed: list[str] = []
        self.quiet = 0

        def no_pins(_name):
            raise OSError(1, "no bpf filesystem")

        monkeypatch.setattr(kernel.pins, "take", no_pins)
        monkeypatch.setattr(kernel.pins, "found", lambda _name: None)
        openers = {name: self.opener(name) for name in ("tcx", "nftables")}
        removers = {name: self.remover(name) for name in ("tcx", "nftables")}
        self.planes = KernelPlanes("test", openers, removers)

    def opener(self, name: str):
        def open_it(home: Home) -> Fake:
            assert home.name == "test"
            self.fakes[name] = Fake(name, adopted=name in self.left)
            return self.fakes[name]

        return open_it

    def remover(self, name: str):
        def remove(_home: Home) -> bool:
            self.removed.append(name)
            return name in self.left

        return remove


@pytest.fixture
def stage(monkeypatch):
    def play(scene, left=frozenset()):
        async def run() -> None:
            made = Stage(monkeypatch, left)
            with contextlib.closing(Closing(made)):
                result = scene(made)
                if result is not None:
                    await result

        asyncio.run(run())

    return play


class Closing:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def close(self) -> None:
        self.stage.planes.close(remove=True)


def test_each_plane_gets_its_listeners(stage):
    def scene(s: Stage) -> None:
        s.planes.publish(plan("tcx", "nftables", "tcx", "relay", "http"), set())
        assert s.fakes["tcx"].told == ["apply 2", "stand eth0"]
        assert s.fakes["nftables"].told == ["apply 1", "stand eth0"]

    stage(scene)


def test_nothing_is_touched_without_a_listener_but_what_was_left_goes(stage):
    def scene(s: Stage) -> None:
        s.planes.publish(plan("relay"), set())
        assert s.fakes == {}
        assert s.removed == ["tcx", "nftables"]
        s.planes.publish(plan("relay"), set())
        assert s.removed == ["tcx", "nftables"]  # once, at the start

    stage(scene, left={"tcx"})


def test_a_refusal_leaves_every_plane_as_it_was(stage):
    def scene(s: Stage) -> None:
        s.planes.publish(plan("tcx", "nftables"), set())
        before = s.fakes["nftables"].plans[-1]
        s.fakes["tcx"].refuses = True
        with pytest.raises(FoursevenError, match="not that"):
            s.planes.publish(plan("nftables", "nftables", "tcx"), set())
        assert s.fakes["nftables"].plans[-1] == before

    stage(scene)


def test_a_plane_that_was_opened_for_a_refused_plan_goes_unless_it_was_there_before(stage):
    def scene(s: Stage) -> None:
        s.planes.publish(plan("relay"), set())
        for name in ("tcx", "nftables"):
            opener = s.planes._openers[name]

            def refusing(home, opener=opener):
                made = opener(home)
                made.refuses = True
                return made

            s.planes._openers[name] = refusing
            with pytest.raises(FoursevenError):
                s.planes.publish(plan(name), set())
        assert s.fakes["tcx"].told == ["close and leave"]  # a predecessor may be in force
        assert s.fakes["nftables"].told == ["close all"]

    stage(scene, left={"tcx"})


def test_a_plane_without_listeners_stays_until_its_last_flow_has_ended(stage):
    def scene(s: Stage) -> None:
        s.planes.publish(plan("tcx"), set())
        fake = s.fakes["tcx"]
        fake.flows_alive = 1
        s.planes.publish(plan("relay"), set())
        assert fake.told[-2:] == ["apply 0", "stand eth0"]
        fake.flows_alive = 0
        s.planes._tick("tcx")
        assert fake.told[-1] == "close all"
        assert s.planes.counters() == {}

    stage(scene)


def test_a_server_that_is_down_leaves_the_tables(stage):
    def scene(s: Stage) -> None:
        s.planes.publish(plan("tcx"), set())
        fake = s.fakes["tcx"]
        assert fake.plans[-1].services[0].table == (0, 1)
        s.planes.usable({("web", SERVERS[0])})
        assert fake.plans[-1].services[0].table == (1,)
        many = len(fake.plans)
        s.planes.usable({("web", SERVERS[0])})
        assert len(fake.plans) == many
        s.planes.usable(set())
        assert fake.plans[-1].services[0].table == (0, 1)
        s.planes.usable(set(), (), {("web", SERVERS[1]): 5})
        assert sorted(fake.plans[-1].services[0].table) == [0, 0, 1]
        s.planes.usable(set())
        assert fake.plans[-1].services[0].protocol == TCP

    stage(scene)


def test_the_end_with_and_without_a_successor(stage):
    def scene(s: Stage) -> None:
        s.planes.publish(plan("tcx"), set())
        s.planes.drain()
        s.fakes["tcx"].flows_alive = 3
        assert s.planes.busy() == 3
        s.planes.close(remove=False)
        assert s.fakes["tcx"].told[-2:] == ["drain", "close and leave"]
        assert s.planes.busy() == 0

    stage(scene)


def test_wildcards_follow_the_addresses_of_the_host(stage, monkeypatch):
    own: list[int] = [address_bits("10.9.0.1")]
    monkeypatch.setattr(kernel, "own_addresses", lambda: tuple(own))

    def scene(s: Stage) -> None:
        wild = plan("tcx")
        listener = replace(wild.listeners[0], bind=("tcp://0.0.0.0:80",))
        s.planes.publish(replace(wild, listeners=(listener,)), set())
        own.append(address_bits("10.9.0.2"))
        s.planes._look_around()
        vips = [str(service.vip) for service in s.fakes["tcx"].plans[-1].services]
        assert vips == ["10.9.0.1:80", "10.9.0.2:80"]

    stage(scene)


def test_a_route_that_changes_is_followed_where_it_matters_to_a_plane(stage, monkeypatch):
    """Asked at most once in ROUTES_S, whatever comes; a plan is applied only where one must be."""
    routes, sent = [True], socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sent[0].setblocking(False)
    monkeypatch.setattr(kernel.netlink, "watch", lambda: sent[0])
    monkeypatch.setattr(kernel.netlink, "only_routes", lambda _data: routes[0])
    monkeypatch.setattr(kernel, "ROUTES_S", 0.0)
    monkeypatch.setattr(kernel, "SETTLE_S", 0.0)
    monkeypatch.setattr(kernel, "own_addresses", lambda: ())

    async def scene(s: Stage) -> None:
        s.planes.publish(plan("tcx", "nftables"), set())
        tcx, nftables = s.fakes["tcx"], s.fakes["nftables"]

        async def told() -> list[list[str]]:
            for one in (tcx, nftables):
                one.told.clear()
            sent[1].send(b"a message")
            sent[1].send(b"another")
            for _ in range(5):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            return [tcx.told[:], nftables.told[:]]

        assert await told() == [["moved"], ["moved"]]
        tcx.has_moved = True
        assert await told() == [["moved", "apply 1"], ["moved"]]
        routes[0] = False  # an address: wildcards may mean others
        assert await told() == [["moved", "apply 1", "stand eth0"]] * 2

    stage(scene)
    sent[1].close()


def test_counters_add_up_with_the_workers():
    counted = {
        "workers": {"turns": 1},
        "listeners": {"in": {"bytes_in": 5, "accepted": 1}},
        "servers": {("web", SERVERS[0]): {"bytes_to": 7, "in_flight": 0}},
    }
    server = end(SERVERS[0])
    assert server is not None
    told = PlaneCounts(
        {"in": ListenerCounts(bytes_in=10, flows_new=2, drops={"no_port": 3}, passed=4)},
        {("web", server): Counts(bytes_in=10, packets_out=1)},
        {"ttl": 1},
    )
    found = merged(counted, {"tcx": told, "nftables": PlaneCounts()})
    assert found["listeners"]["in"]["bytes_in"] == 15
    assert found["listeners"]["in"]["accepted"] == 1
    assert found["listeners"]["in"]["drops"] == {"no_port": 3}
    row = found["servers"]["web", SERVERS[0]]
    assert (row["bytes_to"], row["packets_from"], row["in_flight"]) == (17, 1, 0)
    assert found["kernel"] == {"tcx": {"ttl": 1}, "nftables": {}}
    assert counted["listeners"]["in"]["bytes_in"] == 5
