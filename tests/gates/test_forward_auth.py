"""A service decides: what it is asked, what its answer does, and what its silence does."""

from __future__ import annotations

import threading
import time

import pytest

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.errors import ConfigErrors
from support.front import Stage
from support.gates import asked, at_rest, guarded
from support.http2 import Http2
from support.http2_server import Http2Server
from support.recorder import Conversation, Recorder
from support.tls import Authority, TlsRecorder, self_made
from support.wire import Message

CHUNKED = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nX-Why: b\r\n\r\n"


def raw(*parts: bytes):
    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        for part in parts:
            conversation.send(part)
            time.sleep(0.002)
        conversation.close()

    return script


def guard(stage: Stage, script, **said) -> tuple[Recorder, Recorder, dict]:
    server, service = stage.server(), stage.server("service")
    service.scripts[b"/check"] = script
    auth = {"backend": "login", "path": "/check?a", "copy": ["X-User", "X-Gone"], **said}
    config = guarded(server.address, {"forward_auth": auth})
    config["backends"]["login"] = {"servers": [service.address]}
    return server, service, config


def test_yes(stage: Stage):
    yes = raw(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 Yes\r\nX-User: al",
        b"ice\r\nX-Other: b\r\n\r\n",
    )
    server, service, config = guard(stage, yes)
    with stage.balancer(config).wire() as wire:
        for _ in range(3):
            head = asked(
                b"POST /a?b=c",
                Cookie=b"s=1",
                Accept=b"x",
                X_User=b"root",
                X_Gone=b"root",
                Content_Length=b"2",
            )
            assert wire.send(head, b"hi").read().status == 200
    server.settle()
    service.settle()
    assert len(server.requests) == 3
    for request in server.requests:
        assert request.all("x-user") == [b"alice"]
        assert request.all("x-gone") + request.all("x-other") == []
        assert request.body == b"hi"
    question = service.requests[0]
    assert question.method == b"GET"
    assert question.get("host") == b"a"
    assert question.get("cookie") == b"s=1"
    assert question.get("x-forwarded-method") == b"POST"
    assert question.get("x-forwarded-uri") == b"/a?b=c"
    assert question.get("x-forwarded-for") == b"127.0.0.1"
    assert question.all("accept") + question.all("content-length") == []


