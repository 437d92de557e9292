"""Bandwidth on the wire: how much passes in how much time, alone, shared, and beside others.

Every bound in time is a lower one (a limit that lets too much pass is what is looked for); that it
lets enough pass is seen by the counters and by generous times.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from fourseven.forms import RouteFilter
from support.balancer import site
from support.front import Front, Stage
from support.http2 import Http2, request
from support.recorder import Conversation
from support.service import settled
from support.wire import Message, chunked

KIB = 1024
BODY = bytes(range(256)) * 4096  # 1 MiB


def framed(how: str, size: int):
    body = BODY[:size]

    def script(talk: Conversation, asked: Message) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        if how == "length":
            talk.send(head + b"Content-Length: %d\r\n\r\n" % size + body)
        elif how == "chunked":
            talk.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body))
        else:
            talk.send(head + b"Connection: close\r\n\r\n" + body)
            talk.finish()

    return script


def limited(
    stage: Stage, workers: int = 1, filters: list[Any] | None = None, **words: Any
) -> Front:
    server = stage.server()
    route = {"backend": "all", "filters": filters or [{"bandwidth": words}]}
    config = site(server.address, routes=[route], http_versions=[1.1, 2])
    front = Front(server, stage.balancer(config, workers=workers))
    for how in ("length", "chunked", "close"):
        server.on(b"/" + how.encode(), framed(how, 300 * KIB))
    server.on(b"/", framed("length", 300 * KIB))
    return front


@pytest.fixture(scope="module")
def common() -> Iterator[Front]:
    stage = Stage()
    try:
        yield limited(stage, response="1MiB/s", request="1MiB/s")
        stage.verify()
    finally:
        stage.strike()


def timed(work) -> tuple[float, Any]:
    begun = time.monotonic()
    result = work()
    return time.monotonic() - begun, result


LEAST = (
    300 - 103 - 16
) / 1024  # what burst (100 ms) and the last piece leave of 300 KiB at 1 MiB/s


@pytest.mark.parametrize("how", ["length", "chunked", "close"])
def test_an_answer_takes_its_time(common: Front, how):
    took, answer = timed(lambda: common.balancer.get(f"/{how}"))
    assert answer.body == BODY[: 300 * KIB]
    assert took >= LEAST
    assert common.balancer.counters()["workers"]["bandwidth_waits"] > 0


def test_a_request_takes_its_time(common: Front):
    common.server.on(b"/up", lambda talk, asked: (talk.read_body(asked), talk.answer(b"ok")))
    for body in (
        b"Content-Length: %d\r\n\r\n%s" % (300 * KIB, BODY[: 300 * KIB]),
        b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY[: 200 * KIB], BODY[: 100 * KIB]),
    ):
        took, answer = timed(
            lambda body=body: common.balancer.ask(b"POST /up HTTP/1.1\r\nHost: a\r\n" + body)
        )
        assert answer.body == b"ok"
        assert took >= LEAST
    assert [len(one.body) for one in common.server.requests if one.target == b"/up"] == [
        300 * KIB
    ] * 2


def test_small_answers_do_not_wait(common: Front):
    common.server.on(b"/small", framed("length", 1000))
    before = common.balancer.counters()["workers"]["bandwidth_waits"]
    with common.wire() as wire:
        for _ in range(20):  # each has a burst of its own
            wire.send(b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read().body == BODY[:1000]
        wire.send(b"HEAD /small HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read(b"HEAD").status == 200
    assert common.balancer.counters()["workers"]["bandwidth_waits"] == before


def test_other_streams_of_the_connection_go_on(stage: Stage):
    """While one is held back for good, a hundred others come and go."""
    server = stage.server()
    slow = {"match": {"path": "/slow"}, "backend": "all", "filters": [{"bandwidth": "1KiB/s"}]}
    config = site(server.address, routes=[slow, {"backend": "all"}], http_versions=[1.1, 2])
    front = Front(server, stage.balancer(config))
    server.on(b"/slow", framed("length", 200 * KIB))
    with Http2(front.wire()) as h2:
        h2.grant(0, 1 << 24)
        id = h2.ask(request("GET", "/slow"))
        h2.begun(id)
        for _ in range(100):
            assert h2.get(request("GET", "/quick")).status == 200
        assert not h2.answers[id].ended
        h2.reset(id)
        assert h2.get(request("GET", "/quick")).status == 200
    servers = front.balancer.counters()["servers"]
    assert settled(lambda: all(row["in_flight"] == 0 for row in servers.values()))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("by", ["route", "client"])
def test_those_who_share_get_no_more_together(stage: Stage, workers: int, by: str):
    rate, burst, piece, clients, each = 1024 * KIB, 103 * KIB, 16 * KIB, 6, 100 * KIB
    front = limited(stage, workers, response="1MiB/s", by=by)
    front.server.on(b"/", framed("length", each))
    done: list[float] = []
    begun = time.monotonic()

    def load() -> None:
        assert front.balancer.get("/").body == BODY[:each]
        done.append(time.monotonic() - begun)

    threads = [threading.Thread(target=load) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == clients
    assert max(done) >= (clients * each - burst - piece) / rate
    assert max(done) < 20


def test_keys_have_their_own(stage: Stage):
    front = limited(stage, response="200KiB/s", by={"header": "X-Who"}, burst="301KiB")
    took, _ = timed(lambda: [front.balancer.get("/", f"X-Who: {n}") for n in range(4)])
    assert front.balancer.counters()["workers"]["bandwidth_waits"] == 0
    front.server.on(b"/", framed("length", 100 * KIB))
    took, _ = timed(lambda: [front.balancer.get("/", "X-Who: 0") for _ in range(2)])
    assert took >= (200 - 16) / 200 - took / 4  # the first ones may have filled it again a little
    assert front.balancer.counters()["workers"]["bandwidth_waits"] > 0


def test_of_several_limits_the_smallest_holds(stage: Stage):
    both = [{"bandwidth": "100MiB/s"}, {"bandwidth": {"response": "1MiB/s", "by": "route"}}]
    front = limited(stage, filters=both)
    took, answer = timed(lambda: front.balancer.get("/"))
    assert answer.body == BODY[: 300 * KIB]
    assert took >= LEAST


def test_what_is_compressed_counts_as_it_goes(stage: Stage):
    front = limited(stage, filters=[{"compress": "gzip"}, {"bandwidth": "64KiB/s"}])
    body = b"much of the same " * 60_000
    front.server.on(
        b"/", lambda talk, asked: talk.answer(body, headers=b"Content-Type: text/plain\r\n")
    )
    took, answer = timed(lambda: front.balancer.get("/", "Accept-Encoding: gzip"))
    assert answer.get("content-encoding") == b"gzip"
    assert took < 10  # uncompressed it would take 16 s
    with Http2(front.wire()) as h2:
        h2.grant(0, 1 << 20)
        got = h2.get(request("GET", "/", ("accept-encoding", "gzip")))
        assert got.ended
        assert len(got.body) < len(body) // 50


def test_who_leaves_while_held_back_leaves_nothing_behind(stage: Stage):
    front = limited(stage, response="1KiB/s", request="1KiB/s", by="client")
    down, up = front.wire(), front.wire()
    down.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").read_head()
    up.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n" + BODY[:99999])
    assert settled(lambda: front.balancer.counters()["workers"]["bandwidth_waits"] >= 2)
    down.reset()
    up.reset()

    def at_rest() -> bool:
        counters = front.balancer.counters()
        idle = all(row["in_flight"] == 0 for row in counters["servers"].values())
        return idle and counters["workers"]["buffers_large"] == 0

    assert settled(at_rest)


def test_no_timeout_runs_while_we_hold_it_back(stage: Stage):
    """They are shorter than a piece takes."""
    server = stage.server()
    route = {
        "backend": "all",
        "filters": [{"bandwidth": {"response": "20KiB/s", "request": "20KiB/s"}}],
    }
    config = site(server.address, routes=[route], send_timeout="60ms")
    config["backends"]["all"] |= {"response_timeout": "60ms", "read_timeout": "60ms"}
    front = Front(server, stage.balancer(config))

    def echo(talk: Conversation, asked: Message) -> None:
        talk.answer(talk.read_body(asked))

    server.on(b"/", echo)
    body = BODY[: 8 * KIB]
    answer = front.balancer.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8192\r\n\r\n" + body
    )
    assert (answer.status, answer.body) == (200, body)


def test_a_reload_keeps_what_is_shared(stage: Stage):
    front = limited(stage, response="10KiB/s", by="route", burst="300KiB")
    assert len(front.balancer.get("/").body) == 300 * KIB
    front.balancer.reload(front.balancer.config)
    front.server.on(b"/", framed("length", 2 * KIB))
    before = front.balancer.counters()["workers"]["bandwidth_waits"]
    front.balancer.get("/")
    assert front.balancer.counters()["workers"]["bandwidth_waits"] > before


@pytest.mark.parametrize(
    "words, fault",
    [
        ({}, "limits nothing"),
        ("1MiB", "is no bandwidth"),
        ("1MB/s", "MiB"),
        ("1B/s", "out of range"),
        ("17GiB/s", "out of range"),
        ({"response": "1MiB/s", "by": "clint"}, "is no key"),
        ({"response": "1MiB/s", "burst": "16GiB"}, "less than"),
    ],
)
def test_faults_of_the_file(words, fault):
    with pytest.raises(ValidationError, match=fault):
        RouteFilter.model_validate({"bandwidth": words})
