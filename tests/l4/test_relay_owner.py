"""Clients of the relay come back to their server; tiers, limits, circuits and fallback at Layer 4."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import replace

import pytest

from fourseven.balancing.round_robin import RoundRobin
from fourseven.compiler.tiers import tiers_of
from fourseven.health.standing import Order
from fourseven.persistence.sni import Sni
from fourseven.persistence.source import Source
from fourseven.plan import (
    All,
    BackendPlan,
    LocalityPlan,
    PersistencePlan,
    ResiliencePlan,
    RoutePlan,
    ServerPlan,
)
from fourseven.snapshot.layout import BreakerOf, Fallback
from support.relay import PATIENCE_S, Relay, echo, reset, until

pytestmark = pytest.mark.sanitize

DOWN, UP = Order(usable=False), Order()


def named(name: str):
    """A server that says who it is, and then repeats what it hears."""

    def serve(connection: socket.socket, number: int) -> None:
        connection.sendall(name.encode())
        echo(connection)

    return serve


def who(relay: Relay, source: str = "127.0.0.1") -> str:
    """The server that a client at this address gets; "" where it gets none."""
    try:
        with socket.create_connection(
            ("127.0.0.1", relay.port), PATIENCE_S, source_address=(source, 0)
        ) as client:
            return client.recv(10).decode()
    except ConnectionResetError:
        return ""


def persisting(fallback: Fallback = Fallback.FALLBACK_REBALANCE, **more: int) -> PersistencePlan:

    return replace(Source(rows=64).lower(), fallback=int(fallback), **more)


def order(relay: Relay, at: int, what: Order) -> None:
    relay.plane.order("servers", relay.plan.backends[0].servers[at].address, what)


def counted(relay: Relay, *names: str) -> list[int]:
    found = relay.counters()["backends"]["servers"]
    return [found[name] for name in names]


def test_an_address_keeps_its_server(relay, serve):
    """Over workers and reloads; while it drains too; and moves for good when the server is down."""
    servers = [serve(named(name)).address for name in ("one", "two", "three")]
    through = relay(servers, workers=2, backend={"persistence": persisting()})
    sources = [f"127.0.0.{n}" for n in range(2, 8)]
    owners = {source: who(through, source) for source in sources}
    assert len(set(owners.values())) == 3
    through.publish(servers, backend={"persistence": persisting()})
    assert owners == {source: who(through, source) for source in sources}
    mine = owners["127.0.0.2"]
    at = ["one", "two", "three"].index(mine)
    order(through, at, Order(usable=False, persists=True))
    assert who(through, "127.0.0.2") == mine
    order(through, at, DOWN)
    moved = who(through, "127.0.0.2")
    assert moved not in ("", mine)
    order(through, at, UP)
    assert who(through, "127.0.0.2") == moved
    found, new, gone = counted(through, "persisted", "persisted_new", "persisted_moved")
    assert (found, new, gone) == (8, 7, 1)


def test_a_row_ends_and_a_full_table_goes_on(relay, serve):
    servers = [serve(named(name)).address for name in ("one", "two")]
    through = relay(servers, backend={"persistence": persisting(ttl_ms=1)})
    seen = set()
    end = time.monotonic() + PATIENCE_S
    while seen != {"one", "two"} and time.monotonic() < end:
        seen.add(who(through))
    assert seen == {"one", "two"}, "a row of a millisecond keeps nobody"


def test_its_server_is_waited_for(relay, serve):
    """A client waits without a connection to anybody, until its server is back or its time over."""
    servers = [serve(named(name)).address for name in ("one", "two")]
    how = persisting(Fallback.FALLBACK_WAIT, wait_ms=20_000)
    through = relay(servers, backend={"persistence": how})
    mine = who(through)
    at = ["one", "two"].index(mine)
    order(through, at, DOWN)
    with through.client() as waits, through.client() as leaves:
        until(lambda: through.sessions() == 2)
        reset(leaves)
        until(lambda: through.sessions() == 1, "the one that left")
        assert through.in_flight() == 0
        order(through, at, UP)
        assert waits.recv(10).decode() == mine
    order(through, at, DOWN)
    short = persisting(Fallback.FALLBACK_WAIT, wait_ms=30)
    through.publish(servers, backend={"persistence": short})
    assert who(through) == ""
    refuse = persisting(Fallback.FALLBACK_REFUSE)
    through.publish(servers, backend={"persistence": refuse})
    assert who(through) == ""
    assert counted(through, "persisted_refused") == [2]


def test_its_server_is_full(relay, serve):
    servers = [serve(named(name)).address for name in ("one", "two")]
    through = relay(servers, max_in_flight=1, backend={"persistence": persisting()})
    with through.client() as first:
        mine = first.recv(10).decode()
        assert who(through) not in ("", mine), "another one this once"
    until(lambda: through.in_flight() == 0)
    assert who(through) == mine
    refuse = persisting(Fallback.FALLBACK_REFUSE)
    through.publish(servers, max_in_flight=1, backend={"persistence": refuse})
    until(lambda: through.in_flight() == 0)
    with through.client() as first:
        assert first.recv(10).decode() == mine
        assert who(through) == ""


def test_datagrams_come_back_too(relay, serve_udp):
    servers = [serve_udp(lambda data, name=name: name).address for name in (b"one", b"two")]
    through = relay(servers, udp=True, backend={"persistence": persisting()})

    with contextlib.ExitStack() as open_:  # a port that is given back is another one's flow

        def asked() -> bytes:
            client = open_.enter_context(through.client())
            client.send(b"?")
            return client.recv(10)

        mine = asked()
        assert {asked() for _ in range(5)} == {mine}
        order(through, [b"one", b"two"].index(mine), DOWN)
        assert {asked() for _ in range(3)} == {b"one", b"two"} - {mine}


def hello(name: bytes) -> bytes:
    """A ClientHello that asks for this name."""
    sni = struct.pack("!HBH", len(name) + 3, 0, len(name)) + name
    extensions = struct.pack("!HH", 0, len(sni)) + sni
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\1" + struct.pack("!I", len(body))[1:] + body
    return b"\x16\3\1" + struct.pack("!H", len(message)) + message


def test_a_name_keeps_its_server(relay, serve):
    servers = [serve(named(name)).address for name in ("one", "two", "three")]
    through = relay(servers, workers=2, hello=True, backend={"persistence": Sni(rows=64).lower()})

    def asked(name: bytes) -> bytes:
        with through.client() as client:
            client.sendall(hello(name))
            return client.recv(10).partition(b"\x16")[0]  # behind it the hello comes back

    names = [b"a.test", b"b.test", b"c.test"]
    owners = {name: asked(name) for name in names}
    assert len(set(owners.values())) == 3
    for _ in range(3):
        assert {name: asked(name) for name in names} == owners


def with_tiers(*tiers: int, zones: str = "", **resilience: int):
    """The backend's options for servers in these tiers, or zones."""

    def options(addresses: list[str], locality: LocalityPlan | None = None) -> dict[str, object]:
        placed = tuple(
            ServerPlan(address, tier=tier, zone=zones[at : at + 1])
            for at, (address, tier) in enumerate(zip(addresses, tiers, strict=True))
        )
        found: dict[str, object] = {"tiers": tiers_of(RoundRobin(), placed, locality)}
        if resilience:
            found["resilience"] = ResiliencePlan(**resilience)
        return found

    return options


