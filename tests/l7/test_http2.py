"""HTTP/2 with clients: requests of every kind, many at once, with backpressure, to an orderly end."""

from __future__ import annotations

import threading

import pytest

from support.front import Stage
from support.http2 import CANCEL, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR, Answer, Http2, request
from support.http2_stage import client, front_of, scripted, slow_front
from support.recorder import Conversation
from support.wire import WAIT_S, Message

MIB = 1024 * 1024


# ---- requests ----


def test_get(stage: Stage):
    front = front_of(stage)
    with client(front) as http:
        answer = http.get("GET", "/x?y=1", ("x-own", "1"))
        assert (answer.status, answer.body, answer.get("content-length")) == (200, b"server", b"6")
    came = front.server.requests[0]
    assert came.start == b"GET /x?y=1 HTTP/1.1"
    assert (came.get("host"), came.get("x-own"), came.framing) == (b"a.example", b"1", "none")
    assert came.get("x-forwarded-proto") == b"http"


def test_both_versions_at_one_port(stage: Stage):
    front = front_of(stage)
    assert front.balancer.get("/one").status == 200
    with client(front) as http:
        assert http.get("GET", "/two").status == 200
    assert [one.target for one in front.server.requests] == [b"/one", b"/two"]


def test_without_http_1(stage: Stage):
    front = stage.front(http_versions=2)
    assert front.balancer.get("/").status == 505
    with client(front) as http:
        assert http.get().status == 200


def test_the_preface_byte_by_byte(stage: Stage):
    front = front_of(stage)
    with front.wire() as wire:
        whole = Http2.__new__(Http2)
        pieces = []
        Http2.__init__(whole, type("Into", (), {"send": lambda _, data: pieces.append(data)})())
        head = whole.head(request("GET", "/"))
        for byte in b"".join(pieces) + head.serialize():
            wire.send(bytes([byte]))
        whole.wire = wire
        assert whole.answer(1).body == b"server"


def test_not_where_it_is_not_enabled(stage: Stage):
    with stage.front().wire() as wire:
        assert wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").read().status == 400


@pytest.mark.parametrize("length", [True, False], ids=["with a length", "without"])
@pytest.mark.parametrize("size", [0, 1, 5000, 65_535, 300_000])
def test_post(stage: Stage, size: int, length: bool):
    front = front_of(stage)
    body = bytes(at * 7 % 251 for at in range(size))
    with client(front) as http:
        more = [("content-length", str(size))] if length else []
        id = http.ask("POST", "/up", *more, end=False)
        if size:
            http.body(id, body)
        else:
            http.data(id, end=True)
        assert http.answer(id).status == 200
    came = front.server.requests[0]
    assert (came.body, came.framing) == (body, "length" if length else "chunked")


def test_padding_and_tiny_frames(stage: Stage):
    front = front_of(stage)
    with client(front) as http:
        id = http.ask("POST", "/up", end=False)
        for byte in b"piecemeal":
            http.data(id, bytes([byte]), pad=9)
        http.data(id, end=True)
        assert http.answer(id).status == 200
    assert front.server.requests[0].body == b"piecemeal"


def test_the_trailers_of_a_request(stage: Stage):
    front = front_of(stage)
    with client(front) as http:
        id = http.ask("POST", "/up", end=False)
        http.data(id, b"body")
        http.send(http.head([("x-sum", "42"), ("authorization", "3")], id=id))
        assert http.answer(id).status == 200
    came = front.server.requests[0]
    assert (came.body, came.trailers) == (b"body", [(b"x-sum", b"42")])


@pytest.mark.parametrize("more", [(), (("trailer", "x-sum"),)], ids=["bare", "announced"])
def test_the_trailers_of_a_request_behind_a_length_are_dropped(stage: Stage, more):
    """HTTP/1.1 has no place for them; what follows is not taken for them either."""
    front = front_of(stage)
    with client(front) as http:
        id = http.ask("POST", "/up", ("content-length", "4"), *more, end=False)
        http.data(id, b"body")
        http.send(http.head([("x-sum", "42")], id=id))
        assert http.answer(id).status == 200
        assert http.get("GET", "/next").status == 200
    came, following = front.server.requests
    assert (came.body, came.trailers, came.framing) == (b"body", [], "length")
    assert following.target == b"/next"


