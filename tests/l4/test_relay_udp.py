"""UDP through the relay: flows, their ends, their caps, and where an answer comes from."""

from __future__ import annotations

import socket
import time

import pytest

from fourseven.balancing.source_hash import SourceHash
from fourseven.health.standing import Order
from support.relay import PATIENCE_S, until

pytestmark = pytest.mark.sanitize
UDP = socket.SOCK_DGRAM
CUT, UP = Order(usable=False, cut=True), Order()


def ask(client: socket.socket, data: bytes) -> bytes:
    client.send(data)
    return client.recv(65_536)


def nothing_comes(client: socket.socket, wait_s: float = 0.1) -> bool:
    client.settimeout(wait_s)
    try:
        client.recv(65_536)
    except TimeoutError:
        return True
    finally:
        client.settimeout(PATIENCE_S)
    return False


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("workers", [1, 2])
def test_echo(relay, serve_udp, host, workers):
    through = relay([serve_udp(host=host).address], udp=True, host=host, workers=workers)
    clients = [through.client() for _ in range(10)]
    for turn in range(5):
        for number, client in enumerate(clients):
            assert ask(client, b"%d in turn %d" % (number, turn)) == b"%d in turn %d" % (
                number,
                turn,
            )
    assert through.listener["flows"] == 10
    assert through.listener["datagrams_in"] == 50
    until(lambda: through.listener["datagrams_out"] == 50)
    assert through.listener["bytes_in"] == through.listener["bytes_out"]  # they come before it
    assert through.in_flight() == through.sessions() == 10
    for client in clients:
        client.close()


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65_507])
def test_sizes(relay, serve_udp, size):
    through = relay([serve_udp().address], udp=True)
    with through.client() as client:
        assert ask(client, b"z" * size) == b"z" * size


def test_many_datagrams_at_once(relay, serve_udp):
    """More than a batch, of several flows mixed: each gets its own, in order."""
    through = relay([serve_udp().address], udp=True)
    clients = [through.client() for _ in range(3)]
    for number in range(50):
        for client in clients:
            client.send(b"%d" % number)
    for client in clients:
        assert [client.recv(10) for _ in range(50)] == [b"%d" % number for number in range(50)]
        client.close()


def test_a_flow_keeps_its_server(relay, serve_udp):
    servers = [serve_udp() for _ in range(3)]
    through = relay([server.address for server in servers], udp=True)
    clients = [through.client() for _ in range(6)]  # at once, so that no two have one port
    for number, client in enumerate(clients):
        for _ in range(4):
            assert ask(client, b"%d" % number)
        client.close()
    assert [len(server.got) for server in servers] == [8, 8, 8]
    assert [len(server.peers) for server in servers] == [2, 2, 2]
    for server in servers:
        assert len(set(server.got)) == 2


def test_one_client_one_server(relay, serve_udp):
    servers = [serve_udp() for _ in range(4)]
    through = relay([server.address for server in servers], udp=True, algorithm=SourceHash())
    for _ in range(6):
        with through.client() as client:
            assert ask(client, b"x")
    assert sorted(len(server.got) for server in servers) == [0, 0, 0, 6]


@pytest.mark.parametrize(
    ("bound", "to"),
    [("0.0.0.0", "127.0.0.2"), ("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.3"), ("::", "::1")],
)
def test_the_answer_comes_from_where_it_was_asked(relay, serve_udp, bound, to):
    """A connected client takes an answer from that address alone; the kernel drops any other."""
    through = relay([serve_udp().address], udp=True, host=bound)
    with through.client(to) as client:
        assert ask(client, b"x") == b"x"
        assert ask(client, b"y") == b"y"
    assert through.listener["flows"] == 1


@pytest.mark.parametrize(("bound", "to"), [("0.0.0.0", "127.0.0.2"), ("::", "127.0.0.3")])
def test_a_datagram_that_came_before_us(relay, serve_udp, bound, to):
    """The socket was open, and nobody had told the kernel to note where datagrams came to."""
    early = []

    def before(through):
        early.append(through.client(to))
        early[0].send(b"early")

    through = relay([serve_udp().address], udp=True, host=bound, before=before)
    with early.pop() as client:
        assert client.recv(10) == b"early"
        assert ask(client, b"x") == b"x"
    assert through.listener["flows"] == 1