def test_tiers(relay, serve):
    servers = [serve(named(name)).address for name in ("one", "two", "spare")]
    through = relay(servers, backend=with_tiers(0, 0, 1, tier_percent=60)(servers))
    assert {who(through) for _ in range(6)} == {"one", "two"}
    order(through, 0, DOWN)
    assert {who(through) for _ in range(4)} == {"spare"}
    order(through, 2, DOWN)
    assert {who(through) for _ in range(4)} == {"two"}
    assert counted(through, "spilled") == [4]


def test_a_tier_that_does_not_answer_is_left(relay, serve, nobody):
    """Nobody says that its server is down; a try that fails goes to the next tier."""
    servers = [nobody().address, serve(named("spare")).address]
    through = relay(servers, backend=with_tiers(0, 1)(servers))
    assert {who(through) for _ in range(3)} == {"spare"}


def test_those_that_are_near(relay, serve):
    """Local servers take all, and with fewer of them usable as much less."""
    near = [f"near{n}" for n in range(4)]
    servers = [serve(named(name)).address for name in (*near, "far")]
    options = with_tiers(0, 0, 0, 0, 0, zones="aaaab")
    through = relay(servers, backend=options(servers, LocalityPlan("a", 100)))
    assert {who(through) for _ in range(8)} == set(near)
    for at in (0, 1):
        order(through, at, DOWN)
    found = [who(through) for _ in range(120)]
    assert set(found) == {"near2", "near3", "far"}
    assert 24 <= found.count("far") <= 96, "half of them; six and a half deviations"
    for at in (2, 3):
        order(through, at, DOWN)
    assert {who(through) for _ in range(4)} == {"far"}
    for at in range(5):
        order(through, at, Order(usable=at == 3))
    assert {who(through) for _ in range(8)} == {"near3"}, "there is nobody to spill to"


