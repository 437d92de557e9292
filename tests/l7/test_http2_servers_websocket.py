"""WebSocket towards servers of HTTP/2 (RFC 8441), from clients of both versions."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

import pytest
from websockets.sync.client import connect as websocket

from support.front import Stage
from support.http2 import CANCEL, request
from support.http2_back import back_of
from support.http2_server import Http2Server
from support.http2_stage import client

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
KNOWS = {8: 1}


def test_from_http_1(stage: Stage):
    back = back_of(stage, Http2Server(settings=KNOWS))
    back.server.early[b"/chat"] = lambda call: call.head(("sec-websocket-protocol", "p"))
    with back.wire() as wire:
        wire.send(UPGRADE)
        answer = wire.read()
        call = back.server.call(b"/chat")
        assert answer.status == 101
        wanted = b64encode(sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        assert answer.get("sec-websocket-accept") == wanted
        assert (answer.get("upgrade"), answer.get("sec-websocket-protocol")) == (b"websocket", b"p")
        assert call.pseudo[b":method"] == b"CONNECT"
        assert call.pseudo[b":protocol"] == b"websocket"
        assert call.get("sec-websocket-version") == b"13"
        assert call.get("sec-websocket-key") is None
        wire.send(b"up")
        call.wait(lambda: call.body == b"up").data(b"down")
        assert wire.take(4) == b"down"
        wire.finish()
        call.wait(lambda: call.whole).data(b"last", end=True)
        assert wire.read_to_end() == b"last"


def test_from_http_2(stage: Stage):
    back = back_of(stage, Http2Server(settings=KNOWS))
    back.server.early[b"/chat"] = lambda call: call.head()
    asked = request("CONNECT", "/chat", (":protocol", "websocket"), ("sec-websocket-version", "13"))
    with client(back) as http:
        id = http.ask(asked, end=False)
        answer = http.begun(id)
        assert (answer.status, answer.get("sec-websocket-accept")) == (200, None)
        call = back.server.call(b"/chat")
        http.data(id, b"up")
        call.wait(lambda: call.body == b"up").data(b"down", end=True)
        http.data(id, end=True)
        assert http.answer(id).body == b"down"
        gone = http.ask(asked, end=False)
        http.begun(gone)
        http.reset(gone)
        second = back.server.call(b"/chat", 1)
        second.wait(lambda: second.reset == CANCEL)


def test_a_conversation(stage: Stage):
    """A real client; the server says each frame again, unmasked by nobody: so it closes with 1002."""
    back = back_of(stage, Http2Server(settings=KNOWS))
    back.server.early[b"/chat"] = lambda call: call.head().data(b"\x81\x05hello\x88\x02\x03\xe8")
    host, port = back.balancer.address
    with websocket(f"ws://{host}:{port}/chat") as connection:
        assert connection.recv() == "hello"
        with pytest.raises(Exception, match="1000"):
            connection.recv()


def test_a_server_that_refuses(stage: Stage):
    back = back_of(stage, Http2Server(settings=KNOWS))
    back.server.early[b"/chat"] = lambda call: call.answer(b"no", status="403")
    with back.wire() as wire:
        answer = wire.send(UPGRADE).read()
        assert (answer.status, answer.body) == (403, b"no")


def test_a_server_that_knows_no_websocket(stage: Stage):
    """It may ignore the Upgrade, so it is not told of it."""
    back = back_of(stage)
    assert back.balancer.ask(UPGRADE).status == 200
    call = back.server.calls(b"/chat")[0]
    assert call.pseudo[b":method"] == b"GET"
    assert b":protocol" not in call.pseudo
    assert call.get("upgrade") is None
