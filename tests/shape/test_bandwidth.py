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
from support.again import again
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


COMMON = {  # by path
    "each": [{"bandwidth": {"response": "1MiB/s", "request": "1MiB/s"}}],
    "route": [{"bandwidth": {"response": "1MiB/s", "by": "route"}}],
    "client": [{"bandwidth": {"response": "1MiB/s", "by": "client"}}],
    "keys": [{"bandwidth": {"response": "10KiB/s", "by": {"header": "X-Who"}, "burst": "301KiB"}}],
    "both": [{"bandwidth": "100MiB/s"}, {"bandwidth": {"response": "1MiB/s", "by": "route"}}],
    "coded": [{"compress": "gzip"}, {"bandwidth": "64KiB/s"}],
    "slow": [{"bandwidth": "1KiB/s"}],
    "crawl": [{"bandwidth": {"response": "1KiB/s", "request": "1KiB/s", "by": "client"}}],
    "kept": [{"bandwidth": {"response": "10KiB/s", "by": "route", "burst": "301KiB"}}],
}


@pytest.fixture(scope="module")
def common() -> Iterator[Front]:
    with Stage() as stage:
        server = stage.server()
        routes = [
            {"name": name, "match": {"path": f"/{name}"}, "backend": "all", "filters": filters}
            for name, filters in COMMON.items()
        ]
        config = site(server.address, routes=[*routes, {"backend": "all"}], http_versions=[1.1, 2])
        yield Front(server, stage.balancer(config, workers=2))


@pytest.fixture
def front(common: Front) -> Front:
    common.server.scripts.clear()
    common.server.on(b"", framed("length", 300 * KIB))
    return common


def waits(front: Front) -> int:
    return front.balancer.counters()["workers"]["bandwidth_waits"]


def held_back(front: Front, *get: str) -> None:
    """This answer, as large as the burst, has to wait; for half a minute, so nobody waits with it."""
    before = waits(front)
    with front.wire() as wire:
        head = "".join(f"{line}\r\n" for line in ("Host: a", *get[1:]))
        wire.send(f"GET {get[0]} HTTP/1.1\r\n{head}\r\n".encode())
        assert settled(lambda: waits(front) > before)
        wire.reset()
    assert settled(lambda: idle(front))


def timed(work) -> tuple[float, Any]:
    begun = time.monotonic()
    result = work()
    return time.monotonic() - begun, result


LEAST = (300 - 103) / 1024  # what the burst (100 ms) leaves of 300 KiB at 1 MiB/s


@pytest.mark.parametrize("how", ["length", "chunked", "close"])
def test_an_answer_takes_its_time(front: Front, how):
    front.server.on(b"/each", framed(how, 300 * KIB))
    before = waits(front)
    took, answer = timed(lambda: front.balancer.get("/each"))
    assert answer.body == BODY[: 300 * KIB]
    assert took >= LEAST
    assert waits(front) > before


def test_a_request_takes_its_time(front: Front):
    front.server.on(b"/each/up", lambda talk, asked: (talk.read_body(asked), talk.answer(b"ok")))
    for body in (
        b"Content-Length: %d\r\n\r\n%s" % (300 * KIB, BODY[: 300 * KIB]),
        b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY[: 200 * KIB], BODY[: 100 * KIB]),
    ):
        asked = b"POST /each/up HTTP/1.1\r\nHost: a\r\n" + body
        took, answer = timed(lambda asked=asked: front.balancer.ask(asked))
        assert answer.body == b"ok"
        assert took >= LEAST
    sizes = [len(one.body) for one in front.server.requests if one.target == b"/each/up"]
    assert sizes == [300 * KIB] * 2