NO = [
    (
        (
            b"HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nSet-Cookie: a=b\r\n"
            b"Content-Length: 0\r\n\r\n",
        ),
        302,
        b"",
    ),
    (
        (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\n", b"no"),
        401,
        b"no",
    ),
    ((CHUNKED + b"2\r\nno", b"\r\n3\r\npe!\r", b"\n0\r\n\r\n"), 403, b"nope!"),
    ((b"HTTP/1.1 500 Oh\r\n\r\nsome", b" text"), 500, b"some text"),
    ((b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nshort",), 503, None),
    ((CHUNKED + b"5\r\nab",), 503, None),
    ((CHUNKED + b"zz\r\nab",), 503, None),
    ((b"HTTP/1.1 403 No\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100_000,), 503, None),
    ((b"hello\r\n\r\n",), 503, None),
    ((b"HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",), 503, None),
    ((), 503, None),
]


def test_no(stage: Stage):
    server, service, config = guard(stage, raw())
    with stage.balancer(config).wire() as wire:
        for parts, status, body in NO:
            service.scripts[b"/check"] = raw(*parts)
            answer = wire.send(asked(b"GET /x")).read()
            assert answer.status == status, parts
            if body is not None:
                assert answer.body == body
    at_rest(stage.balancers[0])
    server.settle()
    assert server.requests == []


def test_streams_of_http2_wait_side_by_side(stage: Stage):
    """A gate holds one stream up, not its connection."""
    release = threading.Event()

    def late(conversation: Conversation, request: Message) -> None:
        assert conversation.hold(release)
        conversation.answer(b"no", status=b"403 No")

    server, service, config = guard(stage, late)
    route = {"backend": "all", "match": {"path": "/open"}}
    config["listeners"]["web"]["routes"].insert(0, route)
    config["listeners"]["web"]["http_versions"] = [1.1, 2]
    with Http2(stage.balancer(config).wire()) as client:
        held = [client.ask(path="/x") for _ in range(3)]
        given_up = client.ask(path="/x")
        assert client.get(path="/open").status == 200
        client.reset(given_up)
        client.fence()
        release.set()
        for id in held:
            answer = client.answer(id)
            assert (answer.status, answer.body) == (403, b"no")
    server.settle()
    service.settle()
    assert [one.target for one in server.requests] == [b"/open"]


def test_silence(stage: Stage):
    release = threading.Event()
    server, _, config = guard(stage, lambda c, _: c.hold(release), timeout="50ms", on_error="allow")
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        assert wire.send(asked(b"GET /x")).read().status == 200
        config["listeners"]["web"]["routes"][0]["filters"][0]["forward_auth"]["on_error"] = "deny"
    left = balancer.wire()
    left.send(asked(b"GET /x"))
    left.close()
    with stage.balancer(config).wire() as wire:
        assert wire.send(asked(b"GET /x")).read().status == 503
        release.set()
    server.settle()
    assert len(server.requests) >= 1
    for each in stage.balancers:
        at_rest(each)


def kept(conversation: Conversation, request: Message) -> None:
    conversation.read_body(request)
    conversation.answer(b"", status=b"204 Yes", headers=b"X-User: alice\r\n")


NAME = "login.example"


@pytest.mark.parametrize("how", ["plain", "tls", "stranger", "h2"])
def test_connections_are_kept_and_verified(stage: Stage, authority: Authority, tmp_path, how: str):
    """Questions share connections, also over TLS; a service that proves nothing is not asked."""
    more = {}
    service: Recorder = Recorder("service")
    if how in ("tls", "stranger"):
        service.stop()
        own = self_made(tmp_path)
        file = own if how == "stranger" else authority.issue("login.pem", NAME)
        service = TlsRecorder(authority.server_context(file))
        more = {"tls": {"ca": str(authority.pem), "name": NAME}}
    elif how == "h2":
        service.stop()
        service, more = Http2Server("service"), {"protocol": "h2"}
    stage.servers.append(service)
    if how != "h2":
        service.on(b"/check", kept)
    server = stage.server()
    config = guarded(server.address, {"forward_auth": {"backend": "login", "path": "/check"}})
    config["backends"]["login"] = {"servers": [service.address], **more}
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        for _ in range(5):
            wanted = 503 if how == "stranger" else 200
            assert wire.send(asked(b"GET /x")).read().status == wanted
    at_rest(balancer)
    assert len(service.requests) == (0 if how == "stranger" else 5)
    assert len(service.conversations) == (5 if how == "stranger" else 1)


def test_a_kept_connection_that_the_service_closed(stage: Stage):
    """No question is lost with it."""

    def once(conversation: Conversation, request: Message) -> None:
        kept(conversation, request)
        if len(conversation.requests) % 2:
            conversation.reset()  # unseen by us until we write

    server, _, config = guard(stage, once)
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        for _ in range(6):
            assert wire.send(asked(b"GET /x")).read().status == 200
    at_rest(balancer)
    assert len(server.requests) == 6


def test_what_the_file_may_not_say():
    text = (
        "listeners: {web: {bind: ':80', protocol: http, routes: [{backend: b, filters: "
        "[{forward_auth: %s}]}]}}\nbackends: {b: {servers: ['127.0.0.1:1']}, "
        "t: {servers: ['127.0.0.1:2'], proxy_protocol: v2}}\n"
    )
    for said, word in [
        ("nobody", "nobody"),
        ("t", "proxy_protocol"),
        ("{backend: b, path: x}", "path"),
    ]:
        with pytest.raises(ConfigErrors, match=word):
            compile_plan(loads((text % said).encode(), "f"))