def test_two_addresses_of_ours_are_two_flows(relay, serve_udp):
    through = relay([serve_udp().address], udp=True, host="0.0.0.0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        client.bind(("0.0.0.0", 0))
        for address in ("127.0.0.2", "127.0.0.3"):
            client.sendto(address.encode(), (address, through.port))
            assert client.recvfrom(100) == (address.encode(), (address, through.port))
    assert through.listener["flows"] == 2


def test_a_stranger_reaches_nobody(relay, serve_udp):
    """What does not come from the flow's server never reaches its client."""
    server = serve_udp()
    through = relay([server.address], udp=True)
    with through.client() as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        assert ask(client, b"x") == b"x"
        (upstream,) = server.peers
        stranger.sendto(b"poison", upstream)
        assert nothing_comes(client)
        assert ask(client, b"y") == b"y"


def test_flows_expire(relay, serve_udp):
    """One that is used does not. Where the machine itself stood still for as long, the one was as
    idle as the other, and nothing is learnt: then once more, with more time."""
    server = serve_udp().address
    for idle_s in (0.15, 1.5, 6.0):
        through = relay([server], udp=True, idle_timeout_ms=round(1000 * idle_s))
        if expires(through, idle_s):
            return
        through.close()
    raise AssertionError("the machine stood still each time")


def expires(through, idle_s: float) -> bool:
    """Was the one used all the time, and has the other one alone ended?"""
    with through.client() as idle, through.client() as busy:
        began = used = time.monotonic()
        assert ask(idle, b"x") == b"x"
        while through.sessions() != 1 or through.listener["flows"] < 2:
            assert ask(busy, b"x") == b"x"
            used, before = time.monotonic(), used
            if used - before > idle_s / 2:
                return False
            time.sleep(0.01)
        assert through.listener["flows"] == 2
        assert time.monotonic() - began >= idle_s
        assert ask(idle, b"again") == b"again"
        assert through.listener["flows"] == 3
    until(lambda: through.sessions() == 0)
    until(lambda: through.in_flight() == 0)
    return True


@pytest.mark.parametrize("limit", [{"flows_max": 5}, {"connections_max": 5}])
def test_the_cap(relay, serve_udp, limit):
    server = serve_udp().address
    through = relay([server], udp=True, idle_timeout_ms=60_000, **limit)
    clients = [through.client() for _ in range(5)]
    for client in clients:
        assert ask(client, b"x") == b"x"
    with through.client() as refused:
        refused.send(b"x")
        until(lambda: through.listener["flows_refused"] == 1)
        assert nothing_comes(refused, 0.02)
        for client in clients:
            assert ask(client, b"y") == b"y"
        through.plane.order("servers", server, CUT)
        until(lambda: through.sessions() == 0)
        through.plane.order("servers", server, UP)
        assert ask(refused, b"z") == b"z"
    for client in clients:
        client.close()


def test_descriptors_run_out(relay, serve_udp):
    """Refused and counted; what there is goes on."""
    import resource

    through = relay([serve_udp().address], udp=True)
    with through.client() as first, through.client() as second:
        assert ask(first, b"x") == b"x"
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            second.send(b"x")
            until(lambda: through.listener["flows_refused"] == 1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert through.in_flight() == 1
        assert ask(first, b"y") == b"y"
        assert ask(second, b"y") == b"y"


def answered(client) -> bool:
    client.send(b"x")
    try:
        return client.recv(10) == b"x"
    except TimeoutError:
        return False


def test_a_server_that_refuses_is_followed_by_another(relay, serve_udp, nobody):
    """The first datagram is lost, as UDP may; the client's next one finds the other server."""
    servers = [nobody(UDP).address, serve_udp().address]
    through = relay(servers, udp=True, backend={"retries": 1})
    for _ in range(3):
        with through.client() as client:
            client.settimeout(0.05)
            assert any(answered(client) for _ in range(100)), "no answer"
    assert through.server(0)["resets"] >= 1
    assert through.server(0)["in_flight"] == 0


def test_all_refuse(relay, nobody):
    servers = [nobody(UDP).address, nobody(UDP).address]
    through = relay(servers, udp=True, backend={"retries": 1})
    with through.client() as client:
        for number in range(2):  # each finds one of them out
            client.send(b"x")
            until(
                lambda number=number: (
                    through.server(0)["resets"] + through.server(1)["resets"] > number
                )
            )
        until(lambda: through.sessions() == 0)
        assert nothing_comes(client, 0.02)
    until(lambda: through.in_flight() == 0)


def test_nobody_takes_work(relay, serve_udp):
    through = relay([(serve_udp().address, 0)], udp=True)
    with through.client() as client:
        client.send(b"x")
        until(lambda: through.listener["flows_refused"] == 1)
    assert through.sessions() == 0


def test_flows_end_with_their_listener(relay, serve_udp):
    server = serve_udp()
    through = relay([server.address], udp=True)
    with through.client() as client:
        assert ask(client, b"x") == b"x"
        for _ in range(10):  # a reload keeps it
            through.publish([server.address])
            assert ask(client, b"y") == b"y"
        assert through.listener["flows"] == 1
        through.publish_nothing()
        until(lambda: through.sessions() == 0)
        until(lambda: through.plane.reclaim() == 0)
    until(lambda: through.in_flight() == 0)


def test_a_drain_waits_for_answers(relay, serve_udp):
    """Who was answered is let go; who waits gets the answer."""
    waiting = []
    server = serve_udp(lambda data: waiting.append(data) if data == b"slow" else data)
    through = relay([server.address], udp=True)
    with through.client() as quick, through.client() as slow:
        assert ask(quick, b"quick") == b"quick"
        slow.send(b"slow")
        until(lambda: waiting)
        through.plane.drain()
        until(lambda: through.sessions() == 1)
        (upstream,) = {peer for data, peer in server.log if data == b"slow"}
        server.socket.sendto(b"at last", upstream)
        assert slow.recv(100) == b"at last"
        until(lambda: through.sessions() == 0)
