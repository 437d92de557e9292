"""Servers fail or are full: retries with a budget, queues, limits, circuits, tiers.

What must hold exactly is asked with several workers, by servers that keep their own count.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scenarios.test_failures import GET, POST, nowhere  # noqa: F401 (a fixture)
from support.again import again
from support.balancer import Balancer, Config, site
from support.front import Stage
from support.recorder import Conversation, Script
from support.wire import Message


def backend(servers: list[Any], **more: Any) -> Config:
    config = site()
    config["backends"]["all"] = {"servers": servers, **more}
    return config


def reasons(balancer: Balancer) -> dict[str, int]:
    found = balancer.counters()["routes"]["web routes[0]"]["reasons"]
    return {name: n for name, n in found.items() if n}


def counted(balancer: Balancer, *names: str) -> list[int]:
    found = balancer.counters()["backends"]["all"]
    return [found[name] for name in names]


def failing(status: bytes = b"503 Service Unavailable", body: bytes = b"failed") -> Script:
    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.answer(body, status=status, headers=b"X-From: the failed one\r\n")

    return script


def silent(go: threading.Event) -> Script:
    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.hold(go)
        conversation.answer(b"late")

    return script


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """Set at the end of the test, so that no script is left behind."""
    event = threading.Event()
    yield event
    event.set()


# ---- retries ----


def test_an_answer_that_is_worth_another_try(stage: Stage):
    """The failed answer is dropped whole: no byte of it reaches the client."""
    bad, good = stage.server("bad").on(b"", failing()), stage.server("good")
    config = backend([bad.address, good.address], retry={"on": [503, "connect"]})
    balancer = stage.balancer(config)
    for _ in range(6):
        answer = balancer.ask(GET)
        assert (answer.status, answer.body, answer.get("x-from")) == (200, b"good", None)
    retries, of_status = counted(balancer, "retries", "retries_of_status")
    assert retries == of_status == len(bad.heads) >= 3
    statuses = {balancer.ask(POST).status for _ in range(4)}
    assert statuses == {200, 503}, "a POST has reached a server: it is not repeated"


def test_the_last_answer_is_the_client_s(stage: Stage):
    """Where no other server is left, the answer that came is passed on."""
    servers = [stage.server(name).on(b"", failing(body=name.encode())) for name in ("one", "two")]
    retry = {"on": 503, "attempts": 3, "same_server": False}
    balancer = stage.balancer(backend([one.address for one in servers], retry=retry))
    answer = balancer.ask(GET)
    assert (answer.status, answer.get("x-from")) == (503, b"the failed one")
    assert sum(len(server.heads) for server in servers) == 2


def test_the_same_server_once_more(stage: Stage):
    answers = [b"503 Service Unavailable", b"200 OK"]

    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.answer(b"x", status=answers.pop(0))

    server = stage.server().on(b"", script)
    balancer = stage.balancer(backend([server.address], retry={"on": 503}))
    assert balancer.ask(GET).status == 200
    assert len(server.heads) == 2


def test_a_post_that_may_reach_two_servers(stage: Stage):
    bad, good = stage.server("bad").on(b"", failing()), stage.server("good")
    retry = {"on": 503, "methods": "all"}
    balancer = stage.balancer(backend([bad.address, good.address], retry=retry))
    assert {balancer.ask(POST).body for _ in range(4)} == {b"good"}
    good.settle()
    assert all(request.body == b"hi" for request in good.requests)


@again(0.15)
def test_a_try_has_a_time_of_its_own(stage: Stage, go: threading.Event):
    hung, good = stage.server("hung").on(b"", silent(go)), stage.server("good")
    retry = {"on": ["timeout", "connect"], "try_timeout": "150ms"}
    balancer = stage.balancer(backend([hung.address, good.address], retry=retry))
    began = time.monotonic()
    assert [balancer.ask(GET).body for _ in range(2)] == [b"good"] * 2
    assert time.monotonic() - began > 0.13, "one of the two has waited for who hangs"
    retry = {"on": "connect", "try_timeout": "150ms"}
    balancer.reload(
        backend([hung.address], retry=retry) | {"listeners": balancer.config["listeners"]}
    )
    assert balancer.ask(GET).status == 504


@pytest.mark.parametrize("workers", [2, 4])
def test_a_budget(stage: Stage, nowhere: str, go: threading.Event, workers: int):  # noqa: F811
    """20 requests hang, so 20 % allow 4 further tries at once: all others see the failure."""
    held, bad = stage.server("held").on(b"/x", silent(go)), stage.server("bad").on(b"/y", failing())
    retry = {"on": 503, "budget": "20%", "budget_min": 0, "same_server": False}
    config = backend([held.address, {"address": bad.address, "weight": 0}], retry=retry)
    balancer = stage.balancer(config, workers=workers)
    wires = [balancer.wire() for _ in range(40)]
    for wire in wires[:20]:
        wire.send(GET)
    held.wait(lambda: len(held.heads) == 20)
    held.on(b"/y", silent(go))
    config["backends"]["all"]["servers"] = [
        {"address": bad.address, "weight": 1_000_000},
        {"address": held.address, "weight": 1},
    ]
    balancer.reload(config | {"listeners": balancer.config["listeners"]})
    for wire in wires[20:]:
        wire.send(GET.replace(b"/x", b"/y"))
    bad.wait(lambda: len(bad.heads) >= 19)
    until = time.monotonic() + 20
    while sum(counted(balancer, "retries_of_status", "retries_refused")) < 19:
        assert time.monotonic() < until
    granted, refused = counted(balancer, "retries_of_status", "retries_refused")
    assert granted * 100 <= 20 * (20 + 20)
    assert 4 <= granted <= 8
    assert granted + refused >= 19
    go.set()
    statuses = [wire.read().status for wire in wires]
    assert [statuses.count(503)] == counted(balancer, "retries_refused")  # of the last one too
    for wire in wires:
        wire.close()


def test_the_budget_s_minimum(stage: Stage):
    bad, good = stage.server("bad").on(b"", failing()), stage.server("good")
    retry = {"on": 503, "budget": "1%", "budget_min": 5}
    servers = [{"address": bad.address, "weight": 1000}, {"address": good.address, "weight": 1}]
    balancer = stage.balancer(backend(servers, retry=retry), workers=2)
    began = time.monotonic()
    statuses = []
    while len(statuses) < 30 or 503 not in statuses:
        statuses.append(balancer.ask(GET).status)
        assert time.monotonic() < began + 20
    granted, refused = counted(balancer, "retries_of_status", "retries_refused")
    assert granted >= 5
    assert granted <= 5 + 5 * (time.monotonic() - began), "as many again for each second"
    assert refused == statuses.count(503)


# ---- limits and queues ----


class Gauge:
    """A server's own count of what it has at once."""

    def __init__(self, took_s: float) -> None:
        self.took_s = took_s
        self.lock = threading.Lock()
        self.now = self.most = 0

    def script(self, conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.took_s)  # The work.
        with self.lock:
            self.now -= 1
        conversation.answer(b"done")


