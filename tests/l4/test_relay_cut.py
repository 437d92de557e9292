"""A server that is down, and whose connections and flows are to end: at the relay."""

from __future__ import annotations

import contextlib
import socket

import pytest

from fourseven.health.standing import Order
from support.relay import until

DOWN, CUT, UP = Order(usable=False), Order(usable=False, cut=True), Order()


def name_first(name: bytes):
    """A server that says who it is, then echoes; what it saw at the end stands in `ends`."""
    ends: list[str] = []

    def serve(connection: socket.socket, _number: int) -> None:
        connection.sendall(name)
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(100):
                connection.sendall(data)
            ends.append("end")
            return
        ends.append("reset")

    return serve, ends


def named(client: socket.socket) -> bytes:
    return client.recv(1)


def echoes(client: socket.socket) -> bool:
    client.sendall(b"still here")
    return client.recv(100) == b"still here"


@pytest.mark.parametrize("workers", [1, 2])
def test_both_sides_get_a_reset_and_others_go_on(relay, serve, workers):
    made = {name: name_first(name) for name in (b"1", b"2")}
    servers = [serve(what).address for what, _ in made.values()]
    through = relay(servers, workers=workers)
    with contextlib.ExitStack() as open_:
        clients = [open_.enter_context(through.client()) for _ in range(8)]
        mine: dict[bytes, list[socket.socket]] = {b"1": [], b"2": []}
        for one in clients:
            mine[named(one)].append(one)
        assert [len(found) for found in mine.values()] == [4, 4]
        through.plane.order("servers", servers[0], DOWN)
        assert all(echoes(one) for one in clients)
        through.plane.order("servers", servers[0], CUT)
        for one in mine[b"1"]:
            with pytest.raises(ConnectionResetError):
                one.recv(100)
        until(lambda: made[b"1"][1] == ["reset"] * 4)
        assert all(echoes(one) for one in mine[b"2"])
        assert through.server(0)["resets"] == 4
        through.plane.order("servers", servers[0], UP)
        with through.client() as first, through.client() as second:
            assert {named(first), named(second)} == {b"1", b"2"}
            through.plane.order("servers", servers[1], DOWN)  # nothing is cut by somebody else's
            assert echoes(first)
            assert echoes(second)
            through.plane.order("servers", servers[0], CUT)  # a second time
            until(lambda: len(made[b"1"][1]) == 5)


def test_who_is_still_connecting_goes_to_another(relay, serve):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, contextlib.ExitStack() as open_:
        where = deaf.getsockname()
        for _ in range(3):
            one = open_.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(where)
        servers = [f"{where[0]}:{where[1]}", serve().address]
        through = relay(servers, backend={"connect_timeout_ms": 60_000, "retries": 1})
        with through.client() as client:
            client.sendall(b"hello")
            until(lambda: through.in_flight() == 1)
            through.plane.order("servers", servers[0], CUT)
            assert client.recv(100) == b"hello"


def test_a_flow_is_forgotten_and_begins_elsewhere(relay, serve_udp):
    names = [serve_udp(lambda data, name=name: name + data) for name in (b"1", b"2")]
    servers = [one.address for one in names]
    through = relay(servers, udp=True)
    with contextlib.ExitStack() as open_:
        clients = [open_.enter_context(through.client()) for _ in range(4)]

        def asked() -> list[bytes]:
            for one in clients:
                one.send(b"x")
            return [one.recv(100)[:1] for one in clients]

        before = asked()
        assert sorted(before) == [b"1", b"1", b"2", b"2"]
        through.plane.order("servers", servers[0], DOWN)
        assert asked() == before
        through.plane.order("servers", servers[0], CUT)
        until(lambda: through.sessions() == 2)
        assert asked() == [b"2"] * 4
        assert through.listener["flows"] == 6
