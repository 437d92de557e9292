"""Mirrors: what is copied and what is not, and that nobody waits for a copy."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import pytest

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.errors import ConfigErrors
from support.balancer import Balancer, Config
from support.front import Stage
from support.gates import asked, at_rest, guarded
from support.http2 import Http2
from support.http2_server import Http2Server
from support.nowhere import refused
from support.recorder import Conversation, Recorder, raw
from support.tls import Authority, TlsRecorder, self_made
from support.wire import Message

GET = asked(b"GET /a?b=c", Cookie=b"s=1")
NAME = "shadow.example"


@pytest.fixture
def go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def mirrored(
    stage: Stage, shadow: Recorder | str, backend: Config | None = None, **said
) -> tuple[Recorder, Config]:
    """The route's own server, and a configuration whose copies go to the shadow."""
    server = stage.server()
    config = guarded(server.address, {"mirror": {"backend": "shadow", **said}})
    config["listeners"]["web"]["http_versions"] = [1.1, 2]
    address = shadow if isinstance(shadow, str) else shadow.address
    config["backends"]["shadow"] = {"servers": [address], **(backend or {})}
    return server, config


def counters(balancer: Balancer) -> dict[str, int]:
    seen = balancer.counters()["workers"]
    found = {name: seen[f"mirror_{name}"] for name in ("copies", "failed", "skipped", "given_up")}
    return {name: number for name, number in found.items() if number}


