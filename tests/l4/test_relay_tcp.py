"""TCP through the relay: bytes, ends, limits, failures and what is left behind."""

from __future__ import annotations

import hashlib
import os
import resource
import socket
import threading
import time

import pytest

from fourseven.balancing.least_requests import LeastRequests
from fourseven.balancing.source_hash import SourceHash
from fourseven.matching import records
from fourseven.matching.table import Field
from fourseven.plan import Condition, Not
from support.again import again
from support.relay import PATIENCE_S, descriptors, echo, reset, until

pytestmark = pytest.mark.sanitize


def read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def ask(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(65_536)


def refused(through) -> bool:
    """A reset may come before connect() has returned, or after it."""
    try:
        with through.client() as client:
            return client.recv(1) == b"never"
    except ConnectionResetError:
        return True


def address_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()
    return f"{host}:{port}"


# ---- bytes and their ends ----


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_echo(relay, serve, host):
    through = relay([serve(host=host).address], host=host)
    with through.client() as client:
        for size in (1, 10, 4096, 65_535, 65_536, 65_537, 1):
            client.sendall(b"x" * size)
            got = b""
            while len(got) < size:
                got += client.recv(1 << 20)
            assert got == b"x" * size
    until(lambda: through.sessions() == 0)
    until(lambda: through.in_flight() == 0)


def test_both_families_on_one_socket(relay, serve):
    through = relay([serve().address], host="::")
    for host in ("127.0.0.1", "::1"):
        with through.client(host) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"


def test_the_server_speaks_first(relay, serve):
    through = relay([serve(lambda c, n: c.sendall(b"220 ready\r\n")).address])
    with through.client() as client:
        assert client.recv(100) == b"220 ready\r\n"
        assert client.recv(100) == b""


def test_the_client_ends_first(relay, serve):
    """Its FIN goes on alone: the server answers afterwards."""
    through = relay([serve(lambda c, n: c.sendall(b"got " + read_all(c))).address])
    with through.client() as client:
        client.sendall(b"a question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"got a question"


def test_the_server_ends_first(relay, serve):
    """And the client goes on sending into the other half."""
    got = []

    def halves(connection, number):
        connection.sendall(b"that is all")
        connection.shutdown(socket.SHUT_WR)
        got.append(read_all(connection))

    through = relay([serve(halves).address])
    with through.client() as client:
        assert read_all(client) == b"that is all"
        client.sendall(b"but I " * 1000)
        client.shutdown(socket.SHUT_WR)
        until(lambda: got)
    assert got == [b"but I " * 1000]


def test_data_and_end_at_once(relay, serve):
    """One edge for both; the end must not wait for another event."""
    through = relay([serve(lambda c, n: c.sendall(read_all(c))).address])
    for _ in range(50):
        with through.client() as client:
            client.sendall(b"all of it")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"all of it"
    until(lambda: through.sessions() == 0)
    assert through.listener["bytes_in"] == through.listener["bytes_out"] == 50 * 9


def test_an_end_without_bytes(relay, serve):
    through = relay([serve().address])
    with through.client() as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b""
    until(lambda: through.sessions() == 0)


@pytest.mark.parametrize("size", [65_536, 300_000, 64 << 20])
def test_bulk_both_ways(relay, serve, size):
    """Longer than every buffer, so through the pipes, in both directions at once."""
    through = relay([serve().address])
    block = bytes(range(256)) * 4096
    sent, got = hashlib.sha256(), hashlib.sha256()
    with through.client() as client:

        def send():
            left = size
            while left:
                part = block[: min(left, len(block))]
                client.sendall(part)
                sent.update(part)
                left -= len(part)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while part := client.recv(1 << 20):
            got.update(part)
        sender.join()
    assert got.digest() == sent.digest()
    until(lambda: through.sessions() == 0)
    assert through.listener["bytes_in"] == through.listener["bytes_out"] == size
    assert through.server()["bytes_to"] == through.server()["bytes_from"] == size


def test_a_slow_reader_holds_the_sender_back(relay, serve):
    """What is on its way is bounded by the buffers of the kernel, not by memory of ours."""
    sent = []

    def flood(connection, number):
        while True:
            sent.append(connection.send(b"y" * 65_536))

    through = relay([serve(flood).address])
    with through.client() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        assert client.recv(1) == b"y"
        before = -1
        still = 0
        while still < 10:  # nothing tells that a sender stands still but that it does
            still = still + 1 if before == sum(sent) else 0
            before = sum(sent)
            assert before < 64 << 20
            time.sleep(0.05)
        assert through.workers["buffers_large"] + through.workers["pipes"] <= 2
        # and goes on when the reader does
        more = before + (1 << 20)
        got = 1
        while got < more:
            got += len(client.recv(1 << 20))
        until(lambda: sum(sent) >= more)  # who has sent says so afterwards


def test_many_small_questions_on_many_connections(relay, serve):
    through = relay([serve().address, serve().address], workers=2)
    clients = [through.client() for _ in range(40)]
    for turn in range(20):
        for number, client in enumerate(clients):
            client.sendall(b"%d in turn %d" % (number, turn))
        for number, client in enumerate(clients):
            assert client.recv(100) == b"%d in turn %d" % (number, turn)
    assert through.server(0)["in_flight"] + through.server(1)["in_flight"] == 40
    for client in clients:
        client.close()
    until(lambda: through.in_flight() == 0)


# ---- resets ----


def test_a_reset_of_the_server_reaches_the_client(relay, serve):
    through = relay([serve(lambda c, n: (c.recv(10), reset(c))).address])
    with through.client() as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(10)


def test_a_reset_of_the_client_reaches_the_server(relay, serve):
    server = serve(echo)
    through = relay([server.address])
    client = through.client()
    client.sendall(b"x")
    assert client.recv(10) == b"x"
    reset(client)
    until(lambda: server.faults)
    assert isinstance(server.faults[0], ConnectionResetError)
    until(lambda: through.in_flight() == 0)


def test_a_reset_after_the_end(relay, serve):
    """The client has ended its half and then dies: only an error edge tells of it."""
    let_go = threading.Event()  # until then the server's half stays open
    through = relay([serve(lambda c, n: (read_all(c), let_go.wait(PATIENCE_S))).address])
    client = through.client()
    try:
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        until(lambda: through.listener["bytes_in"] == 1)
        reset(client)
        until(lambda: through.sessions() == 0)
    finally:
        let_go.set()


# ---- servers that fail ----


def test_the_next_server_takes_it(relay, serve, nobody):
    through = relay([nobody().address, serve().address], backend={"retries": 1})
    for _ in range(10):
        with through.client() as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
    assert 5 <= through.server(0)["connect_errors"] == through.workers["retries"] <= 10
    assert through.server(0)["in_flight"] == 0


def test_no_more_retries_than_allowed(relay, nobody):
    """A third server is there, and is not asked; which two are is drawn."""
    through = relay([nobody().address for _ in range(3)], backend={"retries": 1})
    assert refused(through)
    assert through.workers["retries"] == 1
    assert sum(through.server(at)["connect_errors"] for at in range(3)) == 2


def test_all_down(relay, nobody):
    through = relay([nobody().address, nobody().address], backend={"retries": 3})
    for _ in range(5):
        assert refused(through)
    until(lambda: through.sessions() == 0)
    assert through.listener["status"][0] == 5


@pytest.mark.parametrize("weight,full", [(0, 0), (1, 1)])
def test_nobody_takes_work(relay, serve, weight, full):
    through = relay([(serve().address, weight)], max_in_flight=full)
    with through.client() if full else socket.socket() as one:
        if full:
            one.sendall(b"x")
            assert one.recv(1) == b"x"
        assert refused(through)
        assert through.workers["pick_failed"] == 1


def test_a_server_that_does_not_answer_the_connect(relay, serve):
    """Its queue is full, so a connect hangs; then the next one takes it."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        where = deaf.getsockname()
        fill = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(where)
            fill.append(one)
        through = relay(
            [address_of(deaf), serve().address],
            backend={"connect_timeout_ms": 100, "retries": 1},
        )
        with through.client() as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
        assert through.server(0)["timeouts"] == 1
        for one in fill:
            one.close()


def test_a_client_that_leaves_while_we_connect(relay):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        where = deaf.getsockname()
        fill = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(where)
            fill.append(one)
        through = relay([address_of(deaf)], backend={"connect_timeout_ms": 60_000})
        client = through.client()
        until(lambda: through.in_flight() == 1)
        reset(client)
        until(lambda: through.sessions() == 0)
        until(lambda: through.in_flight() == 0)
        for one in fill:
            one.close()


# ---- limits and time ----


@pytest.mark.parametrize("workers", [1, 2])
def test_the_limit_is_exact(relay, serve, workers):
    through = relay([serve().address], workers=workers, connections_max=8)
    clients = [through.client() for _ in range(8)]
    for client in clients:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    for _ in range(4):
        assert refused(through)
    assert through.listener["refused_limit"] == 4
    clients.pop().close()
    until(lambda: through.sessions() == 7)
    with through.client() as client:
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    for client in clients:
        client.close()


def test_idle_sessions_end(relay, serve):
    """One that is used lives on. Where the machine itself stood still for as long, the one was as
    idle as the other, and nothing is learnt: then once more, with more time."""
    for idle_s in (0.15, 1.5, 6.0):
        through = relay([serve().address], idle_timeout_ms=round(1000 * idle_s))
        if idles(through, idle_s):
            return
        through.close()
    raise AssertionError("the machine stood still each time")


def idles(through, idle_s: float) -> bool:
    """Was the one used all the time, and has the other one alone ended?"""
    with through.client() as busy, through.client() as idle:
        began = used = time.monotonic()
        idle.sendall(b"x")
        assert idle.recv(1) == b"x"
        while through.sessions() != 1:
            answer = answered(busy)
            used, before = time.monotonic(), used
            if used - before > idle_s / 2:
                return False
            assert answer
            time.sleep(0.01)
        assert time.monotonic() - began >= idle_s
        assert idle.recv(1) == b""
        if not answered(busy):
            return False
        until(lambda: through.workers["timeouts_idle"] == 1)
    return True


def answered(client: socket.socket) -> bool:
    try:
        return ask(client, b"x") == b"x"
    except OSError:
        return False


@again(0.2)
def test_a_reader_that_stopped_is_idle(relay, serve):
    """The sender goes on trying, but no byte moves."""

    def flood(connection, number):
        while True:
            connection.send(b"y" * 65_536)

    through = relay([serve(flood).address], idle_timeout_ms=200)
    with through.client() as client:
        client.recv(1)
        until(lambda: through.workers["timeouts_idle"] == 1)
        until(lambda: through.sessions() == 0)


@pytest.mark.parametrize("spare", [0, 1])
def test_descriptors_run_out(relay, serve, spare):
    """None for the client: it waits in the kernel. None for the server: it is refused, as nobody's
    fault but ours. With descriptors to be had all goes on."""
    through = relay([serve().address], backend={"retries": 3})
    with socket.socket() as client, socket.socket() as probe:
        client.settimeout(PATIENCE_S)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(probe.fileno())
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + spare, hard))
        try:
            client.connect_ex(("127.0.0.1", through.port))  # a reset may be quicker than this
            name = "memory_refused" if spare else "accept_errors"
            until(lambda: through.workers[name] >= 1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if spare:
            with pytest.raises(OSError):
                ask(client, b"x")
            assert through.server()["connect_errors"] == 0
        else:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
    with through.client() as client:
        client.sendall(b"y")
        assert client.recv(1) == b"y"


# ---- whom it goes to ----


def test_routes_by_address(relay, serve):
    loopback = Condition(
        field=Field.FIELD_CLIENT,
        test=records.Test.TEST_RANGES,
        operand=b"".join(
            bytes(10) + b"\xff\xff" + last for last in (b"\x7f\0\0\0", b"\x7f\xff\xff\xff")
        ),
    )
    through = relay([serve().address], match=loopback)
    with through.client() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    through.publish([through.plan.backends[0].servers[0].address], match=Not(loopback))
    until(lambda: through.plane.reclaim() == 0)
    assert refused(through)


def test_least_connections(relay, serve):
    through = relay(
        [serve().address, serve().address, serve().address], algorithm=LeastRequests(), workers=2
    )
    clients = []
    for number in range(9):
        clients.append(through.client())
        until(lambda number=number: through.in_flight() == number + 1)
    assert [through.server(at)["in_flight"] for at in range(3)] == [3, 3, 3]
    for client in clients:
        client.close()


def test_one_client_one_server(relay, serve):
    servers = [serve() for _ in range(4)]
    through = relay([server.address for server in servers], algorithm=SourceHash())
    for _ in range(8):
        with through.client() as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
    assert sorted(server.accepted for server in servers) == [0, 0, 0, 8]


# ---- the file changes, the end comes ----


def test_sessions_outlive_the_file(relay, serve):
    server = serve()
    through = relay([server.address])
    with through.client() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        for _ in range(20):
            through.publish([server.address])
        through.publish_nothing()
        until(lambda: through.plane.reclaim() == 0)
        client.sendall(b"y" * 200_000)
        got = 0
        while got < 200_000:
            got += len(client.recv(1 << 20))
    until(lambda: through.sessions() == 0)


def test_a_drain_lets_sessions_finish(relay, serve):
    through = relay([serve().address])
    with through.client() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        through.plane.drain()
        client.sendall(b"y")
        assert client.recv(1) == b"y"
        assert through.sessions() == 1
    until(lambda: through.sessions() == 0)


def test_stopping_cuts_what_is_left(relay, serve):
    through = relay([serve().address])
    with through.client() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        through.plane.stop()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_churn_leaves_nothing(relay, serve, nobody):
    """1,000 connections that end in every way."""
    through = relay([serve().address, nobody().address], workers=2, backend={"retries": 1})
    before = None
    for number in range(1000):
        client = through.client()
        if number % 4:
            client.sendall(b"x")
        if number % 4 == 2:
            assert client.recv(1) == b"x"
        if number % 4 == 3:
            reset(client)
        client.close()
        if number == 100:
            until(lambda: through.listener["accepted"] == 101)  # the last one waits for it, perhaps
            until(lambda: through.sessions() == 0)
            before = descriptors()
    until(lambda: through.listener["accepted"] == 1000)
    until(lambda: through.sessions() == 0)
    until(lambda: descriptors() <= before + 2)
    until(lambda: through.in_flight() == 0)