def test_small_answers_do_not_wait(front: Front):
    front.server.on(b"/each/small", framed("length", 1000))
    before = waits(front)
    with front.wire() as wire:
        for _ in range(20):  # each has a burst of its own
            wire.send(b"GET /each/small HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.read().body == BODY[:1000]
        wire.send(b"HEAD /each/small HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read(b"HEAD").status == 200
    assert waits(front) == before


def idle(front: Front) -> bool:
    counters = front.balancer.counters()
    taken = counters["workers"]["buffers_large"] + counters["workers"]["buffers_small"]
    return taken == 0 and all(row["in_flight"] == 0 for row in counters["servers"].values())


def test_other_streams_of_the_connection_go_on(front: Front):
    """While one is held back for good, a hundred others come and go."""
    front.server.on(b"/quick", framed("length", 100))
    with Http2(front.wire()) as h2:
        h2.grant(0, 1 << 24)
        id = h2.ask(request("GET", "/slow"))
        h2.begun(id)
        for _ in range(100):
            assert h2.get(request("GET", "/quick")).status == 200
        assert not h2.answers[id].ended
        h2.reset(id)
        assert h2.get(request("GET", "/quick")).status == 200
    assert settled(lambda: idle(front))


@pytest.mark.parametrize("by", ["route", "client"])
def test_those_who_share_get_no_more_together(front: Front, by: str):
    """Over both workers."""
    rate, burst, clients, each = 1024 * KIB, 103 * KIB, 6, 100 * KIB
    front.server.on(f"/{by}".encode(), framed("length", each))
    done: list[float] = []
    begun = time.monotonic()

    def load() -> None:
        assert front.balancer.get(f"/{by}").body == BODY[:each]
        done.append(time.monotonic() - begun)

    threads = [threading.Thread(target=load) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == clients
    assert max(done) >= (clients * each - burst) / rate
    assert max(done) < 20


def test_keys_have_their_own(front: Front):
    before = waits(front)
    for n in range(4):
        front.balancer.get("/keys", f"X-Who: {n}")
    assert waits(front) == before
    held_back(front, "/keys", "X-Who: 3")


def test_of_several_limits_the_smallest_holds(front: Front):
    took, answer = timed(lambda: front.balancer.get("/both"))
    assert answer.body == BODY[: 300 * KIB]
    assert took >= LEAST


def test_what_is_compressed_counts_as_it_goes(front: Front):
    body = b"much of the same " * 60_000
    kind = b"Content-Type: text/plain\r\n"
    front.server.on(b"/coded", lambda talk, asked: talk.answer(body, headers=kind))
    took, answer = timed(lambda: front.balancer.get("/coded", "Accept-Encoding: gzip"))
    assert answer.get("content-encoding") == b"gzip"
    assert took < 10  # uncompressed it would take 16 s
    with Http2(front.wire()) as h2:
        h2.grant(0, 1 << 20)
        got = h2.get(request("GET", "/coded", ("accept-encoding", "gzip")))
        assert got.ended
        assert len(got.body) < len(body) // 50


def test_who_leaves_while_held_back_leaves_nothing_behind(front: Front):
    before = waits(front)
    down, up = front.wire(), front.wire()
    down.send(b"GET /crawl HTTP/1.1\r\nHost: a\r\n\r\n").read_head()
    up.send(b"POST /crawl HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n" + BODY[:99999])
    assert settled(lambda: waits(front) >= before + 2)
    down.reset()
    up.reset()
    assert settled(lambda: idle(front))
    front.server.faults.clear()


def test_a_reload_keeps_what_is_shared(front: Front):
    assert len(front.balancer.get("/kept").body) == 300 * KIB
    front.balancer.reload(front.balancer.config)
    held_back(front, "/kept")


@again(0.2)
def test_no_timeout_runs_while_we_hold_it_back(stage: Stage):
    """They are shorter than a piece takes: 300 ms, less what the burst gives."""
    server = stage.server()
    route = {
        "backend": "all",
        "filters": [{"bandwidth": {"response": "20KiB/s", "request": "20KiB/s"}}],
    }
    config = site(server.address, routes=[route], send_timeout="200ms")
    config["backends"]["all"] |= {"response_timeout": "200ms", "read_timeout": "200ms"}
    front = Front(server, stage.balancer(config))

    def echo(talk: Conversation, asked: Message) -> None:
        talk.answer(talk.read_body(asked))

    server.on(b"/", echo)
    body = BODY[: 8 * KIB]
    answer = front.balancer.ask(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8192\r\n\r\n" + body
    )
    assert (answer.status, answer.body) == (200, body)


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
