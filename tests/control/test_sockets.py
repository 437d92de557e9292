"""The listening sockets: opened whole or not at all, given up for every process that holds them."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from pathlib import Path

import pytest

from fourseven.control import sockets
from fourseven.control.notify import Activated
from fourseven.control.sockets import Sockets, Want
from support.network import own_network, why_not
from support.service import own_host

HOST = own_host()  # a port that is given up there is nobody else's
WEB = Want("web", f"tcp://{HOST}:0")


@pytest.fixture
def store():
    store = Sockets()
    yield store
    store.close()


def port_of(store: Sockets, want: Want) -> int:
    return store[want.key].socks[0].getsockname()[1]


def refused(port: int, host: str = HOST) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
        return client.connect_ex((host, port)) == errno.ECONNREFUSED


def test_opens_what_is_missing_and_keeps_what_is_there(store):
    assert store.open([WEB]) == []
    before = port_of(store, WEB)
    other = Want("other", f"tcp://{HOST}:0")
    assert store.open([WEB, other]) == []
    assert port_of(store, WEB) == before != port_of(store, other)
    assert store[WEB.key].address == f"tcp://{HOST}:{before}"
    assert store[WEB.key].socks[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_all_or_nothing(store):
    store.open([WEB])
    taken = Want("b", f"tcp://{HOST}:{port_of(store, WEB)}")
    fine = Want("a", f"tcp://{HOST}:0")
    (problem,) = store.open([WEB, fine, taken])
    assert problem.startswith(f"listeners.b: cannot listen on {HOST}:")
    assert "another process listens there" in problem
    with pytest.raises(KeyError):
        store[fine.key]
    assert not refused(port_of(store, WEB))


def test_given_up_means_refused_even_if_another_process_still_holds_it(store):
    store.open([WEB])
    port = port_of(store, WEB)
    copy = os.dup(store[WEB.key].socks[0].fileno())  # as an engine has it
    assert store.keep([]) == [WEB.key]
    assert refused(port)
    os.close(copy)


def test_udp_has_a_socket_for_each_worker_on_one_port(store):
    dns = Want("dns", f"udp://{HOST}:0", copies=3)
    assert store.open([dns]) == []
    names = {sock.getsockname() for sock in store[dns.key].socks}
    assert len(store[dns.key].socks) == 3
    assert len(names) == 1
    store.keep([Want("dns", f"udp://{HOST}:0", copies=2)])
    assert len(store[dns.key].socks) == 2


def test_v6_takes_v4_too_unless_v4_stands_beside_it(store):
    both = Want("web", "tcp://[::]:0")
    assert store.open([both]) == []
    port = port_of(store, both)
    assert not refused(port)
    assert not refused(port, "::1")
    store.keep([])
    pair = [Want("web", f"tcp://{host}:{port}") for host in ("[::]", "0.0.0.0")]
    assert store.open(pair) == []
    assert store[pair[0].key].socks[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_unix_socket_replaces_a_stale_path_and_removes_its_own(store, tmp_path: Path):
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    web = Want("web", f"unix:{path}")
    assert store.open([web]) == []
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    other = Sockets()
    assert "another process listens" in other.open([web])[0]
    store.keep([])
    assert not path.exists()
    path.write_text("precious")
    assert "is no socket" in store.open([web])[0]
    assert path.read_text() == "precious"


def test_a_path_that_another_has_taken_over_is_left_alone(store, tmp_path: Path):
    web = Want("web", f"unix:{tmp_path}/web.sock")
    store.open([web])
    os.rename(tmp_path / "web.sock", tmp_path / "old.sock")
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(f"{tmp_path}/web.sock")
        store.keep([])
    assert (tmp_path / "web.sock").exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (errno.EACCES, ".socket unit"),
        (errno.EACCES, "ip_unprivileged_port_start=80)"),
        (errno.EADDRNOTAVAIL, "does not have the address"),
        (errno.EADDRINUSE, "another process"),
        (errno.ENOBUFS, os.strerror(errno.ENOBUFS)),
    ],
)
def test_each_failure_names_the_mend(store, monkeypatch, number, words):
    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sockets, "_listen_inet", fails)
    (problem,) = store.open([Want("web", "tcp://0.0.0.0:80")])
    assert words in problem
    assert problem.startswith("listeners.web: cannot listen on 0.0.0.0:80: ")
    assert "\n" not in problem


def given(name: str = "x.socket", kind: int = socket.SOCK_STREAM) -> Activated:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind((HOST, 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return Activated(name, sock)


def test_a_given_socket_is_taken_by_address_let_go_and_taken_again():
    one = given()
    port = one.sock.getsockname()[1]
    store = Sockets([one])
    web = Want("web", f"tcp://{HOST}:{port}")
    for _ in range(2):
        assert store.open([web]) == []
        assert store[web.key].socks == [one.sock]
        store.keep([])
        assert not refused(port)  # systemd listens on
    one.sock.close()


def test_a_given_socket_is_taken_by_the_listeners_name_if_the_kind_fits():
    stream, datagram = given("web"), given("dns", socket.SOCK_DGRAM)
    store = Sockets([stream, datagram])
    web, dns = Want("web", f"tcp://{HOST}:0"), Want("dns", f"udp://{HOST}:0", copies=2)
    wrong = Want("dns", f"tcp://{HOST}:0")
    assert store.open([web, wrong]) == []
    assert store[web.key].socks == [stream.sock]
    assert stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert store[wrong.key].socks != [datagram.sock]
    store.keep([web])
    assert store.open([web, dns]) == []
    first, deaf = store[dns.key].socks
    assert first is datagram.sock
    assert deaf.getsockname()[1] == 0  # bound nowhere: it takes no datagram from the first
    store.close()
    stream.sock.close()
    datagram.sock.close()


def test_a_failed_open_gives_back_what_systemd_gave():
    one = given("web")
    store = Sockets([one])
    web = Want("web", f"tcp://{HOST}:0")
    taken = Want("b", f"tcp://{HOST}:{one.sock.getsockname()[1]}")
    assert store.open([web, taken])
    assert store.open([web]) == []
    assert store[web.key].socks == [one.sock]
    one.sock.close()


@pytest.mark.skipif(bool(why_not("relay")), reason=why_not("relay") or "it can")
def test_a_network_that_is_routed_here_can_be_bound_to(store):
    binds = [Want("v6", "tcp://[fd99::7]:0"), Want("v6", "udp://[fd99::7]:0", 2)]
    with own_network():
        refused = store.open(binds)
        assert len(refused) == 2
        assert all("does not have the address" in problem for problem in refused)
        for line in ("link set lo up", "route add local fd99::/64 dev lo"):
            subprocess.run(["ip", "-6", *line.split()], check=True)
        assert store.open(binds) == []
        with socket.create_connection(("fd99::7", port_of(store, binds[0])), timeout=10):
            pass