def test_crumbs_are_joined(stage: Stage):
    front = front_of(stage)
    crumbs = [("cookie", "a=1"), ("x-between", "1"), ("cookie", "b=2"), ("cookie", "c=3")]
    with client(front) as http:
        assert http.get("GET", "/", *crumbs).status == 200
    came = front.server.requests[0]
    assert (came.get("cookie"), came.get("x-between")) == (b"a=1; b=2; c=3", b"1")


def test_host_instead_of_authority(stage: Stage):
    front = front_of(stage)
    with client(front) as http:
        assert http.get("GET", "/", ("host", "b.example"), authority="").status == 200
        assert http.get("GET", "/", ("host", "A.example")).status == 200
    assert [one.get("host") for one in front.server.requests] == [b"b.example", b"a.example"]


def test_matches_and_filters_are_those_of_http_1(stage: Stage):
    routes = [
        {"match": {"path": "/own"}, "filters": {"respond": {"status": 404, "body": "{path}"}}},
        {"match": {"body": {"json": {"/plan": "gold"}}}, "backend": "all"},
        {"filters": {"redirect": {"path": "/elsewhere"}}},
    ]
    front = front_of(stage, routes=routes)
    with client(front) as http:
        answer = http.get("GET", "/own/x")
        assert (answer.status, answer.body) == (404, b"/own/x")
        for body, status in [(b'{"plan": "gold"}', 200), (b'{"plan": "tin"}', 302)]:
            id = http.ask("POST", "/buy", ("content-type", "application/json"), end=False)
            http.data(id, body[:5]).data(id, body[5:], end=True)
            assert http.answer(id).status == status
    assert [one.body for one in front.server.requests] == [b'{"plan": "gold"}']


# ---- answers ----


@pytest.mark.parametrize(
    ("head", "body", "wanted"),
    [
        (b"Content-Length: 5\r\n", b"hello", b"hello"),
        (b"Content-Length: 0\r\n", b"", b""),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n11\r\n" + b"d" * 17 + b"\r\n0\r\n\r\n",
         b"abc" + b"d" * 17),
        (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b""),
        (b"Connection: close\r\n", b"until the end", b"until the end"),
    ],
    ids=["length", "empty", "chunks", "no chunk", "close"],
)  # fmt: skip
@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "byte by byte"])
def test_bodies(stage: Stage, head: bytes, body: bytes, wanted: bytes, cut: int):
    front = front_of(stage)

    def answer(conversation: Conversation, asked: Message) -> None:
        conversation.read_body(asked)
        whole = b"HTTP/1.1 200 OK\r\nKeep-Alive: x\r\n" + head + b"\r\n" + body
        for at in range(len(whole)) if cut else ():
            conversation.send(whole[at : at + 1])
        if not cut:
            conversation.send(whole)
        if b"close" in head:
            conversation.close()

    scripted(front, b"/x", answer)
    with client(front) as http:
        answered = http.get("GET", "/x")
        assert (answered.status, answered.body) == (200, wanted)
        assert answered.get("keep-alive") is None


@pytest.mark.parametrize(
    ("method", "status", "body"), [("HEAD", b"200 OK", 1), ("GET", b"204 No Content", 0),
                                   ("GET", b"304 Not Modified", 0)]
)  # fmt: skip
def test_no_body_ends_with_the_head(stage: Stage, method: str, status: bytes, body: int):
    front = front_of(stage)

    def answer(conversation: Conversation, asked: Message) -> None:
        conversation.read_body(asked)
        length = b"Content-Length: 42\r\n" if body else b""
        conversation.send(b"HTTP/1.1 " + status + b"\r\n" + length + b"\r\n")

    scripted(front, b"/x", answer)
    with client(front) as http:
        answered = http.get(method, "/x")
        assert (answered.status, answered.body) == (int(status[:3]), b"")
        assert len(answered.frames) == 1
        assert answered.get("content-length") == (b"42" if body else None)
        assert http.get("GET", "/").status == 200


def test_the_trailers_of_an_answer(stage: Stage):
    front = front_of(stage)

    def answer(conversation: Conversation, asked: Message) -> None:
        conversation.read_body(asked)
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n")
        conversation.send(b"X-Sum: 1\r\nX-Mo")
        conversation.send(b"re: 2\r\n\r\n")

    scripted(front, b"/x", answer)
    with client(front) as http:
        answered = http.get("GET", "/x")
        assert answered.body == b"hi"
        assert answered.trailers == [(b"x-sum", b"1"), (b"x-more", b"2")]


