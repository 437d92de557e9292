"""Where a listener is, and its clients and servers: one table of behaviour for every plane.

As test_planes.py; here are addresses and ports, the balancer's own host, and its routes.
"""

from __future__ import annotations

import itertools
import socket
import struct

import pytest

from fourseven.l4.abilities import ABILITIES
from fourseven.l4.kernel_plan import end
from support.lab import BALANCER, CLIENTS, MASQUERADE, VIPS, address, many
from support.network import needs_lab
from support.planes import (
    CASES,
    PORT,
    RELAY,
    RELAYED,
    SIMPLE,
    TCP,
    V4,
    V6,
    at,
    echoes,
    file,
    read_line,
    until,
)

pytestmark = needs_lab("nft", plane="relay")


@pytest.mark.parametrize(("plane", "family", "back"), [*CASES, *RELAYED])
def test_many_addresses_and_ports(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        hosts = [str(host) for host in itertools.islice(many(BALANCER, family).hosts(), 20)]
        binds = tuple(at(host, port) for host in hosts for port in (80, 8080))
        driven.put(binds=binds)
        for host, port in itertools.product(hosts, (80, 8080)):
            made, _, _ = driven.connect(host, port)
            assert echoes(made, b"x")
            assert driven.ask(driven.asking(), b"y", host, port) in "12"
        other = driven.lab.socket("client", family, TCP)
        with pytest.raises(ConnectionRefusedError):
            other.connect((hosts[0], 81))


@pytest.mark.parametrize(("plane", "family", "back"), [*CASES, *RELAYED])
def test_one_port_of_a_client_towards_several_addresses(stage, plane, family, back):
    """A kernel gives one port to connections that go to different addresses; at a server that has
    both of them they would be one."""
    with stage(plane, family, back) as driven:
        hosts = [str(host) for host in itertools.islice(many(BALANCER, family).hosts(), 2)]
        driven.put(binds=tuple(at(host, 80) for host in hosts), servers=(1,))
        port = 0
        made = []
        for host in hosts:
            one = driven.socket(TCP, "client")
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((CLIENTS[family], port))
            port = one.getsockname()[1]
            one.connect((host, 80))
            made.append(one)
        for one in made:
            assert read_line(one).startswith("1 ")
            assert echoes(one, b"x" * 5000)
        asking = driven.asking()
        assert [driven.ask(asking, b"y", host, 80) for host in hosts * 3] == ["1"] * 6


@pytest.mark.parametrize(("plane", "family", "back"), SIMPLE)
def test_an_address_that_is_merely_routed_here(stage, plane, family, back):
    with stage(plane, family, back, vip=False) as driven:
        driven.put()
        assert {driven.connect()[1] for _ in range(4)} == {"1", "2"}
        assert driven.ask(driven.asking(), b"x") in "12"


ICMP = {V4: (socket.IPPROTO_ICMP, 8, 0), V6: (socket.IPPROTO_ICMPV6, 128, 129)}  # asks, answers


@pytest.mark.parametrize(("plane", "family", "back"), [*CASES, *RELAYED])
def test_a_ping_to_the_address_is_the_hosts(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        protocol, asks, answers = ICMP[family]
        with driven.lab.inside("client"):
            ping = socket.socket(family, socket.SOCK_RAW, protocol)
        driven.lab.sockets.append(ping)
        ping.settimeout(10)
        ping.connect((VIPS[family], 0))
        text = b"\0\1\0\1hello"
        total = sum(struct.unpack(">6H", bytes((asks, 0)) + text + b"\0"))
        ping.send(struct.pack(">BxH", asks, ~(total + (total >> 16)) & 0xFFFF) + text)
        while True:
            got = ping.recv(2048)[20 if family == V4 else 0 :]
            if got[0] == answers:
                break
        assert got[4:] == text


LOCAL = [case for case in CASES if case.values[0] == "nftables"] + RELAYED  # others have it beside


@pytest.mark.parametrize(("plane", "family", "back"), LOCAL)
def test_clients_on_the_balancers_host(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        made = [driven.connect(who=BALANCER) for _ in range(4)]
        assert {name for _, name, _ in made} == {"1", "2"}
        assert all(echoes(one, b"x" * 5000) for one, _, _ in made)
        assert driven.ask(driven.asking(who=BALANCER), b"y") in "12"


HERE = [case for case in CASES if ABILITIES[case.values[0]].local_servers] + RELAYED


@pytest.mark.parametrize(("plane", "family", "back"), HERE)
def test_a_server_on_the_balancers_host(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        own = address("client", family, 1)
        with driven.inside():
            listening = socket.create_server((own, 7000), family=family)
        listening.settimeout(10)
        text = file(driven.lab, family, plane=plane).replace(address("server1", family), own)
        driven.put(text)
        for who in ("client", BALANCER):
            for _ in range(2):
                made = driven.lab.socket(who, family, TCP)
                made.connect((VIPS[family], PORT))
                driven.lab.sockets.append(made)
            taken, peer = listening.accept()
            assert peer[0] == CLIENTS[family] or who == BALANCER or plane == RELAY
            taken.sendall(b"here\n")
            taken.close()
        listening.close()
        # A relay accepts after the client's connect is done, and a last ACK may be under way.
        until(lambda: driven.counters().listeners["tcp"].flows_new >= 4)
        counts = driven.still()
        assert counts.listeners["tcp"].flows_new == 4
        if plane == RELAY:
            return
        assert counts.servers["all", end(at(own, 7000))].flows_new == 2


FOLLOWING = [
    case
    for case in CASES
    if case.values[2] == MASQUERADE
    and (case.values[1] == V4 or case.values[0] in {"tcx", "nftables"})
]


@pytest.mark.parametrize(("plane", "family", "back"), FOLLOWING)
def test_a_masquerade_follows_the_addresses_and_routes_of_the_host(stage, plane, family, back):
    """Without addresses in the file it is the one on the way to the server, whatever it is now."""
    with stage(plane, family, back, own=True) as driven:
        ours, other = (address("server1", family, host) for host in (1, 9))
        net, bits = ("10.77.11.0/24", "32") if family == V4 else ("fd77:11::/64", "128")
        sure = "" if family == V4 else " nodad"
        driven.put(servers=(1,))
        made, _, seen = driven.connect()
        assert seen == ours
        assert not driven.moved()
        driven.lab.ip(BALANCER, f"addr add {other}/{bits} dev to-server1{sure}", f"route del {net}")
        assert driven.moved()  # no way there
        driven.lab.ip(BALANCER, f"route add {net} dev to-server1 src {other}")
        assert driven.moved()
        driven.put(servers=(1,))
        assert driven.connect()[2] == other
        assert echoes(made, b"as before")  # what it came from is still an address of ours
        driven.lab.ip(
            BALANCER,
            f"addr del {ours}/{net.partition('/')[2]} dev to-server1",
            f"route replace {net} dev to-server1 src {other}",
        )
        driven.put(servers=(1,))
        assert driven.connect()[2] == other
        assert driven.ask(driven.asking(), b"x") == "1"
