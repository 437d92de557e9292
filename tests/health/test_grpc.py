"""The gRPC check, against a small server of HTTP/2 made of the library's other half."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading

import h2.config
import h2.connection
import h2.events
import pytest
import trustme

from fourseven.health.connect import Target, why
from fourseven.health.grpc import PATH, Grpc, varint
from fourseven.health.inward import context_of
from fourseven.plan import OutwardPlan

OK = {":status": "200", "content-type": "application/grpc"}


def message(raw: bytes) -> bytes:
    return struct.pack("!BI", 0, len(raw)) + raw


ANSWERS = {  # headers, body, trailers -> what is wrong
    "serving": (OK, message(b"\x08\x01"), {"grpc-status": "0"}, ""),
    "not serving": (OK, message(b"\x08\x02"), {"grpc-status": "0"}, "NOT_SERVING"),
    "a default is left out": (OK, message(b""), {"grpc-status": "0"}, "UNKNOWN"),
    "no such service": ({**OK, "grpc-status": "5"}, b"", {}, "gRPC NOT_FOUND"),
    "no health service": ({**OK, "grpc-status": "12"}, b"", {}, "gRPC UNIMPLEMENTED"),
    "another code": ({**OK, "grpc-status": "99"}, b"", {}, "gRPC 99"),
    "no status": (OK, message(b"\x08\x01"), {}, "gRPC without a status"),
    "not gRPC": ({":status": "404"}, b"", {}, "status 404"),
    "half a message": (OK, b"\0\0", {"grpc-status": "0"}, "its answer is no message of gRPC"),
    "compressed": (OK, b"\1\0\0\0\0", {"grpc-status": "0"}, "its answer is no message of gRPC"),
    "another message": (
        OK,
        message(b"\x0a\x01a"),
        {"grpc-status": "0"},
        "its answer is none of a health service",
    ),
    "without end": (OK, bytes(5000), {}, "its answer is too long for one of a health service"),
}


class Served:
    """One connection; what was asked stands in `asked`."""

    tls: ssl.SSLContext | None = None

    def __init__(self, headers, body, trailers) -> None:
        self.answer = headers, body, trailers
        self.asked: dict[str, str] = {}
        self.body = b""
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"

    def __enter__(self) -> Served:
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        self.listening.close()

    def serve(self) -> None:
        taken, _ = self.listening.accept()
        with taken, contextlib.suppress(OSError):
            taken.settimeout(20)
            self.talk(taken if self.tls is None else self.tls.wrap_socket(taken, server_side=True))

    def talk(self, taken: socket.socket) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        while data := taken.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.asked = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    self.body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    self.respond(connection, event.stream_id)
            taken.sendall(connection.data_to_send())

    def respond(self, connection: h2.connection.H2Connection, stream: int) -> None:
        headers, body, trailers = self.answer
        connection.send_headers(stream, list(headers.items()), end_stream=not (body or trailers))
        if body:
            connection.send_data(stream, body, end_stream=not trailers)
        if trailers:
            connection.send_headers(stream, list(trailers.items()), end_stream=True)


def ask(check: Grpc, address: str, **more) -> str:
    async def once() -> None:
        async with asyncio.timeout(20):
            await check.ask(Target(address, **more))

    try:
        asyncio.run(once())
    except Exception as error:
        return why(error)
    return ""


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name):
    *answer, wanted = ANSWERS[name]
    with Served(*answer) as served:
        assert ask(Grpc(), served.address) == wanted
    assert served.asked[":path"] == PATH
    assert served.asked[":authority"] == served.address
    assert served.asked["te"] == "trailers"
    assert served.body == message(b"")


def test_a_service_is_asked_about_by_its_name():
    name = "shop." + "x" * 150
    *answer, _ = ANSWERS["serving"]
    with Served(*answer) as served:
        assert ask(Grpc(service=name, authority="shop.test"), served.address) == ""
    assert served.asked[":authority"] == "shop.test"
    assert served.body == message(b"\x0a" + varint(len(name)) + name.encode())
    assert varint(155) == b"\x9b\x01"


def test_inside_tls():
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.set_alpn_protocols(["h2"])
    authority.issue_cert("shop.test").configure_cert(theirs)
    plan = OutwardPlan((), authority.cert_pem.bytes(), ciphers=b"HIGH")
    ours = context_of(plan, Grpc.alpn)
    *answer, _ = ANSWERS["serving"]
    for verified, wanted in (("shop.test", ""), ("x.test", "another name")):
        with Served(*answer) as served:
            served.tls = theirs
            found = ask(Grpc(), served.address, tls=ours, sni="shop.test", verified=verified)
        assert wanted in found
        assert bool(found) == bool(wanted)
    assert served.asked == {}  # who is another hears nothing


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what it says is not HTTP/2"),
        (b"", "closed, no answer"),
    ],
)
def test_who_speaks_something_else(answer, wanted):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            taken, _ = listening.accept()
            with taken, contextlib.suppress(ConnectionResetError):
                taken.recv(4096)
                taken.sendall(answer)
                taken.shutdown(socket.SHUT_WR)
                while taken.recv(4096):  # a close before all is read would be a reset
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        assert ask(Grpc(), f"127.0.0.1:{listening.getsockname()[1]}") == wanted
        thread.join()


def test_with_a_server_of_the_real_library():
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    health = pytest.importorskip("grpc_health.v1.health", reason="no grpcio-health-checking")
    from concurrent.futures import ThreadPoolExecutor

    from grpc_health.v1 import health_pb2, health_pb2_grpc

    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        servicer.set("shop.Cart", health_pb2.HealthCheckResponse.NOT_SERVING)
        assert ask(Grpc(), f"127.0.0.1:{port}") == ""
        assert ask(Grpc(service="shop.Cart"), f"127.0.0.1:{port}") == "NOT_SERVING"
        assert ask(Grpc(service="shop.Till"), f"127.0.0.1:{port}") == "gRPC NOT_FOUND"
    finally:
        server.stop(0)
