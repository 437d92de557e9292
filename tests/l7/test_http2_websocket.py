"""WebSocket over HTTP/2 (RFC 8441): extended CONNECT here, an Upgrade of HTTP/1.1 at the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader
from websockets.sync.server import ServerConnection, serve

from support.balancer import site
from support.front import Stage
from support.http2 import INTERNAL_ERROR, Fields, Http2, request
from support.http2_stage import client, front_of, scripted
from support.recorder import Conversation
from support.wire import Message

MIB = 1024 * 1024


def connect(*more: tuple[str, str], path: str = "/chat") -> Fields:
    own = [(":protocol", "websocket"), ("sec-websocket-version", "13"), *more]
    return request("CONNECT", path, *own)


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a real server that says everything again."""

    def again(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(again, "127.0.0.1", 0, max_size=8 * MIB) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host, port = server.socket.getsockname()[:2]
        yield f"{host}:{port}"
        server.shutdown()
        thread.join()


def sent(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


def next_frame(http: Http2, id: int, reader: StreamReader, seen: list[int]) -> Frame:
    """The server's next frame, out of whatever DATA it came in."""
    parsing = Frame.parse(reader.read_exact, mask=False)
    while True:
        try:
            next(parsing)
        except StopIteration as done:
            return done.value
        answer = http.answers[id]
        while len(answer.body) == seen[0]:
            if answer.ended:
                reader.feed_eof()
                break
            http.read()
        http.grant(0, 65_535).grant(id, 65_535)
        reader.feed_data(answer.body[seen[0] :])
        seen[0] = len(answer.body)


def test_a_conversation_with_a_real_server(stage: Stage, echo: str):
    balancer = stage.balancer(site(echo, http_versions=[1.1, 2]))
    with Http2(balancer.wire(), {4: MIB}) as http:
        http.fence()
        assert http.settings[8] == 1  # SETTINGS_ENABLE_CONNECT_PROTOCOL
        id = http.ask(connect(), end=False)
        answer = http.begun(id)
        assert answer.status == 200
        assert answer.get("sec-websocket-accept") is None
        reader, seen = StreamReader(), [0]
        http.data(id, sent(Opcode.TEXT, "grüße".encode()))
        assert next_frame(http, id, reader, seen).data == "grüße".encode()
        large = bytes(range(256)) * 1024
        http.body(id, sent(Opcode.BINARY, large), end=False)
        got = b""
        while len(got) < len(large):
            got += next_frame(http, id, reader, seen).data
        assert got == large
        http.data(id, sent(Opcode.TEXT, b"in ", fin=False))
        http.data(id, sent(Opcode.PING, b"there?") + sent(Opcode.CONT, b"pieces"))
        assert next_frame(http, id, reader, seen).opcode == Opcode.PONG
        assert next_frame(http, id, reader, seen).data == b"in pieces"
        http.data(id, sent(Opcode.CLOSE, b"\x0f\xa0bye"))
        assert next_frame(http, id, reader, seen).data == b"\x0f\xa0bye"
        http.data(id, end=True)
        assert http.answer(id).ended


def test_what_the_server_gets(stage: Stage):
    front = front_of(stage)

    def upgrade(conversation: Conversation, asked: Message) -> None:
        conversation.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nfirst"
        )
        conversation.send(conversation.take(5).upper())
        conversation.read_to_end()
        conversation.close()

    scripted(front, b"/chat", upgrade)
    with client(front) as http:
        id = http.ask(connect(("sec-websocket-protocol", "chat")), end=False)
        answer = http.begun(id)
        assert (answer.status, answer.get("sec-websocket-protocol")) == (200, b"chat")
        http.data(id, b"hello")
        while answer.body != b"firstHELLO":
            http.read()
        http.data(id, end=True)
        assert http.answer(id).ended
        assert http.get("GET", "/").status == 200
    came = front.server.heads[0]
    assert came.start == b"GET /chat HTTP/1.1"
    assert (came.get("upgrade"), came.get("connection")) == (b"websocket", b"Upgrade")
    assert len(came.get("sec-websocket-key") or b"") == 24
    assert came.get("transfer-encoding") is None


# A 2xx to an extended CONNECT says that the tunnel stands (RFC 8441 5), and a server's 200 does not.
@pytest.mark.parametrize(
    "said, status", [(b"403 Forbidden", 403), (b"200 OK", 502), (b"302 Found", 302)]
)
def test_a_server_that_will_not(stage: Stage, said: bytes, status: int):
    front = front_of(stage)
    scripted(front, b"/chat", lambda conversation, _: conversation.answer(b"no", said))
    with client(front) as http:
        id = http.ask(connect(), end=False)
        answer = http.answer(id)
        assert (answer.status, answer.body) == (status, b"no")
        assert http.get("GET", "/").status == 200


def test_a_server_that_breaks_off(stage: Stage):
    front = front_of(stage)

    def upgrade(conversation: Conversation, asked: Message) -> None:
        conversation.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        conversation.take(5)
        conversation.reset()

    scripted(front, b"/chat", upgrade)
    with client(front) as http:
        id = http.ask(connect(), end=False)
        http.begun(id)
        http.data(id, b"hello")
        assert http.answer(id).reset == INTERNAL_ERROR
        assert http.get("GET", "/").status == 200


def test_another_protocol(stage: Stage):
    front = front_of(stage)
    with client(front) as http:
        id = http.ask(request("CONNECT", "/x", (":protocol", "connect-udp")), end=False)
        assert http.answer(id).status == 501
    assert not front.server.heads
