"""Through the relay a TLS session comes back to the server that began it (persistence: tls_session)."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fourseven.health.standing import Order
from fourseven.persistence.tls_session import TlsSession
from fourseven.snapshot.layout import Fallback
from protocols.test_clienthello import hello, server_name
from support.relay import PATIENCE_S, Relay, until
from support.tls import Authority

pytestmark = pytest.mark.sanitize
NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def pem(tmp_path_factory) -> Path:
    made = Authority(tmp_path_factory.mktemp("resumption"))
    made.issue("a.pem", "a.example")
    return made.folder / "a.pem"


def ends_tls(name: str, pem: Path, tickets: bool):
    """A server with sessions of its own, that says its name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.options |= 0 if tickets else ssl.OP_NO_TICKET

    def serve(connection: socket.socket, number: int) -> None:
        inside = context.wrap_socket(connection, server_side=True)
        inside.sendall(name.encode())
        inside.recv(10)
        with contextlib.suppress(OSError):
            inside.unwrap()  # else OpenSSL forgets the session
        inside.close()

    return serve


class Client:
    """Comes again with the session that it has."""

    def __init__(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.maximum_version = version
        self.session: ssl.SSLSession | None = None

    def ask(self, relay: Relay, source: str = "127.0.0.1") -> tuple[str, bool]:
        """Who answers, and whether the session was taken up again."""
        raw = socket.create_connection(
            ("127.0.0.1", relay.port), PATIENCE_S, source_address=(source, 0)
        )
        with self.context.wrap_socket(raw, session=self.session) as inside:
            name = inside.recv(10).decode()
            self.session, again = inside.session, bool(inside.session_reused)
            with contextlib.suppress(OSError):
                inside.unwrap()
            return name, again


@pytest.fixture
def through(relay, serve, pem) -> Callable[..., Relay]:
    def make(tickets: bool = True, otherwise: str = "balance", **more: object) -> Relay:
        servers = [serve(ends_tls(name, pem, tickets)).address for name in NAMES]
        plan = replace(TlsSession(otherwise=otherwise, rows=640).lower(), **more)
        return relay(servers, workers=2, hello=True, backend={"persistence": plan})

    return make


def counted(relay: Relay, name: str) -> int:
    return relay.plane.counters()["backends"]["servers"][name]


@pytest.mark.parametrize("tickets", [True, False])
def test_a_session_is_taken_up_again(through, tickets):
    relay = through(tickets)
    clients = [Client() for _ in range(6)]
    owners = [client.ask(relay) for client in clients]
    assert {name for name, _ in owners} == set(NAMES)
    assert counted(relay, "persisted_new") == 6
    for _ in range(3):
        assert [c.ask(relay) for c in clients] == [(name, True) for name, _ in owners]
    assert counted(relay, "persisted") == 18


def test_in_tls_1_3_there_is_nothing_to_learn(through):
    relay = through()
    client = Client(ssl.TLSVersion.TLSv1_3)
    assert {client.ask(relay)[0] for _ in range(3)} == set(NAMES)
    assert counted(relay, "persisted_new") == 0


def test_otherwise_by_its_address(through):
    relay = through(otherwise="source")
    fresh = {Client(ssl.TLSVersion.TLSv1_3).ask(relay)[0] for _ in range(4)}
    assert len(fresh) == 1
    walker = Client()
    mine, _ = walker.ask(relay, "127.0.0.2")
    for n in range(3, 8):
        assert walker.ask(relay, f"127.0.0.{n}") == (mine, True), "the session goes before it"


def test_its_server_is_down(through):
    relay = through()
    client = Client()
    mine, _ = client.ask(relay)
    address = relay.plan.backends[0].servers[NAMES.index(mine)].address
    relay.plane.order("servers", address, Order(usable=False))
    other, again = client.ask(relay)
    assert other != mine
    assert not again
    relay.plane.order("servers", address, Order())
    assert client.ask(relay) == (other, True), "it has a session there now"


def test_or_it_is_refused(through):
    relay = through(fallback=int(Fallback.FALLBACK_REFUSE))
    client = Client()
    mine, _ = client.ask(relay)
    address = relay.plan.backends[0].servers[NAMES.index(mine)].address
    relay.plane.order("servers", address, Order(usable=False))
    with pytest.raises(ConnectionResetError):
        client.ask(relay)
    assert counted(relay, "persisted_refused") == 1


def test_a_server_without_tls_is_relayed(relay, serve):
    """What it says is not TLS, and comes whole."""

    def serve_bulk(connection: socket.socket, number: int) -> None:
        connection.recv(4096)
        connection.sendall(bytes(range(256)) * 4096)

    plan = TlsSession(rows=64).lower()
    through = relay([serve(serve_bulk).address], hello=True, backend={"persistence": plan})
    with through.client() as client:
        client.sendall(hello(server_name(b"a.test")))
        got = b""
        while data := client.recv(65_536):
            got += data
    assert got == bytes(range(256)) * 4096
    until(lambda: through.in_flight() == 0)
