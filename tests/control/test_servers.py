"""The book of servers: what follows for the data planes when checks, ejection and an operator speak.

Played in virtual time, with checks that answer as a test says.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fourseven.balancing.round_robin import RoundRobin
from fourseven.compiler.anew import with_weights
from fourseven.control.servers import Servers
from fourseven.errors import FoursevenError
from fourseven.health.connect import Unwell
from fourseven.health.standing import Order
from fourseven.plan import BackendPlan, HealthPlan, Plan, ServerPlan
from support.clock import play

A, B, C = (("web", f"10.0.0.{n}:80") for n in (1, 2, 3))
OUT, IN = Order(usable=False), Order()


class Ill:
    """A check that fails for those in `ill`."""

    only_connects = False

    def __init__(self) -> None:
        self.ill: set[str] = set()

    async def ask(self, target) -> None:
        if target.address in self.ill:
            raise Unwell("ill")


class Engine:
    """What the book tells."""

    def __init__(self, *servers, **options) -> None:
        self.orders: dict = {}
        self.kept: list = []
        self.reweighed = 0
        self.busy: dict = {}
        self.servers = Servers(self)
        self.use(*servers, **options)

    def use(self, *servers, **options) -> None:
        said = options.pop("said", {})
        given = tuple(ServerPlan(key[1], 2, **said.get(key, {})) for key in servers)
        algorithm = RoundRobin()
        table = algorithm.lower([(one.address, one.weight) for one in given]).table
        backend = BackendPlan("web", given, "round_robin", 1, table, balance=algorithm)
        self.plan = Plan((), (replace(backend, **options),))
        self.servers.use(self.plan)
        self.orders = self.servers.orders

    def tell(self, changed) -> None:
        self.orders |= changed

    def reweigh(self) -> None:
        self.reweighed += 1

    def keep(self, words) -> None:
        self.kept = words

    def in_flight(self, keys):
        return {key: self.busy.get(key, 0) for key in keys}

    def state(self, key) -> str:
        return self.servers.seen()[key].state


def health(check, **more) -> HealthPlan:
    return HealthPlan(check, interval_ms=1000, fast_interval_ms=100, rise=1, fall=1, **more)


async def soon() -> None:
    """What was ordered is told."""
    await asyncio.sleep(0.01)


def test_the_operator_goes_before_the_checks():
    async def scene() -> None:
        check = Ill()
        engine = Engine(A, B, health=health(check))
        servers = engine.servers
        await asyncio.sleep(2)
        assert [engine.state(key) for key in (A, B)] == ["up", "up"]
        servers.operate(A, "maintenance")
        await soon()
        assert engine.orders == {A: Order(usable=False, cut=True), B: IN}
        assert engine.state(A) == "maintenance"
        check.ill = {A[1]}
        await asyncio.sleep(2)
        servers.operate(A, "enable")
        await soon()
        assert (engine.orders[A], engine.state(A)) == (OUT, "down")  # what was found meanwhile
        check.ill = set()
        await asyncio.sleep(2)
        assert (engine.orders[A], engine.state(A)) == (IN, "up")
        servers.stop()

    play(scene)


def test_a_drain_ends_when_nothing_is_in_flight_and_persists_until_its_deadline():
    async def scene() -> None:
        engine = Engine(A, B)
        engine.busy = {A: 2}
        engine.servers.operate(A, "drain", 30)
        await soon()
        assert engine.orders[A] == Order(usable=False, persists=True)
        await asyncio.sleep(10)
        assert engine.state(A) == "draining"
        engine.busy = {}
        await asyncio.sleep(1)
        assert engine.state(A) == "drained"
        engine.busy = {A: 1}  # a session that persists has come
        await asyncio.sleep(3)
        assert engine.state(A) == "draining"
        await asyncio.sleep(20)
        assert engine.orders[A] == Order(usable=False, cut=True)
        engine.servers.operate(A, "enable")
        await soon()
        assert (engine.orders[A], engine.state(A)) == (IN, "up")
        assert engine.kept == []
        engine.servers.stop()

    play(scene)


def drained(**more) -> dict:
    return {"standing": "drain", **more}


def test_the_file_drains_a_server_until_it_says_otherwise():
    async def scene() -> None:
        engine = Engine(A, B)
        engine.busy = {A: 1}
        assert engine.servers.out(engine.plan) == set()
        engine.use(A, B, said={A: drained(drain_ms=30_000)})
        assert engine.servers.out(engine.plan) == {A}
        assert engine.orders == {A: Order(usable=False, persists=True), B: IN}
        assert engine.servers.seen()[A][:2] == ("draining", "the file says so")
        assert engine.servers.words() == []  # nobody has said anything while it runs
        await asyncio.sleep(20)
        engine.use(A, B, said={A: drained(drain_ms=30_000)})  # the deadline runs on
        engine.busy = {}
        await asyncio.sleep(5)
        assert engine.state(A) == "drained"
        assert engine.orders[A].persists
        await asyncio.sleep(6)
        assert engine.orders[A] == Order(usable=False, cut=True)
        engine.use(A, B, said={A: {"standing": "maintenance"}})
        assert engine.state(A) == "maintenance"
        engine.use(A, B, slow_start_ms=10_000)
        assert (engine.orders[A].usable, engine.state(A)) == (True, "starting")  # it is back
        assert engine.orders[B] == IN
        engine.servers.stop()

    play(scene)


def test_an_operator_goes_before_the_file():
    async def scene() -> None:
        engine = Engine(A, B, said={A: drained()})
        engine.servers.operate(A, "enable")
        await soon()
        assert (engine.orders[A], engine.state(A)) == (IN, "up")
        assert engine.kept == [[*A, "enable", None, None, True]]
        engine.use(A, B, said={A: drained()})
        assert engine.orders[A] == IN
        after = Engine(B)
        after.servers.recall(engine.kept)
        assert after.servers.out(engine.plan) == set()
        engine.servers.weigh(B, 5)
        engine.servers.unsay(A)
        await soon()
        assert engine.orders[A] == Order(usable=False, persists=True)
        assert engine.kept == [[*B, None, None, 5, True]]
        engine.servers.operate(A, "enable")
        engine.use(A, B)  # the file does not drain it any more: nothing is left to say against it
        assert engine.kept == [[*B, None, None, 5, True]]
        engine.servers.stop()
        after.servers.stop()

    play(scene)


def test_words_of_a_server_that_is_gone_are_unsaid():
    """They could not be, and the server that came back under that address was drained."""

    async def scene() -> None:
        engine = Engine(A, B)
        engine.servers.operate(A, "drain")
        engine.use(B)
        engine.servers.unsay(A)
        assert engine.kept == []
        engine.use(A, B)
        assert engine.orders[A] == IN
        engine.servers.stop()

    play(scene)


def test_panic_counts_the_ejected_and_leaves_out_who_was_taken_out():
    async def scene() -> None:
        check = Ill()
        engine = Engine(A, B, C, health=health(check, panic_percent=60))
        await asyncio.sleep(2)
        engine.servers.operate(C, "drain")
        check.ill = {A[1]}
        await asyncio.sleep(2)  # 1 of 2
        assert {key: one.usable for key, one in engine.orders.items()} == {A: 1, B: 1, C: 0}
        check.ill = set()
        await asyncio.sleep(2)
        engine.servers.eject(B, "5 errors")
        await soon()
        assert (engine.state(B), engine.servers.seen()[B].ejections) == ("ejected", 1)
        assert engine.orders[B].usable  # panic again
        engine.servers.operate(C, "enable")
        await soon()  # 2 of 3: calm
        assert {key: one.usable for key, one in engine.orders.items()} == {A: 1, B: 0, C: 1}
        engine.servers.eject(B, "")
        await soon()
        assert engine.orders[B].usable
        engine.servers.stop()

    play(scene)


def test_who_comes_back_or_is_new_starts_slowly():
    async def scene() -> None:
        check = Ill()
        engine = Engine(A, B, health=health(check), slow_start_ms=10_000)
        await asyncio.sleep(2)
        assert engine.orders[A].share == 1000  # all began together
        check.ill = {A[1]}
        await asyncio.sleep(2)
        check.ill = set()
        await asyncio.sleep(2)
        assert engine.state(A) == "starting"
        assert 100 <= engine.orders[A].share <= 200
        await asyncio.sleep(5)
        assert 500 <= engine.orders[A].share <= 700
        await asyncio.sleep(5)
        assert (engine.orders[A], engine.state(A)) == (IN, "up")
        engine.use(A, B, C, health=health(check), slow_start_ms=10_000)
        assert {key: one.share for key, one in engine.orders.items()} == {A: 1000, B: 1000, C: 100}
        engine.servers.stop()

    play(scene)


def test_words_stay_over_a_reload_and_go_to_the_next_engine():
    async def scene() -> None:
        engine = Engine(A, B)
        engine.servers.operate(A, "drain", 60)
        engine.servers.weigh(B, 5)
        engine.use(A, B)
        assert not engine.orders[A].usable
        engine.use(B)  # a server may go
        engine.use(A, B)  # and come back
        assert not engine.orders[A].usable
        after = Engine(B)
        after.servers.recall(engine.kept)
        assert after.servers.out(engine.plan) == {A}  # known before anything is published
        after.use(A, B)
        assert after.state(A) == "draining"
        assert after.servers.weights == {B: 5}
        engine.servers.stop()
        after.servers.stop()

    play(scene)


def test_weights_change_the_plan():
    async def scene() -> None:
        engine = Engine(A, B)
        engine.servers.weigh(A, 6)
        assert engine.reweighed == 1
        weighed = with_weights(engine.plan, engine.servers.weights)
        assert sorted(weighed.backends[0].table) == [0, 0, 0, 1]
        seen = engine.servers.seen()[A]
        assert (seen.weight, seen.file_weight) == (6, 2)
        engine.servers.weigh(A, None)
        assert with_weights(engine.plan, engine.servers.weights) is engine.plan
        engine.servers.stop()

    play(scene)


@pytest.mark.parametrize(
    "act, said",
    [
        (lambda one: one.operate(("db", "x"), "drain"), "there is no backend db"),
        (lambda one: one.operate(("web", "x"), "drain"), "no server x; it has 10.0.0.1:80"),
        (lambda one: one.operate(A, "stop"), "enable, drain, maintenance are"),
        (lambda one: one.weigh(A, -1), "-1 is no weight"),
    ],
)
def test_what_nobody_can_say(act, said):
    async def scene() -> None:
        engine = Engine(A)
        with pytest.raises(FoursevenError, match=said):
            act(engine.servers)
        assert engine.kept == []
        engine.servers.stop()

    play(scene)


def test_the_last_check_is_seen():
    async def scene() -> None:
        check = Ill()
        check.ill = {A[1]}
        engine = Engine(A, B, health=health(check))
        assert engine.servers.seen()[A][:2] == ("up", "not checked yet")
        await asyncio.sleep(2)
        seen = engine.servers.seen()[A]
        assert (seen.state, seen.why, seen.check) == ("down", "ill", "ill")
        assert seen.check_ms is not None
        assert engine.servers.seen()[B].check == ""
        engine.servers.stop()

    play(scene)