def storm(balancer: Balancer, clients: int, each: int) -> list[int]:
    """So many clients, each with so many requests one after the other; all statuses."""

    def client(_: int) -> list[int]:
        with balancer.wire(timeout_s=20) as wire:
            return [wire.send(GET).read().status for _ in range(each)]

    with ThreadPoolExecutor(clients) as pool:
        return [status for found in pool.map(client, range(clients)) for status in found]


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("limit", ["max_in_flight", "max_connections", "requests"])
def test_a_limit_with_a_queue(stage: Stage, workers: int, limit: str):
    """Never more than the limit at the server, and everybody is served in the end."""
    gauge = Gauge(0.004)
    server = stage.server().on(b"", gauge.script)
    place: dict[str, Any] = {"address": server.address}
    more: dict[str, Any] = {"queue": {"size": 100, "timeout": "60s"}}
    if limit == "requests":
        more["limits"] = {"requests": 3}
    else:
        place[limit] = 3 if limit == "max_in_flight" else 5
    most = place.get(limit, 3)
    balancer = stage.balancer(backend([place], **more), workers=workers)
    assert set(storm(balancer, 16, 12)) == {200}
    assert gauge.most <= most
    if limit == "max_connections":
        server.settle()  # until it has noticed who hung up
        open_now = [one for one in server.conversations if not one.finished.is_set()]
        assert len(open_now) <= most
    queued, full, late = counted(balancer, "queued", "queue_full", "queue_timeouts")
    assert (queued > 0, full, late) == (True, 0, 0)
    balancer.at_rest()


