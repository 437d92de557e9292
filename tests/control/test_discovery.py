"""Discovery at work: in virtual time with sources of a test, and with a whole fourseven."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from fourseven.balancing.round_robin import RoundRobin
from fourseven.control.discovery import Discovery, named
from fourseven.discovery.found import Found, Look, Unfound
from fourseven.discovery.name import Name
from fourseven.features import Source
from fourseven.plan import BackendPlan, OutwardPlan, PeerRule, Plan, ServerPlan, SourcePlan
from support.clock import play
from support.names import NameServer
from support.recorder import Recorder
from support.service import Service, settled


class Told(Source):
    """Finds what a test tells it."""

    key: ClassVar[str] = "told"
    name: str = "x"
    finds: ClassVar[dict[str, object]] = {}
    looks: ClassVar[dict[str, int]] = {}

    async def look(self, folder) -> Look:
        self.looks[self.name] = self.looks.get(self.name, 0) + 1
        said = self.finds.get(self.name)
        if isinstance(said, Look):
            return said
        if isinstance(said, str):
            raise Unfound(said)
        if said is None:
            await asyncio.sleep(1000)
        raise RuntimeError("a fault")


@pytest.fixture(autouse=True)
def clean():
    Told.finds.clear()
    Told.looks.clear()


def found(*hosts: int, **more) -> Look:
    servers = tuple(Found(f"10.0.0.{host}:80", **more) for host in hosts)
    return Look(servers, again_s=10)


def backend(*sources: str, static: tuple[str, ...] = (), **more) -> BackendPlan:
    algorithm = RoundRobin()
    servers = tuple(map(ServerPlan, static))
    table = algorithm.lower([(one, 1) for one in static]).table
    places = tuple(SourcePlan(Told(name=one), "", ServerPlan("", 3)) for one in sources)
    return BackendPlan(
        "web", servers, "round_robin", 1, table, balance=algorithm, sources=places, **more
    )


def addresses(discovery: Discovery, plan: Plan) -> list[str]:
    return [one.address for one in discovery.found(plan).backends[0].servers]


class Stage:
    def __init__(self, *sources: str, **more) -> None:
        self.changes = 0
        self.discovery = Discovery(self.changed)
        self.plan = Plan((), (backend(*sources, **more),))
        self.discovery.follow(self.plan)

    def changed(self) -> None:
        self.changes += 1

    def end(self) -> None:
        self.discovery.use(None)

    @property
    def addresses(self) -> list[str]:
        return addresses(self.discovery, self.plan)


def test_what_is_found_joins_what_the_file_names():
    async def scene() -> None:
        Told.finds.update(x=found(2, 1, weight=7), y=found(1, 3))
        stage = Stage("x", "y", static=("10.0.0.9:80",))
        assert stage.discovery.pending(stage.plan)
        await stage.discovery.ready(stage.plan, 3)
        assert not stage.discovery.pending(stage.plan)
        plan = stage.discovery.found(stage.plan).backends[0]
        assert [(one.address, one.weight) for one in plan.servers] == [
            ("10.0.0.9:80", 1),
            ("10.0.0.2:80", 7),
            ("10.0.0.1:80", 7),  # once, as the first has it
            ("10.0.0.3:80", 3),
        ]
        assert sorted(set(plan.table)) == [0, 1, 2, 3]
        stage.end()

    play(scene)


def test_a_failure_keeps_the_set_and_is_tried_again_ever_later():
    async def scene() -> None:
        Told.finds["x"] = found(1)
        stage = Stage("x")
        await stage.discovery.ready(stage.plan, 3)
        Told.finds["x"] = "no answer"
        await asyncio.sleep(100)
        assert stage.addresses == ["10.0.0.1:80"]
        assert stage.discovery.problems(stage.plan) == [
            "backends.web: told x: no answer; it is tried again"
        ]
        # After about 10 s, and then after 1, 2, 4, 8, 16, 30, 30 s
        assert 8 <= Told.looks["x"] <= 9
        Told.finds["x"] = 1  # a fault of ours is no more than that
        await asyncio.sleep(100)
        assert stage.addresses == ["10.0.0.1:80"]
        Told.finds["x"] = found(2)
        await asyncio.sleep(40)
        assert (stage.addresses, stage.changes) == (["10.0.0.2:80"], 2)
        assert stage.discovery.problems(stage.plan) == []
        stage.end()

    play(scene)


def test_half_a_set_is_better_than_none_and_worse_than_a_whole_one():
    async def scene() -> None:
        half = Look((Found("10.0.0.1:80"),), 10, partly="AAAA: no answer")
        Told.finds["x"] = half
        stage = Stage("x")
        await stage.discovery.ready(stage.plan, 3)
        assert stage.addresses == ["10.0.0.1:80"]
        Told.finds["x"] = found(1, 2)
        await asyncio.sleep(20)
        Told.finds["x"] = half
        await asyncio.sleep(20)
        assert stage.addresses == ["10.0.0.1:80", "10.0.0.2:80"]
        stage.end()

    play(scene)


def test_who_waits_for_a_silent_source_waits_no_longer_than_he_says():
    async def scene() -> None:
        stage = Stage("x")
        before = asyncio.get_running_loop().time()
        await stage.discovery.ready(stage.plan, 3)
        assert asyncio.get_running_loop().time() == pytest.approx(before + 3)
        assert stage.addresses == []
        assert stage.discovery.problems(stage.plan) == [
            "backends.web: told x: no answer yet; it is tried again"
        ]
        stage.end()

    play(scene)


def test_a_reload_keeps_what_a_source_has_found():
    async def scene() -> None:
        Told.finds.update(x=found(1), y=found(2))
        stage = Stage("x")
        await stage.discovery.ready(stage.plan, 3)
        other = Plan((), (backend("x", "y"),))
        stage.discovery.follow(other)
        assert addresses(stage.discovery, other) == ["10.0.0.1:80"]
        await stage.discovery.ready(other, 3)
        stage.discovery.use(other)
        assert addresses(stage.discovery, other) == ["10.0.0.1:80", "10.0.0.2:80"]
        assert Told.looks == {"x": 1, "y": 1}
        stage.discovery.use(stage.plan)
        assert [one["source"] for one in stage.discovery.seen()] == ["told x"]
        stage.end()

    play(scene)


def test_who_must_prove_a_name_proves_the_one_by_which_it_was_found():
    async def scene() -> None:
        Told.finds["x"] = found(1, name="web.test")
        rule = PeerRule("", "", b"all")
        stage = Stage("x", tls=OutwardPlan((), b"", rule=rule))
        await stage.discovery.ready(stage.plan, 3)
        [peer] = stage.discovery.found(stage.plan).backends[0].tls.peers
        assert (peer.name, peer.sni, peer.is_address) == (b"web.test", b"web.test", False)
        assert peer.identity
        stage.end()

    play(scene)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.0.0.1:80", None),
        ("[::1]:80", None),
        ("unix:/run/a:80", None),
        ("web.internal:80", "web.internal"),
        ("localhost:80", "localhost"),
    ],
)
def test_a_server_with_a_name_is_a_source(address, host):
    source = named(ServerPlan(address))
    assert source == (None if host is None else Name(host=host, port=80))


# ---- with a whole fourseven ----


def config(names: NameServer, port: int, **more) -> dict:
    dns = {"name": "web.test", "port": port, "resolver": names.address, "family": "ipv4", **more}
    return {
        "workers": 1,
        "listeners": {"web": {"protocol": "http", "backend": "all"}},
        "backends": {"all": {"servers": [{"dns": {"ttl_max": "1s", **dns}}]}},
    }


def test_servers_come_and_go_by_dns():
    with NameServer() as names, Recorder("one") as one:
        port = int(one.address.rpartition(":")[2])
        with Service(config(names, port)) as service:
            # The name is not there yet: a warning, and nobody to ask.
            assert "config.warning" in service.words()
            assert service.get(service.address()).status == 503
            names.say("web.test.", "A", "127.0.0.1")
            assert settled(lambda: service.get(service.address()).status == 200)
            pooled = len(one.conversations)
            names.say("web.test.", "A", "127.0.0.1", "127.0.0.9")  # nobody is at .9: a retry
            assert settled(lambda: "servers=2 new=1 gone=0" in service.words())
            names.failing = {"web.test."}
            assert settled(lambda: "discovery.failed" in service.words())
            for _ in range(4):
                assert service.get(service.address()).status == 200
            assert len(one.conversations) == pooled  # it kept its slot, and so its connections


def test_servers_of_a_file(tmp_path):
    listed = tmp_path / "servers.json"
    with Recorder("one") as one, Recorder("two") as two:
        listed.write_text(f'["{one.address}"]')
        told = {
            "listeners": {"web": {"protocol": "http", "backend": "all"}},
            "backends": {"all": {"servers": [{"file": str(listed)}]}},
        }
        with Service(told) as service:
            assert service.get(service.address()).status == 200  # from the first moment on
            listed.write_text("- {")
            assert settled(lambda: "discovery.failed" in service.words())
            assert service.get(service.address()).status == 200
            listed.write_text(f'["{two.address}"]')
            assert settled(lambda: service.get(service.address()) and len(two.requests) > 0)
            assert service.reload()["code"] == 0
            assert service.get(service.address()).status == 200