def test_a_copy_is_the_request(stage: Stage):
    """Head and body, as the route's own server got them; the mark stands on the copy alone."""
    shadow = stage.server("shadow")
    server, config = mirrored(stage, shadow, header="X-Copy")
    balancer = stage.balancer(config)
    bodies = [
        (asked(b"GET /a?b=c", X_Copy=b"1"), b"", b""),
        (asked(b"POST /b", Content_Length=b"5"), b"hello", b"hello"),
        (asked(b"PUT /c", Transfer_Encoding=b"chunked"), b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (asked(b"PUT /d", Content_Length=b"50000"), b"x" * 50_000, b"x" * 50_000),
        (asked(b"HEAD /e"), b"", b""),
        (asked(b"POST /f", Content_Length=b"2", Expect=b"100-continue"), b"hi", b"hi"),
    ]
    with balancer.wire() as wire:
        for head, body, _ in bodies:
            wire.send(head, body)
            method = head.split(b" ")[0]
            answer = wire.read(method)
            while answer.status == 100:
                answer = wire.read(method)
            assert (answer.status, answer.body) == (200, b"" if method == b"HEAD" else b"server")
    at_rest(balancer)
    shadow.settle()
    by_path = {one.target: one for one in shadow.requests}
    assert len(shadow.requests) == len(bodies)
    for own, (_, _, body) in zip(server.requests, bodies, strict=True):
        copy = by_path[own.target]
        assert own.body == copy.body == body
        assert (own.method, own.all("x-copy"), copy.all("x-copy")) == (copy.method, [], [b"1"])
        left = [pair for pair in copy.headers if pair[0].lower() not in (b"x-copy", b"expect")]
        assert left == [pair for pair in own.headers if pair[0].lower() != b"expect"]
    assert counters(balancer) == {"copies": len(bodies)}


def hung(go: threading.Event):
    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.hold(go)
        conversation.answer(b"late")

    return script


def reset(conversation: Conversation, request: Message) -> None:
    conversation.reset()


def giant(conversation: Conversation, request: Message) -> None:
    conversation.read_body(request)
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000000\r\n\r\n")
    try:
        for _ in range(1000):
            conversation.send(b"x" * 65_536)
    except OSError:
        conversation.close()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SHADOWS = {
    "resets": (reset, "failed"),
    "says nothing of HTTP": (raw(b"hello\r\n\r\n", "closed"), "failed"),
    "is cut short": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "closed"), "failed"),
    "breaks its chunks": (raw(CHUNKED + b"zz\r\n", "closed"), "failed"),
    "fails": (raw(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"), ""),
    "ends by closing": (raw(b"HTTP/1.1 200 OK\r\n\r\nsome text", "closed"), ""),
    "answers in chunks": (raw(CHUNKED + b"3\r\nabc\r\n" * 9 + b"0\r\n\r\n"), ""),
    "answers early hints": (raw(b"HTTP/1.1 103 E\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"), ""),
    "answers without end": (giant, ""),
}


@pytest.fixture(scope="module")
def many() -> Iterator[tuple[Stage, Balancer, Recorder]]:
    """One balancer for all shadows that misbehave: they differ by path."""
    with Stage() as stage:
        shadow = stage.server("shadow")
        _, config = mirrored(stage, shadow, timeout="10s")
        yield stage, stage.balancer(config), shadow


@pytest.mark.parametrize("how", SHADOWS)
def test_a_shadow_that(many, how: str):
    """The client gets its own answer, its route and backend know nothing, and nothing is left."""
    _, balancer, shadow = many
    script, counted = SHADOWS[how]
    path = b"/" + how.replace(" ", "-").encode()
    shadow.on(path, script)
    before = at_rest(balancer)
    with balancer.wire() as wire:
        for _ in range(3):
            assert wire.send(asked(b"GET " + path)).read().body == b"server"
    after = at_rest(balancer)
    shadow.settle()

    def grown(name: str) -> int:
        return after["workers"][f"mirror_{name}"] - before["workers"][f"mirror_{name}"]

    assert grown("copies") == 3
    assert grown("failed") == (3 if counted == "failed" else 0)
    row = after["routes"]["web routes[0]"]
    assert (
        sum(row["status"].values() if isinstance(row["status"], dict) else row["status"])
        == (row["ended"])
    )
    assert not any(row["reasons"].values())
    own = after["backends"]["all"]
    assert (own["retries"], own["pick_failed"]) == (0, 0)
    assert own["requests"] == row["ended"]


def test_a_shadow_that_is_down(stage: Stage):
    with refused() as address:
        _, config = mirrored(stage, address)
        balancer = stage.balancer(config)
        with balancer.wire() as wire:
            for _ in range(5):
                assert wire.send(GET).read().body == b"server"
        at_rest(balancer)
        assert counters(balancer) == {"copies": 5, "failed": 5}


def test_no_more_than_so_many_at_once(stage: Stage, go):
    """A shadow that hangs costs its places and nothing else; the time for an answer frees them."""
    shadow = stage.server("shadow").on(b"/a", hung(go))
    _, config = mirrored(stage, shadow, max_in_flight=3, timeout="300ms")
    balancer = stage.balancer(config, workers=2)
    for _ in range(10):
        assert balancer.ask(GET).body == b"server"
    seen = counters(balancer)
    assert seen["copies"] + seen["skipped"] == 10
    assert seen["copies"] >= 3
    at_rest(balancer)
    seen = counters(balancer)
    assert seen["failed"] == seen["copies"]
    assert balancer.ask(GET).body == b"server"
    assert counters(balancer)["copies"] == seen["copies"] + 1
    stage.balancers.remove(balancer)
    balancer.stop()  # while a copy is on its way


def test_bodies_that_are_not_copied(stage: Stage):
    shadow = stage.server("shadow")
    server, config = mirrored(stage, shadow, body_max="1KiB")
    balancer = stage.balancer(config)
    large = b"%x\r\n%s\r\n0\r\n\r\n" % (2000, b"y" * 2000)
    with balancer.wire() as wire:
        wire.send(asked(b"POST /a", Content_Length=b"2000"), b"x" * 2000)
        assert wire.read().status == 200
        wire.send(asked(b"POST /b", Transfer_Encoding=b"chunked"), large)
        assert wire.read().status == 200
        wire.send(asked(b"POST /c", Content_Length=b"200000"), b"x" * 200_000)
        assert wire.read().status == 200
    assert [len(one.body) for one in server.requests] == [2000, 2000, 200_000]
    at_rest(balancer)
    assert counters(balancer) == {"given_up": 3}
    assert shadow.received == b""


def test_what_a_filter_refused_is_not_copied(stage: Stage):
    shadow = stage.server("shadow")
    _, config = mirrored(stage, shadow)
    config["listeners"]["web"]["routes"][0]["filters"].append({"access": {"deny": ["127.0.0.1"]}})
    balancer = stage.balancer(config)
    assert balancer.ask(GET).status == 403
    assert counters(balancer) == {}


@pytest.mark.parametrize("protocol", ["1.1", "2"])
def test_the_share(stage: Stage, protocol: str):
    """Within seven deviations: chance goes beyond them once in 10^11 times."""
    shadow = stage.server("shadow")
    _, config = mirrored(stage, shadow, share="25%", max_in_flight=1000)
    balancer = stage.balancer(config)
    asks = 400
    if protocol == "2":
        with Http2(balancer.wire()) as client:
            for _ in range(asks // 50):
                for id in [client.ask(path="/x") for _ in range(50)]:
                    assert client.answer(id).status == 200
    else:
        with balancer.wire() as wire:
            for _ in range(asks // 50):
                wire.send(GET * 50)
                for _ in range(50):
                    assert wire.read().status == 200
    at_rest(balancer)
    copies = counters(balancer)["copies"]
    assert abs(copies - asks / 4) < 7 * math.sqrt(asks * 3 / 16)
    shadow.settle()
    assert len(shadow.requests) == copies


def test_the_same_clients_are_copied(stage: Stage):
    shadow = stage.server("shadow")
    _, config = mirrored(stage, shadow, share="50%", by={"header": "X-User"}, max_in_flight=1000)
    balancer = stage.balancer(config, workers=2)
    for _ in range(2):
        for user in range(60):
            assert balancer.get("/", f"X-User: {user}").status == 200
    at_rest(balancer)
    shadow.settle()
    users = [one.get("x-user") for one in shadow.requests]
    assert 4 < len(set(users)) < 56  # beyond: once in 10^12 times
    assert sorted(users) == sorted([*set(users), *set(users)])


def test_several_mirrors_and_streams_of_http2(stage: Stage):
    shadows = [stage.server("one"), stage.server("two")]
    server, config = mirrored(stage, shadows[0])
    config["listeners"]["web"]["routes"][0]["filters"].append({"mirror": "second"})
    config["backends"]["second"] = {"servers": [shadows[1].address]}
    balancer = stage.balancer(config)
    with Http2(balancer.wire()) as client:
        ids = [client.ask("POST", "/x", end=False) for _ in range(5)]
        for id in ids:
            client.data(id, b"hi", end=True)
        assert [client.answer(id).body for id in ids] == [b"server"] * 5
    at_rest(balancer)
    for each in (server, *shadows):
        each.settle()
        assert [one.body for one in each.requests] == [b"hi"] * 5
    assert counters(balancer) == {"copies": 10}


def test_the_shadow_must_prove_who_it_is(stage: Stage, authority: Authority, tmp_path):
    """TLS is verified; connections are kept."""
    proof = authority.issue("shadow.pem", NAME)
    for file, failed in ((proof, 0), (self_made(tmp_path), 4)):
        shadow = TlsRecorder(authority.server_context(file))
        stage.servers.append(shadow)
        tls = {"tls": {"ca": str(authority.pem), "name": NAME}}
        _, config = mirrored(stage, shadow, tls)
        balancer = stage.balancer(config)
        with balancer.wire() as wire:
            for _ in range(4):
                assert wire.send(GET).read().body == b"server"
                at_rest(balancer)
        seen = counters(balancer)
        assert (seen["copies"], seen.get("failed", 0)) == (4, failed)
        assert len(shadow.greeted) == (0 if failed else 1)


def test_a_shadow_that_speaks_http2(stage: Stage):
    shadow = Http2Server("shadow")
    stage.servers.append(shadow)
    _, config = mirrored(stage, shadow, {"protocol": "h2"})
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        for _ in range(4):
            assert wire.send(asked(b"POST /x", Content_Length=b"2"), b"hi").read().status == 200
    at_rest(balancer)
    assert counters(balancer) == {"copies": 4}
    assert [one.body for one in shadow.requests] == [b"hi"] * 4
    assert len(shadow.conversations) == 1


def test_a_client_that_leaves_takes_no_copy_with_it(stage: Stage, go):
    shadow = stage.server("shadow").on(b"/a", hung(go))
    _, config = mirrored(stage, shadow)
    balancer = stage.balancer(config)
    wire = balancer.wire()
    assert wire.send(GET).read().body == b"server"
    wire.close()
    config["listeners"]["web"]["routes"][0]["filters"] = []
    del config["backends"]["shadow"]
    balancer.reload(config)  # its snapshot is pinned by the copy alone
    go.set()
    at_rest(balancer)
    assert counters(balancer) == {"copies": 1}


def test_what_the_file_may_not_say():
    text = (
        "listeners: {web: {bind: ':80', protocol: http, routes: [{%s, filters: [%s]}]}}\n"
        "backends: {b: {servers: ['127.0.0.1:1']}, "
        "p: {servers: ['127.0.0.1:2'], proxy_protocol: v2}}\n"
    )
    for route, steps, word in [
        ("backend: b", "{mirror: nobody}", "nobody"),
        ("backend: b", "{mirror: p}", "proxy_protocol"),
        ("backend: b", "{mirror: {backend: b, body_max: 1MiB}}", "body_max"),
        ("backend: b", ", ".join(["{mirror: b}"] * 9), "mirrors"),
        ("match: {path: /}", "{mirror: b}, {respond: 403}", "answers itself"),
    ]:
        with pytest.raises(ConfigErrors, match=word):
            compile_plan(loads((text % (route, steps)).encode(), "f"))