def test_interim_answers(stage: Stage):
    front = front_of(stage)

    def answer(conversation: Conversation, asked: Message) -> None:
        conversation.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        conversation.read_body(asked)
        conversation.answer(b"done")

    scripted(front, b"/x", answer)
    with client(front) as http:
        id = http.ask("POST", "/x", ("expect", "100-continue"), end=False)
        while len(http.answers.setdefault(id, Answer()).interim) < 2:
            http.read()
        http.data(id, b"now", end=True)
        answered = http.answer(id)
        assert answered.interim[0] == [(b":status", b"103"), (b"link", b"</a>")]
        assert answered.interim[1] == [(b":status", b"100")]
        assert answered.body == b"done"


def test_an_answer_before_the_request_is_whole(stage: Stage):
    front = front_of(stage)
    scripted(front, b"/x", lambda conversation, asked: conversation.answer(b"no", b"403 Forbidden"))
    with client(front) as http:
        id = http.ask("POST", "/x", end=False)
        http.data(id, b"begun")
        assert http.answer(id).status == 403
        while http.answers[id].reset is None:
            http.read()
        assert http.answers[id].reset == NO_ERROR
        assert http.get("GET", "/").status == 200


def test_an_answer_that_is_cut_is_reset(stage: Stage):
    front = front_of(stage)

    def cut(conversation: Conversation, asked: Message) -> None:
        conversation.read_body(asked)
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        conversation.close()

    scripted(front, b"/x", cut)
    with client(front) as http:
        answered = http.get("GET", "/x")
        assert (answered.status, answered.body, answered.ended) == (200, b"half", False)
        assert answered.reset == INTERNAL_ERROR
        assert http.get("GET", "/").status == 200


def test_a_bad_answer_is_a_502(stage: Stage):
    front = front_of(stage)
    scripted(front, b"/x", lambda conversation, _: conversation.send(b"HTTP/1.1 2 OK\r\n\r\n"))
    with client(front) as http:
        assert http.get("GET", "/x").status == 502
        assert http.get("GET", "/").status == 200


# ---- many at once ----


def test_streams_overtake_each_other(stage: Stage):
    front, go = slow_front(stage)
    with client(front) as http:
        slow = [http.ask("GET", "/slow") for _ in range(5)]
        quick = [http.ask("GET", f"/{at}") for at in range(20)]
        assert {http.answer(id).body for id in quick} == {b"server"}
        assert not any(http.answers.get(id) for id in slow)
        go.set()
        assert {http.answer(id).body for id in slow} == {b"slow"}


def test_bodies_both_ways_at_once(stage: Stage):
    front = front_of(stage)
    body = bytes(at * 31 % 253 for at in range(MIB))

    def echo(conversation: Conversation, asked: Message) -> None:
        conversation.answer(conversation.read_body(asked))

    scripted(front, b"/echo", echo)
    with client(front, {4: 1 << 20}) as http:
        http.grant(0, 1 << 24)
        ids = [http.ask("POST", "/echo", end=False) for _ in range(4)]
        for at in range(0, MIB, 65_536):
            for id in ids:
                http.body(id, body[at : at + 65_536], end=at + 65_536 == MIB)
        for id in ids:
            answer = http.answer(id)
            assert answer.body == body


def test_more_streams_than_permitted(stage: Stage):
    """RFC 9113 5.1.2 lets it be an error of the connection, for the client had been told."""
    front, go = slow_front(stage, streams_max=3)
    with client(front) as http:
        http.fence()
        assert http.settings[3] == 3
        for _ in range(4):
            http.ask("GET", "/slow")
        assert http.goaway() == PROTOCOL_ERROR
        go.set()


def test_a_reset_stream_leaves_its_server(stage: Stage):
    front = front_of(stage)
    gone = threading.Event()

    def wait(conversation: Conversation, asked: Message) -> None:
        conversation.read_body(asked)
        if conversation.read_head() is None:
            gone.set()

    scripted(front, b"/slow", wait)
    with client(front) as http:
        id = http.ask("GET", "/slow")
        front.server.wait(lambda: front.server.requests)
        other = http.get("GET", "/")
        http.reset(id, CANCEL).fence()
        assert gone.wait(WAIT_S)
        assert other.status == http.get("GET", "/").status == 200