def test_limits_of_the_whole(relay, serve):
    servers = [serve(named(name)).address for name in ("one", "two")]
    limits = ResiliencePlan(connections_max=3)
    through = relay(servers, workers=2, backend={"resilience": limits})
    held: list[socket.socket] = []
    got: list[bytes] = []

    def client() -> None:
        try:
            one = through.client()
            got.append(one.recv(10))
            held.append(one)
        except ConnectionResetError:
            got.append(b"")

    threads = [threading.Thread(target=client) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([name for name in got if name]) == 3
    assert through.in_flight() == 3
    for one in held:
        one.close()


@pytest.mark.parametrize("of", [BreakerOf.BREAKER_SERVER, BreakerOf.BREAKER_BACKEND])
def test_circuits(relay, nobody, of):
    """Connections that cannot be made open it; while it is open nobody tries; one finds out."""
    gone = nobody()
    rules = ResiliencePlan(
        breaker_of=int(of), breaker_percent=50, breaker_requests=3, breaker_window_ms=60_000,
        breaker_open_ms=200,
    )  # fmt: skip
    through = relay([gone.address], backend={"resilience": rules, "retries": 0})
    opened = "circuits_opened" if of == BreakerOf.BREAKER_SERVER else "backend_circuit_opened"
    while counted(through, opened) == [0]:
        assert who(through) == ""
    tried = through.server()["connect_errors"]
    assert tried == 3
    until(lambda: who(through) == "" and through.server()["connect_errors"] > tried, "a probe")
    again = through.server()["connect_errors"] - tried  # more than one, if we stood still
    assert counted(through, opened) == [1 + again]
    gone.socket.listen()
    answer = lambda: gone.socket.accept()[0].sendall(b"back")  # noqa: E731
    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    until(lambda: who(through) == "back")
    thread.join()
    assert counted(through, "circuit_open") == [0]


def test_a_fallback(relay, serve):
    spare = serve(named("spare"))
    servers = [serve(named("one")).address]
    through = relay(servers)
    picker = RoundRobin().lower([(spare.address, 1)])
    other = BackendPlan(
        "other", (ServerPlan(spare.address),), "round_robin", picker.pick, picker.table
    )

    route = RoutePlan("all", All(), (("servers", 1),), fallback="other")
    plan = replace(
        through.plan,
        listeners=(replace(through.plan.listeners[0], routes=(route,)),),
        backends=(*through.plan.backends, other),
    )
    through.plane.publish(plan, {"relay": [one.fileno() for one in through.sockets]})
    assert who(through) == "one"
    order(through, 0, DOWN)
    assert who(through) == "spare"
    assert counted(through, "fallbacks") == [1]
