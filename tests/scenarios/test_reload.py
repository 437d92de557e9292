"""A new plan while traffic runs: no refused and no cut connection, and nothing of the old one stays."""

from __future__ import annotations

import copy
import threading

from support.balancer import Config, site
from support.front import GOOD, Stage
from support.recorder import Conversation
from support.service import settled
from support.wire import Message


def with_servers(config: Config, *servers: str) -> Config:
    changed = copy.deepcopy(config)
    changed["backends"]["all"]["servers"] = list(servers)
    return changed


def test_a_hundred_reloads_under_load(stage: Stage):
    first, second = stage.server("first"), stage.server("second")
    config = site(first.address)
    balancer = stage.balancer(config, workers=2)
    stop = threading.Event()
    answered: list[int] = []
    wrong: list[object] = []

    def load() -> None:
        with balancer.wire() as wire:
            while not stop.is_set():
                try:
                    answered.append(wire.send(GOOD).read().status)
                except (AssertionError, OSError) as error:
                    wrong.append(error)
                    return

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(100):
        servers = [first.address, second.address][: 1 + number % 2]
        balancer.reload(with_servers(config, *servers))
        assert balancer.ask(GOOD).status == 200
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert set(answered) == {200}
    assert first.requests
    assert second.requests


def test_old_snapshots_are_freed(stage: Stage):
    server = stage.server()
    config = site(server.address)
    routes = [{"match": {"path": f"/{n}/"}, "backend": "all"} for n in range(300)]
    config["listeners"]["web"]["routes"] = [*routes, {"backend": "all"}]
    balancer = stage.balancer(config)
    for _ in range(15):  # until the C library's heap has the holes that it will have
        balancer.reload(config)
        balancer.ask(GOOD)
    before = balancer.memory_kib()
    for _ in range(15):
        balancer.reload(config)
        assert balancer.ask(GOOD).status == 200
    assert settled(lambda: balancer.order("reclaim") == 0)
    assert balancer.memory_kib() - before < 2 * 1024


def test_a_request_on_its_way_is_finished_by_the_server_it_began_with(stage: Stage):
    old, new = stage.server("old"), stage.server("new")
    go = threading.Event()

    def slow(conversation: Conversation, request: Message) -> None:
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"a" * 100_000)
        conversation.hold(go)
        conversation.send(b"a" * 100_000)

    old.on(b"/slow", slow)
    config = site(old.address)
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").read_head()
        for _ in range(10):
            balancer.reload(with_servers(config, new.address))
        assert balancer.ask(GOOD).body == b"new"
        go.set()
        assert len(wire.take(200_000)) == 200_000
        assert wire.send(GOOD).read().body == b"new"


def test_a_removed_server_gets_nothing_more_and_comes_back(stage: Stage):
    one, two = stage.server("one"), stage.server("two")
    config = site(one.address, two.address)
    balancer = stage.balancer(config)
    assert {balancer.ask(GOOD).body for _ in range(6)} == {b"one", b"two"}
    balancer.reload(with_servers(config, one.address))
    assert {balancer.ask(GOOD).body for _ in range(6)} == {b"one"}
    balancer.order("reclaim")
    balancer.reload(config)
    assert {balancer.ask(GOOD).body for _ in range(6)} == {b"one", b"two"}


def test_draining(stage: Stage):
    """Idle connections close, the request on its way is finished, with a close."""
    front = stage.front()
    go = threading.Event()

    def slow(conversation: Conversation, request: Message) -> None:
        conversation.hold(go)
        conversation.answer(b"slow")

    front.server.on(b"/slow", slow)
    with front.wire() as idle, front.wire() as busy:
        assert idle.send(GOOD).read().status == 200
        busy.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        front.server.wait(lambda: len(front.server.heads) == 2)
        front.balancer.order("drain")
        assert idle.ended()
        assert front.balancer.order("busy") >= 1
        go.set()
        answer = busy.read()
        assert answer.body == b"slow"
        assert answer.get("connection") == b"close"
        assert busy.ended()