@pytest.mark.parametrize("workers", [2, 4])
def test_a_full_queue_and_its_time(stage: Stage, go: threading.Event, workers: int):
    """Of 20, one is served, 6 wait, 13 are turned away at once: exactly. Whose time is over, is
    turned away, too."""
    server = stage.server().on(b"/x", silent(go))
    place = {"address": server.address, "max_in_flight": 1}
    config = backend([place], queue={"size": 6, "timeout": "60s"})
    balancer = stage.balancer(config, workers=workers)
    wires = [balancer.wire() for _ in range(20)]
    wires[0].send(GET)
    server.wait(lambda: server.heads)
    for wire in wires[1:]:
        wire.send(GET)
    eventually(lambda: reasons(balancer) == {"queue_full": 13})
    assert counted(balancer, "waiting") == [6]
    config["backends"]["all"]["queue"] = {"size": 9, "timeout": "100ms"}
    balancer.reload(config | {"listeners": balancer.config["listeners"]})
    assert [balancer.ask(GET).status for _ in range(2)] == [503] * 2
    eventually(lambda: reasons(balancer) == {"queue_full": 13, "queue_time": 2})
    go.set()
    statuses = [wire.read().status for wire in wires]
    assert (statuses.count(200), statuses.count(503)) == (7, 13)
    for wire in wires:
        wire.close()


def test_without_a_queue(stage: Stage, go: threading.Event):
    server = stage.server().on(b"/x", silent(go))
    config = backend([{"address": server.address, "max_in_flight": 1}])
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        wire.send(GET)
        server.wait(lambda: server.heads)
        assert balancer.ask(GET).status == 503
        eventually(lambda: reasons(balancer) == {"servers_full": 1})
        config["backends"]["all"] = {"servers": [server.address], "limits": {"requests": 1}}
        balancer.reload(config | {"listeners": balancer.config["listeners"]})
        assert balancer.ask(GET).status == 503
        eventually(lambda: reasons(balancer) == {"servers_full": 1, "backend_full": 1})
        go.set()
        assert wire.read().status == 200


def test_the_order_of_a_queue(stage: Stage):
    """First come, first served; but who is marked high goes before, and low behind."""
    step = threading.Semaphore(0)
    order: list[bytes] = []

    def script(conversation: Conversation, request: Message) -> None:
        order.append(request.target)
        conversation.resting = True
        step.acquire(timeout=60)
        conversation.resting = False
        conversation.answer(b"x")

    server = stage.server().on(b"", script)
    place = {"address": server.address, "max_in_flight": 1}
    queue = {"size": 10, "timeout": "60s", "priority_header": "X-Priority"}
    balancer = stage.balancer(backend([place], queue=queue))
    wires = []
    for at, priority in enumerate(["", "low", "", "high", "low", "", "high"]):
        wires.append(balancer.wire())
        line = f"X-Priority: {priority}\r\n" if priority else ""
        wires[-1].send(f"GET /{at} HTTP/1.1\r\nHost: a\r\n{line}\r\n".encode())
        until = time.monotonic() + 20
        while counted(balancer, "queued") != [at] or not order:
            assert time.monotonic() < until
    for _ in wires:
        step.release()
    for wire in wires:
        assert wire.read().status == 200
        wire.close()
    assert order == [b"/0", b"/3", b"/6", b"/2", b"/5", b"/1", b"/4"]


