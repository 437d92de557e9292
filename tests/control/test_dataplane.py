"""The data plane from within: publish under load, reclaim, drain, stop. Also run under sanitizers.

Real workers, real sockets, clients and servers in threads of this process; no supervisor, no engine
process. What is checked is the hand-over between control and workers.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fourseven.balancing.round_robin import RoundRobin
from fourseven.control.dataplane import DataPlane
from fourseven.plan import All, BackendPlan, ListenerPlan, Plan, RoutePlan, ServerPlan
from fourseven.snapshot.layout import ListenerMode

pytestmark = pytest.mark.sanitize

REQUEST = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
WAIT_S = 20  # generous: sanitized code is slow


class Server:
    """Answers each request with its name, on any number of connections."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                self.connections.append(connection)
                self.threads.append(threading.Thread(target=self.serve, args=(connection,)))
                self.threads[-1].start()

    def serve(self, connection: socket.socket) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.name), self.name)
        pending = b""
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(65536):
                pending += data
                *whole, pending = pending.split(b"\r\n\r\n")
                if whole:
                    connection.sendall(answer * len(whole))

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes who waits for it; a close alone does not
        self.threads[0].join()
        for connection in self.connections:
            with contextlib.suppress(OSError):  # it has ended
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        self.socket.close()


class Client:
    """One keep-alive connection that asks one thing after the other."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)

    def ask(self) -> tuple[int, bytes]:
        self.socket.sendall(REQUEST)
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError("closed before an answer")
            data += piece
        head, body = data.split(b"\r\n\r\n", 1)
        size = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        while len(body) < size:
            body += self.socket.recv(65536)
        return int(head.split()[1]), body


def plan_for(servers: list[Server], name: str = "web") -> Plan:
    members = tuple(ServerPlan(server.address) for server in servers)
    picker = RoundRobin().lower([(m.address, m.weight) for m in members])
    return Plan(
        (
            ListenerPlan(
                name,
                ("tcp://127.0.0.1:0",),
                ListenerMode.MODE_HTTP,
                (RoutePlan("all", All(), (("servers", 1),)),),
            ),
        ),
        (BackendPlan("servers", members, "round_robin", picker.pick, picker.table),),
    )


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    running = [Server(b"one"), Server(b"two"), Server(b"three")]
    yield running
    for server in running:
        server.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture
def plane(servers: list[Server], listening: socket.socket) -> Iterator[DataPlane]:
    plane = DataPlane(2)
    plane.publish(plan_for(servers), {"web": [listening.fileno()]})
    plane.start()
    yield plane
    plane.stop()


def until(holds) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


def port(listening: socket.socket) -> int:
    return listening.getsockname()[1]


def test_publishing_under_load_loses_no_request_and_frees_every_snapshot(plane, servers, listening):
    """200 plans in a row, each with other servers, while four clients ask without a pause."""
    stop = threading.Event()
    seen: list[tuple[int, bytes]] = []
    failures: list[BaseException] = []

    def load() -> None:
        try:
            client = Client(port(listening))
            while not stop.is_set():
                seen.append(client.ask())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for round_ in range(200):
        chosen = servers[round_ % 3 :] or servers
        plane.publish(plan_for(chosen), {"web": [listening.fileno()]})
        plane.reclaim()
        time.sleep(0.002)
    plane.publish(plan_for(servers), {"web": [listening.fileno()]})
    until(lambda: len(seen) > 200 and {body for _, body in seen} == {b"one", b"two", b"three"})
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert not failures
    assert {status for status, _ in seen} == {200}
    until(lambda: plane.reclaim() == 0)


def test_in_flight_returns_to_zero(plane, listening):
    clients = [Client(port(listening)) for _ in range(8)]
    for client in clients:
        assert client.ask()[0] == 200
    until(lambda: plane.counters()["workers"]["requests"] >= len(clients))
    until(lambda: all(s["in_flight"] == 0 for s in plane.counters()["servers"].values()))
    assert plane.counters()["workers"]["requests"] == len(clients)


def test_a_drain_closes_the_idle_and_busy_tells(plane, listening):
    clients = [Client(port(listening)) for _ in range(5)]
    for client in clients:
        assert client.ask()[0] == 200
    assert plane.busy() == len(clients)
    plane.drain()
    until(lambda: plane.busy() == 0)
    assert clients[0].socket.recv(1) == b""


def test_a_listener_that_left_the_file_closes_its_idle_sessions(plane, servers, listening):
    client = Client(port(listening))
    assert client.ask()[0] == 200
    plane.publish(Plan((), plan_for(servers).backends), {})
    assert client.socket.recv(1) == b""
    until(lambda: plane.reclaim() == 0)


def test_a_plan_that_can_not_be_packed_changes_nothing(plane, servers, listening):
    before = plane.generation
    bad = plan_for(servers)
    with pytest.raises(KeyError):
        plane.publish(bad, {})
    unknown = Plan(
        bad.listeners,
        (BackendPlan("servers", (ServerPlan("no-such-host.invalid:1"),), "round_robin", 0),),
    )
    with pytest.raises(OSError, match="does not resolve"):
        plane.publish(unknown, {"web": [listening.fileno()]})
    assert plane.generation == before
    assert Client(port(listening)).ask()[0] == 200


def test_workers_are_one_to_sixty_four():
    for workers in (0, 65):
        with pytest.raises(ValueError, match="1 to 64"):
            DataPlane(workers)


def test_a_listener_that_came_back_on_another_socket_is_served_there(plane, servers, listening):
    """The file lost it and named it again before a worker had looked: only the socket is new."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as other:
        other.setblocking(False)
        plane.publish(plan_for(servers), {"web": [other.fileno()]})
        assert Client(port(other)).ask()[0] == 200
        plane.publish(plan_for(servers), {"web": [listening.fileno()]})
        assert Client(port(listening)).ask()[0] == 200
