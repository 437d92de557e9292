"""TLS by its first message: passed through by name, ended by name on the same port, refused aloud.

The servers end TLS themselves and say which they are, with their own certificates: a client that
verifies the name has proof that nobody ended TLS between.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from protocols.test_clienthello import REFUSED as BAD_HELLOS
from protocols.test_clienthello import records
from support.balancer import Config
from support.front import Stage
from support.relay import until
from support.tls import Authority, TlsWire
from support.wire import RESET, Wire

TLS_ALERT, FATAL, DECODE_ERROR, UNRECOGNIZED_NAME = 0x15, 2, 50, 112
SERVER_HELLO = (22, 2)  # the kinds of record and message
HOST = b"GET /x HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("passthrough"))
    for name in ("db.example", "mail.example", "a.example"):
        made.issue(f"{name}.pem", name)
    return made


class TlsServer:
    """Ends TLS with the certificate of one name, echoes what it gets behind its own name."""

    def __init__(self, authority: Authority, name: str) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(authority.folder / f"{name}.pem")
        self.context.set_alpn_protocols(["h2", "imap"])
        self.name = name.encode()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                connected, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connected,), daemon=True).start()

    def serve(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError), connected:
            inside = self.context.wrap_socket(connected, server_side=True)
            while data := inside.recv(65_536):
                inside.sendall(self.name + b" " + data)
            inside.close()

    def stop(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


@pytest.fixture
def server(authority: Authority) -> Iterator[Callable[[str], TlsServer]]:
    made: list[TlsServer] = []

    def start(name: str) -> TlsServer:
        made.append(TlsServer(authority, name))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def config(routes: list[Config], servers: dict[str, str], **listener: Any) -> Config:
    backends = {name: {"servers": [address]} for name, address in servers.items()}
    return {"listeners": {"in": {"routes": routes, **listener}}, "backends": backends}


def by_name(stage: Stage, server: Callable[[str], TlsServer], **listener: Any):
    """db.example and whoever offers imap are passed through; nobody else."""
    routes = [
        {"match": {"sni": "db.example"}, "backend": "db"},
        {"match": {"alpn": "imap"}, "backend": "mail"},
    ]
    servers = {"db": server("db.example").address, "mail": server("mail.example").address}
    return stage.balancer(config(routes, servers, **listener), workers=1)


def reset(wire: Wire) -> bool:
    """Whether it ends by a reset, and nothing is said before."""
    return wire.ended() and wire.end == RESET


def counted(balancer) -> dict[str, int]:
    """What was counted, once nobody is on the way any more."""
    until(lambda: balancer.counters()["workers"]["arrivals"] == 0)
    return balancer.counters()["workers"]


def say(balancer, authority: Authority, name: str, *alpn: str) -> bytes:
    context = authority.context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    with TlsWire(balancer.address, context, name=name) as wire:
        wire.socket.sendall(b"hello")
        return wire.socket.recv(100)


def test_names_and_protocols_choose_the_server(stage, server, authority):
    balancer = by_name(stage, server)
    assert say(balancer, authority, "db.example") == b"db.example hello"
    assert say(balancer, authority, "mail.example", "h2", "imap") == b"mail.example hello"
    assert say(balancer, authority, "DB.Example") == b"db.example hello"
    assert counted(balancer)["hello_refused"] == 0


def client_hello(name: str | None, *alpn: str) -> bytes:
    """What OpenSSL says first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    came, went = ssl.MemoryBIO(), ssl.MemoryBIO()
    inside = context.wrap_bio(came, went, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        inside.do_handshake()
    return went.read()


def message_of(hello: bytes) -> bytes:
    """A hello without the head of its one record."""
    return hello[5:]


@pytest.mark.parametrize("how", ["byte by byte", "records of 20 bytes", "records, byte by byte"])
def test_a_hello_in_pieces(stage, server, authority, how):
    """What was looked at reaches the server once, whole and in its order."""
    balancer = by_name(stage, server)
    context = authority.context()
    came, went = ssl.MemoryBIO(), ssl.MemoryBIO()
    inside = context.wrap_bio(came, went, server_hostname="db.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        inside.do_handshake()
    hello = went.read()
    if "records" in how:
        hello = records(message_of(hello), 20)
    with balancer.wire() as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = 1 if "byte by" in how else len(hello)
        for at in range(0, len(hello), step):
            wire.socket.sendall(hello[at : at + step])
        answer = b""
        while len(answer) < 6:  # a ServerHello, not an alert
            part = wire.socket.recv(100)
            assert part, answer
            answer += part
        assert (answer[0], answer[5]) == SERVER_HELLO


def some(wire: Wire) -> bytes:
    """What comes next; it is not the end."""
    part = wire.socket.recv(65_536)
    assert part
    return part


def alert(wire: Wire) -> tuple[int, int, int]:
    """The (type, level, description) with which the other side ended."""
    said = b""
    while part := wire.socket.recv(100):
        said += part
    assert len(said) == 7, said
    return said[0], said[5], said[6]


def test_a_name_that_nobody_serves_is_told_so(stage, server):
    balancer = by_name(stage, server)
    for name in ("other.example", None):
        with balancer.wire() as wire:
            wire.socket.sendall(client_hello(name, "h2"))
            assert alert(wire) == (TLS_ALERT, FATAL, UNRECOGNIZED_NAME)
    assert counted(balancer)["hello_refused"] == 0
    until(lambda: balancer.counters()["listeners"]["in"]["status"][0] == 2)


def test_without_a_name_the_routes_that_ask_for_none_are_left(stage, server, authority):
    routes = [{"match": {"sni": "db.example"}, "backend": "db"}, {"backend": "mail"}]
    servers = {"db": server("db.example").address, "mail": server("mail.example").address}
    balancer = stage.balancer(config(routes, servers), workers=1)
    context = authority.context()
    context.check_hostname = False
    with TlsWire(balancer.address, context, name=None) as wire:
        wire.socket.sendall(b"x")
        assert wire.socket.recv(100) == b"mail.example x"
    assert say(balancer, authority, "db.example") == b"db.example hello"


@pytest.mark.parametrize("data,result", [r[1:] for r in BAD_HELLOS], ids=[r[0] for r in BAD_HELLOS])
def test_what_is_no_hello_reaches_nobody(stage, server, data, result):
    """Not TLS: a reset. Malformed or too long: the alert that TLS has for it."""
    balancer = by_name(stage, server)
    with balancer.wire() as wire:
        wire.socket.sendall(data)
        if result == -1:
            assert reset(wire)
        else:
            assert alert(wire) == (TLS_ALERT, FATAL, DECODE_ERROR)
    assert counted(balancer)["hello_refused"] == 1
    servers = balancer.counters()["servers"].values()
    assert sum(one["connects"] for one in servers) == 0


def test_a_slow_hello_ends(stage, server):
    balancer = by_name(stage, server, hello_timeout="300ms")
    hello = client_hello("db.example")
    with balancer.wire() as silent, balancer.wire() as slow:
        slow.send(hello[:-1])
        assert reset(silent)
        assert reset(slow)
    assert counted(balancer)["timeouts_hello"] == 2


def test_a_client_that_leaves_in_its_hello(stage, server):
    balancer = by_name(stage, server)
    with balancer.wire() as wire:
        wire.socket.sendall(client_hello("db.example")[:50])
        wire.socket.shutdown(socket.SHUT_WR)
        assert reset(wire)
    until(lambda: balancer.order("busy") == 0)


def test_the_limit_holds_for_hellos_too(stage, server, authority):
    balancer = by_name(stage, server, connections_max=1)
    with balancer.wire() as first:
        first.socket.sendall(client_hello("db.example")[:50])
        until(lambda: balancer.counters()["workers"]["arrivals"] == 1)
        with contextlib.suppress(ConnectionResetError), balancer.wire() as second:
            assert reset(second)
        until(lambda: balancer.counters()["listeners"]["in"]["refused_limit"] == 1)
    until(lambda: balancer.counters()["workers"]["arrivals"] == 0)
    assert say(balancer, authority, "db.example") == b"db.example hello"


# ---- one port, two ways ----


def mixed(stage: Stage, server: Callable[[str], TlsServer], authority: Authority, **listener: Any):
    """db.example is passed through, the rest of example ends here."""
    behind = stage.server()
    routes = [
        {"match": {"sni": "a.example"}, "backend": "web"},
        {"match": {"sni": "*.example"}, "tls": "passthrough", "backend": "db"},
        {"match": {"path": "/x"}, "backend": "web"},
    ]
    servers = {"db": server("db.example").address, "web": behind.address}
    tls = {"certificates": [str(authority.folder / "a.example.pem")]}
    return behind, stage.balancer(config(routes, servers, tls=tls, **listener), workers=1)


def test_one_port_passes_some_names_through_and_ends_others(stage, server, authority):
    behind, balancer = mixed(stage, server, authority)
    for _ in range(3):
        assert say(balancer, authority, "db.example") == b"db.example hello"
        with TlsWire(balancer.address, authority.context(), name="a.example") as wire:
            assert wire.send(HOST % b"a.example").read().body == b"server"
    context = authority.context()
    context.check_hostname = False
    with TlsWire(balancer.address, context, name=None) as wire:
        assert wire.send(HOST % b"a.example").read().body == b"server"
    counters = balancer.counters()
    assert counters["workers"]["tls_handshakes"] == 4
    assert counters["listeners"]["in"]["accepted"] == 7
    assert len(behind.requests) == 4


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_an_ended_hello_byte_by_byte(stage, server, authority, version):
    """The bytes that were looked at are those that the handshake begins with."""
    _, balancer = mixed(stage, server, authority)
    came, went = ssl.MemoryBIO(), ssl.MemoryBIO()
    inside = authority.context(version).wrap_bio(came, went, server_hostname="a.example")
    with balancer.wire() as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        done = False
        while not done:
            try:
                inside.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            for byte in went.read():
                wire.socket.sendall(bytes([byte]))
            if not done:
                came.write(some(wire))
        inside.write(HOST % b"a.example")
        wire.socket.sendall(went.read())
        answer = b""
        while b"server" not in answer:
            came.write(some(wire))
            with contextlib.suppress(ssl.SSLWantReadError):
                answer += inside.read(65_536)


def test_no_hello_at_a_port_that_ends_tls_is_answered_as_ever(stage, server, authority):
    _, balancer = mixed(stage, server, authority)
    with balancer.wire() as wire:
        answer = wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").read()
        assert (answer.status, answer.body) == (400, b"this port speaks HTTPS; use https://\n")
    assert counted(balancer)["hello_refused"] == 1


def test_the_request_is_routed_by_what_the_hello_said(stage, authority):
    """Names and protocols are matches of Layer 7 too, where TLS ends."""
    one, other = stage.server("one"), stage.server("other")
    routes = [
        {"match": {"all": [{"alpn": "imap"}, {"path": "/x"}]}, "backend": "one"},
        {"match": {"not": {"sni": "a.example"}}, "backend": "one"},
        {"backend": "other"},
    ]
    servers = {"one": one.address, "other": other.address}
    names = [str(authority.folder / f"{name}.pem") for name in ("a.example", "db.example")]
    balancer = stage.balancer(config(routes, servers, tls={"certificates": names}), workers=1)
    for name, alpn, want in [
        ("a.example", ["http/1.1"], b"other"),
        ("a.example", ["imap", "http/1.1"], b"one"),
        ("db.example", [], b"one"),
    ]:
        context = authority.context()
        if alpn:
            context.set_alpn_protocols(alpn)
        with TlsWire(balancer.address, context, name=name) as wire:
            assert wire.send(HOST % name.encode()).read().body == want


def test_a_reload_in_the_middle_of_a_hello(stage, server, authority):
    """The routes of the new file decide."""
    _, balancer = mixed(stage, server, authority)
    hello = client_hello("db.example")
    with balancer.wire() as wire:
        wire.socket.sendall(hello[:50])
        until(lambda: balancer.counters()["workers"]["arrivals"] == 1)
        said = balancer.config
        said["listeners"]["in"]["routes"] = said["listeners"]["in"]["routes"][2:]
        balancer.reload(said)
        wire.socket.sendall(hello[50:])
        answer = wire.socket.recv(100)
        assert (answer[0], answer[5]) == SERVER_HELLO
    assert sum(one["connects"] for one in balancer.counters()["servers"].values()) == 0