def test_who_waits_and_leaves(stage: Stage, go: threading.Event):
    """Leaving the queue by hanging up makes room in it, and disturbs nobody's place."""
    server = stage.server().on(b"/x", silent(go))
    place = {"address": server.address, "max_in_flight": 1}
    balancer = stage.balancer(backend([place], queue={"size": 2, "timeout": "60s"}), workers=2)
    wires = [balancer.wire() for _ in range(4)]
    for at in range(3):
        wires[at].send(GET)
        until = time.monotonic() + 20
        while counted(balancer, "queued") != [at] or not server.heads:
            assert time.monotonic() < until
    wires[1].reset()
    until = time.monotonic() + 20
    while not reasons(balancer).get("client_left"):
        assert time.monotonic() < until
    wires[3].send(GET)
    while counted(balancer, "queued") != [3]:
        assert time.monotonic() < until
    go.set()
    assert [wires[at].read().status for at in (0, 2, 3)] == [200] * 3
    for wire in wires:
        wire.close()


# ---- circuits ----


def eventually(holds: Callable[[], bool], within_s: float = 20) -> None:
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until


def refused_and_probed(balancer: Balancer) -> int:
    """Asks until the open circuit has refused, has let one find out, and has refused again; says how
    many were let through. A busy machine may be slower than the circuit is open, so that one finds
    out where a refusal was looked for: then both are looked for again."""
    turns: list[str] = []
    probes = 0
    until = time.monotonic() + 20
    while turns[-3:] != ["refused", "probed", "refused"]:
        assert time.monotonic() < until, turns
        answer = balancer.ask(GET)
        assert answer.status == 503
        turn = "probed" if answer.get("x-from") else "refused"
        probes += turn == "probed"
        if turns[-1:] != [turn]:
            turns.append(turn)
    return probes


def test_a_circuit(stage: Stage):
    """Closed, open, half open and open again, half open and closed."""
    server = stage.server().on(b"", failing())
    breaker = {"errors": "50%", "requests": 4, "open": "120ms"}
    balancer = stage.balancer(backend([server.address], breaker=breaker, retries=0), workers=2)
    assert [balancer.ask(GET).get("x-from") for _ in range(4)] == [b"the failed one"] * 4
    probes = refused_and_probed(balancer)
    assert len(server.heads) == 4 + probes
    server.on(b"", failing(b"200 OK"))
    eventually(lambda: balancer.ask(GET).status == 200)
    assert [balancer.ask(GET).status for _ in range(6)] == [200] * 6
    assert counted(balancer, "circuits_opened") == [1 + probes]
    balancer.at_rest()
    assert reasons(balancer)["circuit_open"] > 0


def test_an_open_circuit_is_passed_over(stage: Stage):
    bad, good = stage.server("bad").on(b"", failing()), stage.server("good")
    breaker = {"requests": 2, "open": "1m"}
    balancer = stage.balancer(backend([bad.address, good.address], breaker=breaker))
    statuses = [balancer.ask(GET).status for _ in range(20)]
    assert statuses.count(503) == 2
    assert len(bad.heads) == 2


# ---- tiers ----


def test_a_backup(stage: Stage):
    one, two, spare = (stage.server(name) for name in ("one", "two", "spare"))
    servers = [one.address, two.address, {"address": spare.address, "backup": True}]
    balancer = stage.balancer(backend(servers, failover={"below": "60%"}))
    assert {balancer.ask(GET).body for _ in range(6)} == {b"one", b"two"}
    balancer.order("order", "all", two.address, False, False)
    assert {balancer.ask(GET).body for _ in range(6)} == {b"spare"}
    balancer.order("order", "all", spare.address, False, False)
    assert {balancer.ask(GET).body for _ in range(6)} == {b"one"}
    balancer.order("order", "all", two.address, True, True)
    assert {balancer.ask(GET).body for _ in range(6)} == {b"one", b"two"}
    assert counted(balancer, "spilled") == [6]
