"""Hedging: a second server for slow requests; who wins, who is cancelled, and what it may cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.errors import ConfigErrors
from fourseven.forms_resilience import Retry
from scenarios.test_failures import GET, POST
from scenarios.test_resilience import backend, counted, reasons, silent
from support.balancer import Balancer
from support.front import Stage
from support.gates import at_rest
from support.http2 import Http2
from support.http2_server import Http2Server
from support.recorder import Conversation, Recorder
from support.wire import Message

SOON = {"hedge": "20ms", "budget_min": 1000}
PUT = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """Set at the end of the test, so that no script is left behind."""
    event = threading.Event()
    yield event
    event.set()


def hung(conversation: Conversation, request: Message) -> None:
    """It never answers, and notices who hangs up."""
    conversation.read_body(request)
    conversation.read_to_end()


def two(stage: Stage, slow: Any, retry: dict[str, Any], **more: Any) -> tuple[Any, Any, Balancer]:
    """A slow server, a quick one, and a balancer that hedges between them."""
    one, other = stage.server("slow").on(b"/x", slow), stage.server("quick")
    config = backend([one.address, other.address], retry=retry, **more)
    return one, other, stage.balancer(config)


def resets_after(event: threading.Event):
    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.hold(event)
        conversation.reset()

    return script


def ends(server: Recorder) -> None:
    """The balancer has hung up on all that asked it for /x."""
    server.wait(lambda: server.gone(b"/x"))


def test_a_slow_server_is_not_waited_for(stage: Stage):
    """The winner's answer comes, the loser's connection is closed, and its place is free."""
    slow, quick, balancer = two(stage, hung, SOON)
    with balancer.wire() as wire:
        for request in [GET, PUT] * 4:
            assert wire.send(request).read().body == b"quick"
    seen = at_rest(balancer)
    ends(slow)
    hedges, won, retries = counted(balancer, "hedges", "hedges_won", "retries")
    # On a busy machine the quick one may be hedged too, and wins by itself; perhaps before the
    # hedge has reached anybody.
    slow.settle()
    assert hedges >= len(slow.requests) >= won > 0
    assert retries == 0
    assert len(quick.requests) == 8
    assert [one.body for one in slow.requests] == [
        b"x" * 20_000 if one.method == b"PUT" else b"" for one in slow.requests
    ]
    rows = seen["servers"]
    assert sum(row["status"]["2"] if isinstance(row["status"], dict) else row["status"][2]
               for row in rows.values()) == 8  # fmt: skip
    judged = rows[f"all {slow.address}"]
    assert judged["errors"] == 0
    assert judged["tries"] == won  # it never answered, and is slow all the same
    assert judged["latency_ns"] >= won * 1_000_000
    assert reasons(balancer) == {}


def test_the_first_server_may_still_win(stage: Stage):
    """It answers when the second one has been asked; that one is cancelled."""
    asked = threading.Event()

    def first(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        assert conversation.hold(asked)
        conversation.answer(b"first")

    def second(conversation: Conversation, request: Message) -> None:
        asked.set()
        hung(conversation, request)

    one, other = stage.server("one").on(b"/x", first), stage.server("two").on(b"/x", second)
    config = backend([one.address, other.address], retry=SOON)
    balancer = stage.balancer(config)
    assert balancer.ask(GET).body == b"first"
    at_rest(balancer)
    ends(other)
    assert counted(balancer, "hedges", "hedges_won") == [1, 0]


def test_a_failed_try_is_replaced_by_its_hedge(stage: Stage, go):
    """Not by a third one; and the hedge's failure is then the last."""
    asked = threading.Event()

    def second(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        asked.set()
        conversation.hold(go)
        conversation.answer(b"late")

    one = stage.server("one").on(b"/x", resets_after(asked))
    other = stage.server("two").on(b"/x", second)
    balancer = stage.balancer(backend([one.address, other.address], retry=SOON))
    with balancer.wire() as wire:
        wire.send(GET)
        ends(one)
        balancer.counters()  # and the balancer has met it, before the other one answers
        go.set()
        assert wire.read().body == b"late"
    at_rest(balancer)
    assert counted(balancer, "hedges", "hedges_won", "retries") == [1, 0, 0]
    other.on(b"/x", lambda conversation, _: (asked.set(), conversation.reset()))
    asked.clear()
    answer = balancer.ask(GET)
    while answer.status == 200:  # it began with the other server
        asked.clear()
        answer = balancer.ask(GET)
    assert answer.status == 502
    at_rest(balancer)
    assert reasons(balancer) == {"reset": 1}


def test_answers_that_are_worth_another_try(stage: Stage, go):
    """They win against nobody: neither the hedge's nor the first server's."""
    _, quick, balancer = two(stage, silent(go), {**SOON, "on": [503]})
    failed = threading.Event()

    def refuses(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.answer(b"no", status=b"503 No")
        failed.set()

    quick.on(b"/x", refuses)
    with balancer.wire() as wire:
        wire.send(GET)
        assert failed.wait(20)
        go.set()
        assert wire.read().body == b"late"
    at_rest(balancer)
    hedges, won = counted(balancer, "hedges", "hedges_won")
    assert (hedges, won) == (1, 0)


def test_a_client_that_leaves(stage: Stage):
    """Both tries end."""
    servers = [stage.server(name).on(b"/x", hung) for name in ("one", "two")]
    balancer = stage.balancer(backend([one.address for one in servers], retry=SOON))
    wire = balancer.wire().send(GET)
    for server in servers:
        server.wait(lambda server=server: server.requests)
    wire.reset()
    for server in servers:
        ends(server)
    at_rest(balancer)
    assert counted(balancer, "hedges", "hedges_won") == [1, 0]


def test_what_is_not_hedged(stage: Stage, go):
    """What may not be repeated, what has no leave of the budget, and where nobody else is free."""
    for request, retry, more in [
        (POST, SOON, {}),
        (GET, {"hedge": "20ms", "budget": "20%", "budget_min": 0}, {}),
        (GET, SOON, {"limits": {"requests": 1}}),
    ]:
        done = threading.Event()
        servers = [stage.server(name).on(b"", late(done)) for name in ("one", "two")]
        config = backend([one.address for one in servers], retry=retry, **more)
        balancer = stage.balancer(config)
        assert balancer.ask(request).body == b"late"
        at_rest(balancer)
        assert counted(balancer, "hedges") == [0]
        assert sum(len(one.heads) for one in servers) == 1


def late(never: threading.Event):
    """Longer than the hedge would wait, and a tick of the timers."""

    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.hold(never, 0.15)
        conversation.answer(b"late")

    return script


def test_the_time_is_learnt(stage: Stage, go):
    """p90 of quick answers is soon over; before the first answer nobody is hedged."""
    _, _, balancer = two(stage, silent(go), {"hedge": "p90", "budget_min": 1000})
    with balancer.wire() as wire:
        for _ in range(20):
            assert wire.send(b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n").read().status == 200
        while counted(balancer, "hedges_won") == [0]:
            assert wire.send(GET).read().body == b"quick"
    at_rest(balancer)


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_streams_of_http2(stage: Stage, go, protocol: str):
    """A client's stream, and a server's: the loser is reset, its connection stays."""
    if protocol == "h2":
        slow, quick = Http2Server("slow"), Http2Server("quick")
        slow.held.add(b"/x")
        stage.servers += [slow, quick]
    else:
        slow, quick = stage.server("slow").on(b"/x", silent(go)), stage.server("quick")
    config = backend([slow.address, quick.address], retry=SOON, protocol=protocol)
    config["listeners"]["web"]["http_versions"] = [1.1, 2]
    balancer = stage.balancer(config)
    with Http2(balancer.wire()) as client:
        ids = [client.ask(path="/x") for _ in range(6)]
        assert [client.answer(id).body for id in ids] == [b"quick"] * 6
        at_rest(balancer)
        assert client.get(path="/y").status == 200
    hedges, won = counted(balancer, "hedges", "hedges_won")
    assert hedges >= won > 0
    assert len(quick.conversations) == 1 or protocol == "http/1.1"


def test_what_the_file_may_not_say():
    for said, word in [
        ({"hedge": "p100"}, "p100"),
        ({"hedge": "0ms"}, "two servers"),
        ({"hedge": "20ms", "attempts": 0}, "attempts"),
        ({"hedge": "20ms", "budget": "0%"}, "budget"),
    ]:
        with pytest.raises(ValidationError, match=word):
            Retry.model_validate(said)
    text = (
        "listeners: {web: {bind: ':80', protocol: http, backend: b}}\n"
        "backends: {b: {servers: ['127.0.0.1:1'], persistence: source, retry: {hedge: p95}}}\n"
    )
    with pytest.raises(ConfigErrors, match="persistence"):
        compile_plan(loads(text.encode(), "f"))
