"""Injected faults and limits of bodies, through a balancer."""

from __future__ import annotations

import time

import pytest
from pydantic import ValidationError

from fourseven.forms import RouteFilter
from support.balancer import site
from support.front import Front, Stage
from support.recorder import Conversation
from support.service import settled
from support.wire import EndedError, Message, chunked


def routed(stage: Stage, **routes) -> Front:
    """One route for each name, below that path."""
    server = stage.server()
    said = [
        {"match": {"path": f"/{name}/"}, "backend": "all", "filters": filters}
        for name, filters in routes.items()
    ]
    return Front(server, stage.balancer(site(server.address, routes=said)))


def test_faults(stage: Stage):
    front = routed(
        stage,
        all=[{"fault": {"abort": {"status": 502}}}],
        half=[{"fault": {"abort": {"share": "50%"}}}],
        key=[{"fault": {"abort": {"share": "50%"}, "by": {"header": "X-Who"}}}],
        named=[{"fault": {"abort": {"status": 429}, "header": "X-Fault"}}],
        slow=[{"fault": {"delay": {"time": "60ms"}, "abort": {"status": 504}}}],
        late=[{"fault": {"delay": {"time": "60ms"}}}],
    )
    get = front.balancer.get
    assert get("/all/").status == 502
    assert not front.server.heads
    half = [get("/half/").status for _ in range(60)]
    assert 5 < half.count(503) < 55  # by chance once in 10^11
    assert half.count(503) + half.count(200) == 60
    once = [get("/key/", f"X-Who: {n}").status for n in range(30)]
    assert once == [get("/key/", f"X-Who: {n}").status for n in range(30)]
    assert 5 < once.count(503) < 25  # no chance: the key's hash has no seed
    assert get("/named/").status == 200
    assert get("/named/", "x-fault:").status == 429
    for path, status in (("/slow/", 504), ("/late/", 200)):
        begun = time.monotonic()
        assert get(path).status == status
        assert time.monotonic() - begun > 0.058  # the worker counts whole milliseconds
    counted = front.balancer.counters()["routes"]
    assert counted["web routes[0]"]["reasons"] == {"injected": 1}
    assert counted["web routes[4]"]["reasons"] == {"injected": 1}


def test_who_leaves_amid_a_delay_leaves_nothing_behind(stage: Stage):
    front = routed(stage, late=[{"concurrency": 1}, {"fault": {"delay": {"time": "10s"}}}], ok=[])
    with front.wire() as wire:
        wire.send(b"GET /late/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert settled(lambda: late(front)["begun"] == 1)
        assert front.balancer.get("/late/").status == 503
        wire.reset()
    assert settled(lambda: late(front)["ended"] == 2)
    assert front.balancer.get("/ok/").status == 200
    with front.wire() as wire:
        wire.send(b"GET /late/ HTTP/1.1\r\nHost: a\r\n\r\n")
        assert settled(lambda: late(front)["begun"] == 3)
        assert wire.quiet(0.05)
        assert late(front)["ended"] == 2  # it has entered anew


def late(front: Front) -> dict[str, int]:
    return front.balancer.counters()["routes"]["web routes[0]"]


POST = b"POST /in/ HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "request_, status",
    [
        (POST + b"Content-Length: 100\r\n\r\n" + b"x" * 100, 200),
        (POST + b"Content-Length: 101\r\n\r\n" + b"x" * 101, 413),
        (POST + b"Content-Length: 9999999\r\n\r\n", 413),
        (POST + b"Content-Length: 9999999\r\nExpect: 100-continue\r\n\r\n", 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 60, b"y" * 40), 200),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 60, b"y" * 41), 413),
        (b"GET /in/ HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ],
)
def test_a_request_is_no_larger_than_its_route_lets_it(kept, request_, status):
    front = kept
    assert front.balancer.ask(request_).status == status


@pytest.fixture(scope="module")
def kept():
    with Stage() as stage:
        yield routed(stage, **{"in": [{"body_limit": 100}]})


def body_of(size: int, how: str):
    def script(conversation: Conversation, request: Message) -> None:
        head = b"HTTP/1.1 200 OK\r\n"
        if how == "length":
            conversation.send(head + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        elif how == "chunked":
            conversation.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * size))
        else:
            conversation.send(head + b"Connection: close\r\n\r\n" + b"x" * size)
            conversation.finish()

    return script


@pytest.mark.parametrize("how", ["length", "chunked", "close"])
def test_an_answer_is_no_larger_than_its_route_lets_it(stage: Stage, how: str):
    front = routed(stage, out=[{"body_limit": {"response": "200KiB"}}])
    for path, size in ((b"/out/small", 200 * 1024), (b"/out/large", 200 * 1024 + 1)):
        front.server.scripts[path] = body_of(size, how)
    assert len(front.balancer.get("/out/small").body) == 200 * 1024
    if how == "length":
        assert front.balancer.get("/out/large").status == 502
        answer = front.balancer.ask(b"HEAD /out/large HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.status == 200
    else:
        with pytest.raises(EndedError):
            front.balancer.get("/out/large")
    counted = front.balancer.counters()["routes"]["web routes[0]"]
    assert counted["reasons"] == {"answer_size": 1}


@pytest.mark.parametrize(
    "said, words",
    [
        ({"fault": {}}, "does nothing"),
        ({"fault": {"abort": {"status": 200}}}, "is no fault"),
        ({"fault": {"abort": {"share": "101%"}}}, "less than"),
        ({"fault": {"abort": {"share": 5}}}, "is no share"),
        ({"body_limit": {}}, "limits nothing"),
        ({"body_limit": 0}, "greater than"),
        ({"concurrency": {"max": 70000, "by": "client"}}, "65000"),
        ({"adaptive_concurrency": {"min": 9, "max": 8}}, "not in this order"),
    ],
)
def test_faults_of_the_file(said, words):
    with pytest.raises(ValidationError, match=words):
        RouteFilter.model_validate(said)
