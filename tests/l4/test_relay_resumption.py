"""Through the relay a TLS session comes back to the server that began it (persistence: tls_session)."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

    def dial(
        self, relay: Relay, source: str = "127.0.0.1", name: str | None = None
    ) -> ssl.SSLSocket:
        raw = socket.create_connection(
            ("127.0.0.1", relay.port), PATIENCE_S, source_address=(source, 0)
        )
        return self.context.wrap_socket(raw, session=self.session, server_hostname=name)

    def ask(
        self, relay: Relay, source: str = "127.0.0.1", name: str | None = None
    ) -> tuple[str, bool]:
        """Who answers, and whether the session was taken up again."""
        with self.dial(relay, source, name) as inside:
            server = inside.recv(10).decode()
            self.session, again = inside.session, bool(inside.session_reused)
            with contextlib.suppress(OSError):
                inside.unwrap()
            return server, again


@pytest.fixture
def through(relay, serve, pem) -> Callable[..., Relay]:
    def make(
        tickets: bool = True, otherwise: str = "balance", at_once: int = 0, **more: object
    ) -> Relay:
        servers = [serve(ends_tls(name, pem, tickets)).address for name in NAMES]
        plan = replace(TlsSession(otherwise=otherwise, rows=640).lower(), **more)
        return relay(
            servers, workers=2, hello=True, max_in_flight=at_once, backend={"persistence": plan}
        )

    return make


def counted(relay: Relay, name: str) -> int:
    return relay.counters()["backends"]["servers"][name]


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


def test_otherwise_by_the_name_it_asks_for(through):
    """Wherever it comes from; one that names nobody is balanced each time."""
    relay = through(otherwise="sni")
    names = [f"{n}.example" for n in range(6)]

    def fresh(name: str | None) -> set[str]:
        known = Client(ssl.TLSVersion.TLSv1_3)
        return {known.ask(relay, f"127.0.0.{n}", name)[0] for n in range(2, 6)}

    owners = [fresh(name) for name in names]
    assert all(len(owner) == 1 for owner in owners)
    assert len(set().union(*owners)) > 1
    assert counted(relay, "persisted_new") == len(names)
    assert len(fresh(None)) > 1
    walker = Client()
    (other,) = next(owner for owner in owners if owner != owners[0])
    assert walker.ask(relay, name=names[0])[0] in owners[0]
    assert walker.ask(relay, name=names[[*owners].index({other})]) == (*owners[0], True), (
        "the session goes before it"
    )


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


def test_or_it_is_waited_for(through):
    """Until it is back, or the time for it is over; nobody else is asked meanwhile."""
    relay = through(fallback=int(Fallback.FALLBACK_WAIT), wait_ms=60_000)
    client = Client()
    mine, _ = client.ask(relay)
    server = relay.plan.backends[0].servers[NAMES.index(mine)].address
    relay.plane.order("servers", server, Order(usable=False))
    until(lambda: relay.sessions() == 0, "the first one's end")
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(client.ask, relay)
        until(lambda: relay.sessions() == 1)
        assert relay.in_flight() == 0
        relay.plane.order("servers", server, Order())
        assert waits.result(PATIENCE_S) == (mine, True)
    relay.plane.order("servers", server, Order(usable=False))
    short = replace(relay.plan.backends[0].persistence, wait_ms=30)
    addresses = [one.address for one in relay.plan.backends[0].servers]
    relay.publish(addresses, hello=True, backend={"persistence": short})
    with pytest.raises(ConnectionResetError):
        client.ask(relay)
    assert counted(relay, "persisted_refused") == 1


FULL = {  # by what the file says: what the client meets whose server has no place
    Fallback.FALLBACK_REBALANCE: "another one, with a handshake of its own",
    Fallback.FALLBACK_WAIT: "its own one, as soon as there is room",
    Fallback.FALLBACK_REFUSE: "a reset",
}


@pytest.mark.parametrize("fallback", FULL, ids=FULL.values())
def test_its_server_is_full(through, fallback: Fallback):
    relay = through(at_once=1, fallback=int(fallback), wait_ms=60_000)
    client = Client()
    with ThreadPoolExecutor(1) as pool:
        with client.dial(relay) as first:
            mine, client.session = first.recv(10).decode(), first.session
            second = pool.submit(client.ask, relay)
            if fallback == Fallback.FALLBACK_WAIT:
                until(lambda: relay.sessions() == 2)
                assert relay.in_flight() == 1
            elif fallback == Fallback.FALLBACK_REBALANCE:
                other, again = second.result(PATIENCE_S)
                assert (other != mine, again) == (True, False)
            else:
                with pytest.raises(ConnectionResetError):
                    second.result(PATIENCE_S)
            with contextlib.suppress(OSError):
                first.unwrap()
        if fallback == Fallback.FALLBACK_WAIT:
            assert second.result(PATIENCE_S) == (mine, True)


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
