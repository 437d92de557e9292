"""HTTP/2 to servers: requests of both versions share a connection, each whole and none in another's way."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hyperframe.frame import GoAwayFrame, SettingsFrame

from support.front import Stage
from support.http2 import CANCEL, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, Answer, request
from support.http2_back import Back, back_of, in_flight
from support.http2_server import Call, Http2Server, Script, shut, slam
from support.http2_stage import client
from support.tls import Authority
from support.wire import Message, chunked

MIB = 1024 * 1024
NAME = "server.example"


def answer_aside(body: bytes) -> Script:
    """In a thread of its own, for it waits until it is read."""
    return lambda call: threading.Thread(target=call.answer, args=(body,)).start()


@pytest.fixture(scope="module")
def common() -> Iterator[Back]:
    """One balancer for all tests that ask nothing special of it."""
    with Stage() as stage:
        yield back_of(stage)


@pytest.fixture
def back(common: Back) -> Back:
    common.forget()
    return common


# ---- requests ----


@pytest.mark.parametrize("version", [1, 2])
def test_the_head_of_a_request(back: Back, version: int):
    fields = [("X-Own", "1"), ("Cookie", "a=1; b=2"), ("Connection", "X-Hop"), ("X-Hop", "1")]
    if version == 1:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        back.balancer.ask(f"GET /x?y=1 HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n".encode())
    else:
        with client(back) as http:
            http.get("GET", "/x?y=1", ("x-own", "1"), ("cookie", "a=1"), ("cookie", "b=2"))
    came = back.server.calls(b"/x")[0]
    assert came.pseudo == {
        b":method": b"GET", b":scheme": b"http", b":path": b"/x?y=1", b":authority": b"a.example",
    }  # fmt: skip
    assert (came.get("x-own"), came.get("cookie")) == (b"1", b"a=1; b=2")
    assert came.get("x-forwarded-for") == b"127.0.0.1"
    assert [came.get(name) for name in ("x-hop", "host", "connection", "te")] == [None] * 4


@pytest.mark.parametrize("length", [True, False], ids=["with a length", "without"])
@pytest.mark.parametrize("size", [0, 1, 5000, 65_535, 300_000])
@pytest.mark.parametrize("version", [1, 2])
def test_the_body_of_a_request(back: Back, version: int, size: int, length: bool):
    body = bytes(at * 7 % 251 for at in range(size))
    head = b"POST /up HTTP/1.1\r\nHost: a\r\n"
    if version == 2:
        with client(back) as http:
            more = [("content-length", str(size))] if length else []
            id = http.ask("POST", "/up", *more, end=False)
            if size:
                http.body(id, body)
            else:
                http.data(id, end=True)
            assert http.answer(id).body == b"server"
    elif length:
        sent = head + b"Content-Length: %d\r\n\r\n" % size + body
        assert back.balancer.ask(sent).body == b"server"
    else:
        pieces = [body[at : at + 9000] for at in range(0, size, 9000)]
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*pieces)
        assert back.balancer.ask(sent).body == b"server"
    came = back.server.calls(b"/up")[0]
    assert came.body == body
    assert came.get("content-length") == (str(size).encode() if length else None)


@pytest.mark.parametrize("version", [1, 2])
def test_trailers_both_ways(back: Back, version: int):
    back.server.scripts[b"/t"] = lambda call: (
        call.head(("x-head", "1")).data(b"body").tail(("x-sum", "2"), ("server", "x"))
    )
    if version == 1:
        head = b"POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = back.balancer.ask(head + chunked(b"up", trailers=b"X-Up: 3\r\nHost: b\r\n"))
        assert answer.framing == "chunked"
    else:
        with client(back) as http:
            id = http.ask("POST", "/t", end=False)
            http.data(id, b"up").send(http.head([("x-up", "3"), ("authorization", "4")], id=id))
            answer = http.answer(id)
    assert (answer.body, answer.trailers) == (b"body", [(b"x-sum", b"2")])
    came = back.server.calls(b"/t")[0]
    assert [(name.lower(), value) for name, value in came.trailers] == [(b"x-up", b"3")]


def test_expect_100_continue(back: Back):
    back.server.held.add(b"/e")
    with back.wire() as wire:
        wire.send(
            b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
        call = back.server.call(b"/e")
        assert call.get("expect") == b"100-continue"
        call.head(status="100")
        assert wire.read_head().status == 100
        wire.send(b"body")
        call.wait(lambda: call.whole).answer(b"done")
        assert wire.read().body == b"done"
    assert call.body == b"body"


# ---- answers ----

ANSWERS = {
    "with a length": lambda call: call.answer(b"hello"),
    "without": lambda call: call.head().data(b"hel").data(b"lo", end=True),
    "an empty frame at the end": lambda call: call.head().data(b"hello").data(end=True),
    "an end with trailers": lambda call: call.head().data(b"hello").tail(("x-end", "1")),
    "after interim ones": lambda call: (
        call.head(("link", "</a>"), status="103").head(("link", "</b>"), status="103").answer(b"hello")
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("version", [1, 2])
def test_answers(back: Back, version: int, kind: str):
    back.server.scripts[b"/a"] = ANSWERS[kind]
    answer: Message | Answer
    if version == 1:
        answer = back.balancer.get("/a")
    else:
        with client(back) as http:
            answer = http.get("GET", "/a")
    assert (answer.status, answer.body) == (200, b"hello")
    assert len(answer.interim) == (2 if kind == "after interim ones" else 0)


BODILESS = {
    "an empty one": ("GET", lambda call: call.head(end=True)),
    "an empty one, told": ("GET", lambda call: call.answer()),
    "HEAD": ("HEAD", lambda call: call.head(("content-length", "99"), end=True)),
    "HEAD with an empty frame": ("HEAD", lambda call: call.head().data(end=True)),
    "204": ("GET", lambda call: call.head(status="204", end=True)),
    "304": ("GET", lambda call: call.head(("content-length", "99"), status="304", end=True)),
}


@pytest.mark.parametrize("kind", BODILESS)
@pytest.mark.parametrize("version", [1, 2])
def test_answers_without_a_body(back: Back, version: int, kind: str):
    method, script = BODILESS[kind]
    back.server.scripts[b"/a"] = script
    status = int(kind) if kind.isdigit() else 200
    if version == 1:
        with back.wire() as wire:
            for _ in range(2):  # the connection goes on
                wire.send(f"{method} /a HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                answer = wire.read(method.encode())
                assert (answer.status, answer.body) == (status, b"")
    else:
        with client(back) as http:
            for _ in range(2):
                got = http.get(method, "/a")
                assert (got.status, got.body, got.reset) == (status, b"", None)


def test_a_client_of_http_1_0(back: Back):
    back.server.scripts[b"/a"] = ANSWERS["an end with trailers"]
    answer = back.balancer.ask(b"GET /a HTTP/1.0\r\n\r\n")
    assert (answer.body, answer.framing) == (b"hello", "close")


# ---- one connection for all ----


def test_requests_share_a_connection(stage: Stage):
    back = back_of(stage)
    back.server.held.add(b"/hold")
    with client(back) as one, client(back) as two, back.wire() as three:
        asked = [(http, http.ask("GET", "/hold")) for http in (one, two) for _ in range(20)]
        three.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        back.server.wait(lambda: len(back.server.calls(b"/hold")) == 41)
        assert in_flight(back) == 41
        for at, call in enumerate(reversed(back.server.calls(b"/hold"))):  # in any order
            call.answer(b"%d" % at)
        bodies = {http.answer(id).body for http, id in asked} | {three.read().body}
        assert bodies == {b"%d" % at for at in range(41)}
    assert len(back.server.conversations) == 1
    back.server.wait(lambda: in_flight(back) == 0)


def test_the_servers_limit_is_kept(stage: Stage):
    back = back_of(stage, Http2Server(settings={3: 3}))
    back.server.held.add(b"/hold")
    with client(back) as http:
        asked = [http.ask("GET", "/hold") for _ in range(8)]
        back.server.wait(lambda: len(back.server.calls(b"/hold")) == 8)
        assert sorted(len(each.calls) for each in back.server.conversations) == [2, 3, 3]
        for call in back.server.calls(b"/hold"):
            call.answer(b"done")
        assert all(http.answer(id).body == b"done" for id in asked)
        assert http.get("GET", "/again").body == b"server"
    assert len(back.server.conversations) == 3


def test_a_limit_that_shrinks_and_grows(stage: Stage):
    back = back_of(stage)
    back.server.held.add(b"/hold")
    with client(back) as http:
        asked = [http.ask("GET", "/hold")]
        talk = back.server.call(b"/hold").talk
        talk.put(SettingsFrame(0, {3: 1}))
        back.server.wait(lambda: sum(isinstance(f, SettingsFrame) for f in talk.frames) == 3)
        asked.append(http.ask("GET", "/hold"))
        assert back.server.call(b"/hold", 1).talk is not talk
        for call in back.server.calls(b"/hold"):
            call.answer(b"done")
        assert all(http.answer(id).body == b"done" for id in asked)


def test_a_server_that_allows_none(stage: Stage):
    back = back_of(stage, Http2Server(settings={3: 0}))
    assert back.balancer.get("/").status == 502


# ---- backpressure ----


def test_a_large_answer(back: Back):
    large = bytes(range(256)) * (8 * MIB // 256)
    back.server.scripts[b"/large"] = answer_aside(large)
    assert back.balancer.get("/large").body == large
    with client(back) as http:
        id = http.ask("GET", "/large")
        http.grant(0, 16 * MIB).grant(id, 16 * MIB)
        assert http.answer(id).body == large


def test_slow_clients_stop_nobody(stage: Stage):
    """Fifty answers that nobody reads, on the connection where another one passes."""
    back = back_of(stage)
    back.server.scripts[b"/large"] = lambda call: threading.Thread(
        target=lambda: call.head().pour(bytes(60_000), end=False).data(b"end", end=True)
    ).start()
    with client(back, {4: 0}) as slow, client(back) as quick:
        asked = [slow.ask("GET", "/large") for _ in range(50)]
        back.server.wait(lambda: len(back.server.calls(b"/large")) == 50)
        quick.grant(0, MIB)
        for _ in range(3):
            id = quick.ask("GET", "/large")
            assert quick.answer(id).body == bytes(60_000) + b"end"
        assert len(back.server.conversations) == 1
        slow.grant(0, 1 << 24).send(SettingsFrame(0, {4: 1 << 20}))
        for id in asked:
            assert len(slow.answer(id).body) == 60_003


def test_a_slow_client_is_not_read_for(back: Back):
    back.server.held.add(b"/large")
    with client(back, {4: 1000}) as http:
        id = http.ask("GET", "/large")
        call = back.server.call(b"/large")
        pouring = threading.Thread(target=call.answer, args=(bytes(MIB),))
        pouring.start()
        back.server.wait(lambda: call.talk.room(call.id) <= 0)  # it stands
        http.grant(id, 2 * MIB).grant(0, 2 * MIB)
        assert len(http.answer(id).body) == MIB
        pouring.join()


def test_a_slow_server_is_not_read_for(stage: Stage):
    back = back_of(stage)
    back.server.stingy.add(b"/up")
    with client(back) as http:
        id = http.ask("POST", "/up", end=False)
        call = back.server.call(b"/up")
        sent = 0
        for _ in range(40):
            size = min(16_000, http.window(id), http.window(0))
            if size:
                http.data(id, bytes(size))
            sent += size
            http.fence()
        # The server's window, ours, and two buffers: what it holds back, we do not ask for.
        assert http.window(id) == 0
        assert sent < 65_535 + 65_535 + 2 * 69_632
        assert http.get("GET", "/other").status == 200
        assert len(call.body) == 65_535
        http.reset(id)
        back.server.wait(lambda: call.reset == CANCEL)


def test_both_sides_interleave(back: Back):
    back.server.early[b"/chat"] = lambda call: call.head()
    with client(back) as http:
        id = http.ask("POST", "/chat", end=False)
        call = back.server.call(b"/chat")
        answer = http.begun(id)
        for at in range(50):
            http.data(id, b"%03d" % at)
            call.wait(lambda at=at: len(call.body) == 3 * at + 3).data(b"<%03d>" % at)
            while len(answer.body) < 5 * (at + 1):
                http.read()
        http.data(id, end=True)
        call.wait(lambda: call.whole).tail(("x-end", "1"))
        assert http.answer(id).trailers == [(b"x-end", b"1")]
        assert answer.body.startswith(b"<000><001>")


# ---- ends ----


def test_a_client_that_leaves_ends_its_stream_alone(back: Back):
    back.server.held.add(b"/hold")
    with client(back) as http:
        gone, stays = http.ask("GET", "/hold"), http.ask("GET", "/hold")
        first = back.server.call(b"/hold", 0)
        second = back.server.call(b"/hold", 1)
        http.reset(gone)
        back.server.wait(lambda: first.reset == CANCEL)
        second.answer(b"here")
        assert http.answer(stays).body == b"here"
    wire = back.wire()
    wire.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
    third = back.server.call(b"/hold", 2)
    wire.reset()
    back.server.wait(lambda: third.reset == CANCEL)
    assert len(back.server.conversations) == 1
    back.server.wait(lambda: in_flight(back) == 0)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refused_is_asked_again(back: Back, method: str):
    back.server.scripts[b"/r"] = lambda call: (
        call.cancel(REFUSED_STREAM)
        if len(back.server.calls(b"/r")) == 1
        else call.answer(b"second")
    )
    with client(back) as http:
        id = http.ask(method, "/r", end=method == "GET")
        if method == "POST":
            http.data(id, b"body", end=True)
        assert http.answer(id).body == b"second"
    assert [call.body for call in back.server.calls(b"/r")] == [
        b"body" if method == "POST" else b""
    ] * 2


def test_goaway_sends_what_was_not_seen_elsewhere(stage: Stage):
    back = back_of(stage)
    back.server.held |= {b"/old", b"/new"}
    with client(back) as http:
        old = http.ask("GET", "/old")
        talk = back.server.call(b"/old").talk
        new = http.ask("POST", "/new", end=False)
        http.data(new, b"body", end=True)
        back.server.call(b"/new")
        talk.put(GoAwayFrame(0, last_stream_id=1))
        again = back.server.call(b"/new", 1)
        assert again.talk is not talk
        again.wait(lambda: again.whole).answer(b"new")
        assert (http.answer(new).body, again.body) == (b"new", b"body")
        back.server.call(b"/old").answer(b"old")  # what it has seen, it finishes
        assert http.answer(old).body == b"old"
        back.server.wait(talk.finished.is_set)
        assert http.get("GET", "/next").body == b"server"
    assert len(back.server.conversations) == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_is_lost(stage: Stage, method: str):
    """What was sent and may not be repeated fails; the rest is asked again."""
    back = back_of(stage)
    back.server.held.add(b"/x")
    with client(back) as http:
        assert http.get("GET", "/first").status == 200
        id = http.ask(method, "/x")
        shut(back.server.call(b"/x").talk)
        if method == "GET":
            back.server.call(b"/x", 1).answer(b"again")
            assert http.answer(id).body == b"again"
        else:
            assert http.answer(id).status == 502
    back.server.wait(lambda: in_flight(back) == 0)


def test_an_answer_that_is_cut_never_looks_whole(stage: Stage):
    back = back_of(stage)
    back.server.held.add(b"/x")
    with client(back) as http, back.wire() as wire:
        id = http.ask("GET", "/x")
        back.server.call(b"/x").head().data(b"part")
        http.begun(id)
        wire.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        back.server.call(b"/x", 1).head().data(b"part")
        wire.read_head()
        shut(back.server.conversations[0])
        assert http.answer(id).reset == INTERNAL_ERROR
        assert not wire.read_to_end().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("code", [NO_ERROR, CANCEL, 11, 2])
def test_a_reset_of_the_server_in_its_answer(back: Back, code: int):
    back.server.held.add(b"/x")
    with client(back) as http:
        id = http.ask("GET", "/x")
        call = back.server.call(b"/x").head().data(b"part")
        http.begun(id)
        call.cancel(code)
        assert http.answer(id).reset == (code if code in (CANCEL, 11) else INTERNAL_ERROR)


def test_an_early_answer(back: Back):
    """The server has said all and wants no more of the body (RFC 9113 8.1)."""
    back.server.early[b"/up"] = lambda call: (
        call.answer(b"no", status="413"),
        call.cancel(NO_ERROR),
    )
    with client(back) as http:
        id = http.ask("POST", "/up", end=False)
        answer = http.answer(id)
        assert (answer.status, answer.body) == (413, b"no")
        assert http.get("GET", "/next").status == 200


def test_what_came_whole_survives_its_connection(stage: Stage):
    back = back_of(stage)
    back.server.held.add(b"/x")
    with client(back, {4: 0}) as http:
        id = http.ask("GET", "/x")
        call = back.server.call(b"/x")
        call.answer(bytes(30_000))
        http.begun(id)
        shut(call.talk)
        back.server.wait(call.talk.finished.is_set)
        assert http.get("HEAD", "/next").status == 200
        http.grant(id, 1 << 20)
        assert len(http.answer(id).body) == 30_000


def test_what_came_whole_survives_a_reset(stage: Stage):
    """The server has answered and resets, and the balancer meets both at once."""
    back = back_of(stage)
    back.server.held.add(b"/x")
    with client(back) as http:
        id = http.ask("POST", "/x")
        call = back.server.call(b"/x")
        os.kill(back.balancer.pid, signal.SIGSTOP)
        try:
            call.answer(bytes(30_000))
            slam(call.talk)
        finally:
            os.kill(back.balancer.pid, signal.SIGCONT)
        assert http.answer(id).body == bytes(30_000)
        assert http.get("GET", "/next").status == 200


def test_idle_connections_end(stage: Stage):
    back = back_of(stage, backend={"idle_timeout": "50ms"})
    assert back.balancer.get("/").status == 200
    talk = back.server.conversations[0]
    back.server.wait(talk.finished.is_set)
    assert talk.goaway is not None
    assert talk.goaway.error_code == NO_ERROR


def test_times(stage: Stage):
    back = back_of(stage, backend={"response_timeout": "100ms"})
    back.server.held.add(b"/never")
    assert back.balancer.get("/never").status == 504
    slow = back_of(stage, backend={"read_timeout": "100ms"})
    slow.server.held.add(b"/half")
    with client(slow) as http:
        id = http.ask("GET", "/half")
        slow.server.call(b"/half").head().data(b"half")
        assert http.answer(id).reset == INTERNAL_ERROR
    slow.server.wait(lambda: slow.server.calls(b"/half")[0].reset == CANCEL)


def test_nobody_listens(stage: Stage):
    back = back_of(stage)
    back.server.stop()
    stage.servers.clear()
    assert back.balancer.get("/").status == 502
    with client(back) as http:
        assert http.get("GET", "/").status == 502


def test_a_server_that_does_not_speak_it(stage: Stage):
    back = back_of(stage)
    back.server.opening = lambda talk: talk.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert back.balancer.get("/").status == 502
    assert back.server.heads == []  # nothing of a request was sent


def test_a_server_that_says_nothing(stage: Stage):
    back = back_of(stage, backend={"connect_timeout": "100ms", "retries": 0})
    back.server.opening = lambda talk: talk.take(1000)
    assert back.balancer.get("/").status == 504
    assert back.server.heads == []


def test_a_failed_server_is_passed_over(stage: Stage):
    bad, good = Http2Server("bad"), Http2Server("good")
    stage.servers.append(bad)
    back = back_of(stage, good, {"servers": [bad.address, good.address]})
    bad.opening = lambda talk: shut(talk)
    assert {back.balancer.get("/").body for _ in range(4)} == {b"good"}


def test_a_call_of_the_request_line(back: Back):
    """OPTIONS * has a path of its own kind."""
    assert back.balancer.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    with client(back) as http:
        assert http.get(request("OPTIONS", "*")).status == 200
    assert [one.pseudo[b":path"] for one in back.server.heads] == [b"*", b"*"]


def test_a_reload_that_takes_the_server_away(stage: Stage):
    other = Http2Server("other")
    stage.servers.append(other)
    back = back_of(stage, backend={"idle_timeout": "50ms"})
    back.server.held.add(b"/hold")
    with client(back) as http:
        id = http.ask("GET", "/hold")
        call: Call = back.server.call(b"/hold")
        config = back.balancer.config
        config["backends"]["all"]["servers"] = [other.address]
        back.balancer.reload(config)
        assert http.get("GET", "/x").body == b"other"
        call.answer(b"old")
        assert http.answer(id).body == b"old"
        back.server.wait(call.talk.finished.is_set)


# ---- TLS ----


def secured(stage: Stage, authority: Authority, *protocols: str, **tls) -> Back:
    context = authority.server_context(authority.issue("h2.pem", NAME))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    server = Http2Server(context=context)
    return back_of(stage, server, {"tls": {"ca": str(authority.pem), "name": NAME, **tls}})


def test_tls_and_its_protocol(stage: Stage, authority: Authority):
    back = secured(stage, authority, "h2", "http/1.1")
    with client(back) as http:
        ids = [http.ask("GET", "/x") for _ in range(20)]
        assert all(http.answer(id).body == b"server" for id in ids)
    assert back.balancer.get("/y").body == b"server"
    assert len(back.server.conversations) == 1
    assert back.server.calls(b"/x")[0].pseudo[b":scheme"] == b"https"
    row = next(iter(back.balancer.counters()["servers"].values()))
    assert (row["tls_handshakes"], row["connects"], row["requests"]) == (1, 1, 21)


def test_a_large_answer_over_tls(stage: Stage, authority: Authority):
    back = secured(stage, authority, "h2")
    large = bytes(range(256)) * 8000
    back.server.scripts[b"/large"] = answer_aside(large)
    assert back.balancer.get("/large").body == large


@pytest.mark.parametrize("protocols", [["http/1.1"], []], ids=["http/1.1", "none"])
def test_a_server_that_does_not_choose_h2(stage: Stage, authority: Authority, protocols: list[str]):
    back = secured(stage, authority, *protocols)
    answer = back.balancer.get("/x")
    assert answer.status == 502
    assert b"no application protocol (ALPN) in common" in answer.body
    assert back.server.heads == []


def test_a_server_that_is_not_who_it_should_be(stage: Stage, authority: Authority):
    back = secured(stage, authority, "h2", name="other.example")
    with client(back) as http:
        answer = http.get("GET", "/x")
    assert (answer.status, b"stands for another name" in answer.body) == (502, True)
    assert back.balancer.counters()["workers"]["tls_server_faults"]["name"] == 1
