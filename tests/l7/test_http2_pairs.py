"""Both versions on both sides: what each of the four translations must do at the odd moments.

A drain with requests under way, several workers, servers that close behind each answer or speak
HTTP/1.0, clients of HTTP/1.0, answers that come before the request is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hyperframe.frame import GoAwayFrame

from support.front import Front, Stage
from support.http2 import NO_ERROR
from support.http2_back import back_of, in_flight
from support.http2_server import Call
from support.http2_stage import client, front_of, scripted
from support.recorder import Conversation, raw
from support.wire import CLOSED, Message

CLIENTS = ["1.0", "1.1", "2"]
SERVERS = ["1", "2"]


@pytest.fixture(scope="module")
def fronts() -> Iterator[dict[str, Front]]:
    """A balancer for each kind of server."""
    with Stage() as stage:
        yield {"1": front_of(stage), "2": back_of(stage)}


def ask(front: Front, version: str, path: str = "/x") -> tuple[int, bytes]:
    if version == "2":
        with client(front) as http:
            answer = http.get("GET", path)
            return answer.status, answer.body
    told = front.balancer.ask(f"GET {path} HTTP/{version}\r\nHost: a\r\n\r\n".encode())
    return told.status, told.body


# ---- drain ----


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_a_drain_finishes_calls(stage: Stage, version: str):
    """To servers of HTTP/2: what runs is finished, over a connection that all of them share."""
    back = back_of(stage)
    back.server.held.add(b"/hold")
    with client(back) as http, back.wire() as wire:
        asked = [http.ask("GET", "/hold") for _ in range(5)] if version == "2" else []
        if version == "1.1":
            wire.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        count = len(asked) or 1
        back.server.wait(lambda: len(back.server.calls(b"/hold")) == count)
        back.balancer.order("drain")
        if version == "2":
            while not http.goaways:
                http.read()
            late = http.ask("GET", "/late")  # on its way when the client heard of it
            assert http.answer(late).status == 200
        for call in back.server.calls(b"/hold"):
            call.answer(b"done")
        assert [http.answer(id).body for id in asked] == [b"done"] * len(asked)
        if version == "1.1":
            answer = wire.read()
            assert (answer.body, answer.get("connection")) == (b"done", b"close")
            assert wire.ended()
        else:
            http.pong()
            assert http.goaway() == NO_ERROR


# ---- several workers ----


def test_workers_have_connections_of_their_own(stage: Stage):
    back = back_of(stage, workers=3)
    back.server.held.add(b"/hold")
    with ExitStack() as all_:
        clients = [all_.enter_context(client(back)) for _ in range(12)]
        asked = [(http, http.ask("GET", "/hold")) for http in clients for _ in range(4)]
        back.server.wait(lambda: len(back.server.calls(b"/hold")) == 48)
        assert in_flight(back) == 48
        for at, call in enumerate(back.server.calls(b"/hold")):
            call.answer(b"%d" % at)
        assert {http.answer(id).body for http, id in asked} == {b"%d" % at for at in range(48)}
    busy = [one for one in back.balancer.counters()["workers"]["accepted_by_worker"] if one]
    assert len(back.server.conversations) == len(busy) <= 3
    back.server.wait(lambda: in_flight(back) == 0)


# ---- servers that end their connections ----

OLD = {
    "HTTP/1.0": raw(b"HTTP/1.0 200 OK\r\n\r\nold", CLOSED),
    "HTTP/1.0 with a length": raw(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", CLOSED),
    "close": raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nold", CLOSED),
    "until close": raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nold", CLOSED),
}


@pytest.mark.parametrize("name", OLD)
@pytest.mark.parametrize("version", CLIENTS)
def test_a_server_that_closes(fronts: dict[str, Front], version: str, name: str):
    front = fronts["1"]
    scripted(front, b"/old", OLD[name])
    for _ in range(2):
        assert ask(front, version, "/old") == (200, b"old")
    assert ask(front, version) == (200, b"server")


@pytest.mark.parametrize("version", CLIENTS)
def test_a_server_that_says_goodbye(fronts: dict[str, Front], version: str):
    """The same of HTTP/2: GOAWAY with each answer."""
    back = fronts["2"]

    def goodbye(call: Call) -> None:
        call.talk.put(GoAwayFrame(0, last_stream_id=call.id, error_code=0))
        call.answer(b"bye")

    back.server.scripts[b"/bye"] = goodbye
    for _ in range(2):
        assert ask(back, version, "/bye") == (200, b"bye")
    assert ask(back, version) == (200, b"server")


# ---- answers before the request is whole ----


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("version", CLIENTS)
def test_an_early_answer(fronts: dict[str, Front], version: str, server: str):
    front = fronts[server]
    if server == "1":

        def early(conversation: Conversation, asked: Message) -> None:
            conversation.answer(b"no", b"413 Too Large")

        scripted(front, b"/up", early)
    else:
        front.server.early[b"/up"] = lambda call: (
            call.answer(b"no", status="413"),
            call.cancel(NO_ERROR),
        )
    if version == "2":
        with client(front) as http:
            answer = http.answer(http.ask("POST", "/up", end=False))
            assert (answer.status, answer.body) == (413, b"no")
            assert http.get("GET", "/x").status == 200  # the connection is as good as before
    else:
        head = f"POST /up HTTP/{version}\r\nHost: a\r\nContent-Length: 90000\r\n\r\n"
        with front.wire() as wire:
            wire.send(head.encode() + b"begun")
            answer = wire.read()
            assert (answer.status, answer.body) == (413, b"no")
            assert wire.ended()  # what still comes can't be told from a request
    assert ask(front, version) == (200, b"server")


# ---- trailers that stand behind a length, as HTTP/2 permits ----

LENGTHS = {  # fields of the head beside the length -> are the trailers kept for HTTP/2?
    "grpc": ([("content-type", "application/grpc")], True),
    "announced": ([("trailer", "x-sum")], True),
    "neither": ([("content-type", "text/plain")], False),
    "twice": ([("trailer", "x-sum"), ("content-length", "4")], None),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", LENGTHS)
def test_trailers_behind_a_length(fronts: dict[str, Front], name: str, version: int):
    back = fronts["2"]
    more, kept = LENGTHS[name]
    back.server.scripts[b"/t"] = lambda call: (
        call.head(("x-a", "1"), ("content-length", "4"), *more, ("x-z", "2"))
        .data(b"bo")
        .data(b"dy")
        .tail(("x-sum", "2"))
    )
    if version == 1:
        told = back.balancer.ask(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
        assert told.status == (502 if kept is None else 200)
        assert kept is None or (told.body, told.get("content-length")) == (b"body", b"4")
        return
    with client(back) as http:
        answer = http.get("GET", "/t")
    assert answer.status == (502 if kept is None else 200)
    if kept is not None:
        assert (answer.body, answer.get("x-a"), answer.get("x-z")) == (b"body", b"1", b"2")
        assert answer.get("content-length") == (None if kept else b"4")
        assert answer.trailers == ([(b"x-sum", b"2")] if kept else [])
