"""One table of behaviour for every plane: what a listener does, whichever plane serves it.

Each test runs for each plane, family and way back that the plane can do (l4/abilities.py), and for
the relay wherever it is not about packets. Where listeners are is in test_places.py. Real
sockets in real namespaces; every wait is for an answer, never for a time.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections import Counter

import pytest

from fourseven.l4.kernel_plan import TCP as IPPROTO_TCP
from fourseven.l4.kernel_plan import UDP as IPPROTO_UDP
from fourseven.l4.kernel_plan import end
from fourseven.l4.kernel_plane import ESTABLISHED, FlowFilter
from support.lab import BALANCER, CLIENTS, DIRECT, MASQUERADE, ROUTED, VIPS, Lab, address, many
from support.network import needs_lab
from support.planes import (
    ANY,
    CASES,
    EVERY,
    PLANES,
    PORT,
    RELAYED,
    RELAYED_V4,
    RESET,
    SIMPLE,
    TCP,
    V4,
    at,
    echoes,
    gone,
    port_of,
    surroundings,
    until,
    whole,
)

pytestmark = needs_lab("nft", "tc", plane="relay")

# ---- who is picked ----


@pytest.mark.parametrize(("plane", "family", "back"), [*EVERY, *RELAYED])
def test_flows_are_spread_and_servers_see_whom_they_should(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        made = [driven.connect() for _ in range(20)]
        assert Counter(name for _, name, _ in made) == {"1": 10, "2": 10}
        ours = {"1": address("server1", family, 1), "2": address("server2", family, 1)}
        for _, name, seen in made:
            assert seen == (ours[name] if back == MASQUERADE else CLIENTS[family])
        asked = Counter(driven.ask(driven.asking(), b"hello") for _ in range(20))
        assert asked == {"1": 10, "2": 10}
        assert all(echoes(one, b"and on") for one, _, _ in made)


@pytest.mark.parametrize(("plane", "family", "back"), [*SIMPLE, *RELAYED])
def test_weights_in_turn_are_exact(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put(weights=(3, 1))
        names = Counter(driven.connect()[1] for _ in range(16))
        assert names == {"1": 12, "2": 4}


@pytest.mark.parametrize(("plane", "family", "back"), [*ANY, *RELAYED_V4])
@pytest.mark.parametrize("balance", ["random", "source_hash"])
def test_weights_by_chance_are_near(stage, plane, family, back, balance):
    with stage(plane, family, back) as driven:
        driven.put(weights=(3, 1), balance=balance)
        hosts = map(str, itertools.islice(many("client", family).hosts(), 400))
        names = Counter(driven.ask(driven.asking(host), b"x") for host in hosts)
        assert sum(names.values()) == 400
        assert 240 < names["1"] < 360  # 300 expected; seven times the standard deviation


@pytest.mark.parametrize(("plane", "family", "back"), [*CASES, *RELAYED])
@pytest.mark.parametrize("balance", ["source_hash", "maglev"])
def test_a_client_keeps_its_server_by_hash(stage, plane, family, back, balance):
    with stage(plane, family, back) as driven:
        driven.put(balance=f"{{{balance}: {{prefix_v6: 128}}}}")  # by default 64 bits count
        hosts = [str(host) for host in itertools.islice(many("client", family).hosts(), 24)]
        first = {host: driven.ask(driven.asking(host), b"first") for host in hosts}
        assert set(first.values()) == {"1", "2"}
        for host in hosts:
            assert driven.ask(driven.asking(host), b"again") == first[host]
            assert driven.connect(source=host)[1] == first[host]


@pytest.mark.parametrize(("plane", "family", "back"), [*SIMPLE, *RELAYED])
def test_neighbours_are_one_client_by_their_prefix(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put(balance="{source_hash: {prefix_v4: 24, prefix_v6: 112}}")
        network = many("client", family)
        bits = 24 if family == V4 else 112
        for net in itertools.islice(network.subnets(new_prefix=bits), 8):
            hosts = map(str, itertools.islice(net.hosts(), 6))
            assert len({driven.ask(driven.asking(host), b"x") for host in hosts}) == 1


# ---- changes ----


@pytest.mark.parametrize(("plane", "family", "back"), [*EVERY, *RELAYED])
def test_flows_stay_while_servers_come_and_go(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put(servers=(1, 2))
        made = [driven.connect() for _ in range(10)]
        asking = [driven.asking() for _ in range(10)]
        asked = [driven.ask(one, b"hello") for one in asking]
        assert set(asked) == {"1", "2"}

        driven.put(servers=(2, 3))
        assert {driven.connect()[1] for _ in range(10)} == {"2", "3"}
        assert all(echoes(one, b"still here") for one, _, _ in made)
        assert [driven.ask(one, b"again") for one in asking] == asked

        driven.put(servers=(1, 2, 3))
        assert {driven.connect()[1] for _ in range(9)} == {"1", "2", "3"}
        assert all(echoes(one, b"and still") for one, _, _ in made)


@pytest.mark.parametrize(("plane", "family", "back"), [*ANY, *RELAYED_V4])
def test_a_hash_moves_the_flows_of_the_server_that_left_alone(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        hosts = [str(host) for host in itertools.islice(many("client", family).hosts(), 120)]
        driven.put(balance="maglev", servers=(1, 2, 3))
        before = {host: driven.ask(driven.asking(host), b"x") for host in hosts}
        driven.put(balance="maglev", servers=(1, 2))
        after = {host: driven.ask(driven.asking(host), b"x") for host in hosts}
        moved = [host for host in hosts if before[host] != "3" and before[host] != after[host]]
        assert "3" not in after.values()
        assert len(moved) < 12  # some 2 % move; never a third


@pytest.mark.parametrize(("plane", "family", "back"), [*SIMPLE, *RELAYED])
def test_a_server_of_weight_0_drains(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        made = [driven.connect() for _ in range(4)]
        driven.put(weights=(0, 1))
        assert {driven.connect()[1] for _ in range(6)} == {"2"}
        assert all(echoes(one, b"finishing") for one, _, _ in made)


@pytest.mark.parametrize(("plane", "family", "back"), [*CASES, *RELAYED])
def test_a_drained_plane_takes_nothing_new_and_keeps_what_it_has(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        made = [driven.connect() for _ in range(4)]
        assert driven.busy() == 4
        driven.drain()
        refused = driven.lab.socket("client", family, TCP)
        with pytest.raises(ConnectionRefusedError):  # the host's own stack answers: nobody listens
            refused.connect((VIPS[family], PORT))
        assert all(echoes(one, b"go on") for one, _, _ in made)
        driven.put()
        assert driven.connect()[1] in "12"


@pytest.mark.parametrize(("plane", "family", "back"), [*SIMPLE, *RELAYED_V4])
def test_bulk_goes_on_while_the_rules_change(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        made, _, _ = driven.connect()
        stop = threading.Event()

        def churn() -> None:
            for servers in itertools.cycle([(1,), (2,), (1, 2)]):
                if stop.is_set():
                    return
                driven.put(servers=servers)

        changing = threading.Thread(target=churn)
        changing.start()
        try:
            assert whole(made, 32 << 20)
        finally:
            stop.set()
            changing.join()


# ---- what passes ----


@pytest.mark.parametrize(("plane", "family", "back"), [*EVERY, *RELAYED_V4])
@pytest.mark.parametrize("sums", ["left", "computed"])
def test_bulk_passes_whole_both_ways(stage, plane, family, back, sums):
    """Large segments and checksums left to the hardware, or computed by every sender."""
    with stage(plane, family, back, own=sums == "computed") as driven:
        driven.put()
        if sums == "computed":
            driven.lab.compute_sums([BALANCER, "client", "server1", "server2"])
            assert driven.ask(driven.asking(), b"datagram") in "12"
        assert whole(driven.connect()[0], 8 << 20)


@pytest.mark.parametrize(("plane", "family", "back"), [*EVERY, *RELAYED])
def test_datagrams_larger_than_a_packet(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        asking = driven.asking()
        names = set()
        for size in (2000, 9000, 40_000):
            for name in (BALANCER, *driven.lab.servers, "client"):  # nobody knows who is beside him
                driven.lab.ip(name, "neigh flush all")
            names.add(driven.ask(asking, os.urandom(size)))
        assert len(names) == 1


NARROW = {
    "the next link": {"mtu": {"server1": 1400, "server2": 1400}},
    "a link beyond a router": {"mtu": {"server1": 1400, "server2": 1400}, "routers": True},
    "the client's link": {"mtu": {"client": 1400}},
    "the client's link beyond a router": {"mtu": {"client": 1400}, "routers": True},
}


NARROWED = [
    pytest.param(*case.values, where, id=f"{case.id}-{where}", marks=case.marks)
    for case, where in itertools.product(CASES, NARROW)
    if case.values[2] == ROUTED or "routers" not in NARROW[where]  # servers see no router's link
]


def promise(lab: Lab, name: str, family: int) -> None:
    """An end says that it takes segments as long as any, so that only an error tells better."""
    version, most = ("-4", 1460) if family == V4 else ("-6", 1440)
    for line in lab.run(name, "ip", version, "route", "show", "dev", "eth").stdout.splitlines():
        if not line.startswith("fe80"):
            change = ["route", "change", *line.split(), "dev", "eth", "advmss", str(most)]
            lab.run(name, "ip", version, *change)


@pytest.mark.parametrize(("plane", "family", "back", "where"), NARROWED)
def test_a_narrow_link_is_found_on_either_side(stage, plane, family, back, where):
    """The error that says so is about the packet as it was there: addresses inside it are
    translated back, or who sent it does not know its own packet again."""
    with stage(plane, family, back, own=True, **NARROW[where]) as driven:
        driven.put()
        for name in ("client", "server1", "server2"):
            promise(driven.lab, name, family)
        made, name, seen = driven.connect()
        assert whole(made, 2 << 20)
        told, about = (f"server{name}", seen) if "client" in where else ("client", VIPS[family])
        assert "mtu 1400" in driven.lab.run(told, "ip", "route", "get", about).stdout


@pytest.mark.parametrize(("plane", "family", "back"), [*CASES, *RELAYED])
def test_direct_connections_are_left_alone(stage, plane, family, back):
    """As a health check makes them from the balancer, and a client past it."""
    with stage(plane, family, back) as driven:
        driven.put()
        made = [driven.connect() for _ in range(4)]
        asking = [driven.asking() for _ in range(2)]
        for one in asking:
            driven.ask(one, b"through")
        for number, who in itertools.product((1, 2), (BALANCER, "client")):
            if who == "client" and back == MASQUERADE:
                continue  # those servers know no way back to a client
            to = address(f"server{number}", family)
            direct, name, _ = driven.connect(to, 7000, who=who)
            assert name == str(number)
            assert echoes(direct, b"direct")
            assert driven.ask(driven.asking(who=who), b"direct", to, 7000) == str(number)
        assert all(echoes(one, b"through") for one, _, _ in made)
        assert all(driven.ask(one, b"through") in "12" for one in asking)


# ---- what is said ----


@pytest.mark.parametrize(("plane", "family", "back"), CASES)
def test_counters_agree_with_the_traffic(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        asking = [driven.asking() for _ in range(4)]
        for one in asking * 5:
            driven.ask(one, b"x" * 100)
        made = [driven.connect() for _ in range(6)]
        for one, _, _ in made:
            assert echoes(one, b"y" * 1000)
        found = driven.still()
        udp, tcp = found.listeners["udp"], found.listeners["tcp"]
        assert (udp.packets_in, udp.packets_out) == (20, 20)
        assert (udp.flows_new, udp.flows_active, udp.flows_closed) == (4, 4, 0)
        assert 20 * 128 <= udp.bytes_in <= 20 * (100 + 8 + 40 + 14)
        assert (tcp.flows_new, tcp.flows_active, tcp.flows_closed) == (6, 6, 0)
        assert tcp.bytes_in > 6000 < tcp.bytes_out
        assert set(found.servers) == {
            ("all", end(at(address(f"server{n}", family), 7000))) for n in (1, 2)
        }
        for name in ("packets_in", "packets_out", "bytes_in", "bytes_out", "flows_new"):
            by_server = sum(getattr(one, name) for one in found.servers.values())
            assert by_server == getattr(udp, name) + getattr(tcp, name)
        assert [one.flows_active for one in found.servers.values()] == [5, 5]


@pytest.mark.parametrize(("plane", "family", "back"), SIMPLE)
def test_what_ended_is_counted_as_closed(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        for _ in range(4):
            made, _, _ = driven.connect()
            made.shutdown(socket.SHUT_WR)
            assert made.recv(1) == b""
            made.close()
        reset, _, _ = driven.connect()
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        reset.close()
        kept, _, _ = driven.connect()
        assert echoes(kept, b"x")
        until(lambda: driven.counters().listeners["tcp"].flows_closed >= 5)
        found = driven.still().listeners["tcp"]
        assert (found.flows_new, found.flows_active, found.flows_closed) == (6, 1, 5)


@pytest.mark.parametrize(("plane", "family", "back"), CASES)
def test_flows_are_listed_and_filtered(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        made = [driven.connect() for _ in range(6)]
        assert all(echoes(one, b"x" * 1000) for one, _, _ in made)
        asking = driven.asking()
        for _ in range(3):
            driven.ask(asking, b"y")
        every = driven.flows()
        tcp = [flow for flow in every if flow.protocol == IPPROTO_TCP]
        assert len(every) == 7
        assert {flow.client.port for flow in tcp} == {one.getsockname()[1] for one, _, _ in made}
        vip = end(at(VIPS[family], PORT))
        ours = {end(at(address(f"server{n}", family, 1), 0)).address for n in (1, 2)}
        for flow in tcp:
            assert flow.client.address == end(at(CLIENTS[family], 0)).address
            assert (flow.vip, flow.state) == (vip, ESTABLISHED)
            assert flow.packets_in >= 3 <= flow.packets_out
            assert flow.bytes_in > 1000 < flow.bytes_out
            assert 0 <= flow.idle_ms <= 10_000
            assert flow.age_ms <= 60_000
            assert flow.source is None if back == ROUTED else flow.source.address in ours

        one = end(at(address("server1", family), 7000))
        client = end(at(CLIENTS[family], 0)).address
        for wanted, count in [
            (FlowFilter(protocol=IPPROTO_UDP), 1),
            (FlowFilter(protocol=IPPROTO_TCP, server=one), 3),
            (FlowFilter(vip=end(at(VIPS[family], 0))), 7),
            (FlowFilter(vip=end(at(VIPS[family], 81))), 0),
            (FlowFilter(client=(client, (1 << 128) - 1)), 7),
            (FlowFilter(client=(client + 1, (1 << 128) - 1)), 0),
            (FlowFilter(states=frozenset({"closed"})), 0),
        ]:
            assert len(driven.flows(wanted)) == count, wanted


@pytest.mark.parametrize(("plane", "family", "back"), CASES)
def test_a_servers_flows_are_cut(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        made = [driven.connect() for _ in range(6)]
        driven.put(servers=(2,))
        assert driven.cut(("all", end(at(address("server1", family), 7000)))) == 3
        for one, name, _ in made:
            assert echoes(one, b"untouched") if name == "2" else gone(one)


# ---- what is left ----


@pytest.mark.parametrize(("plane", "family", "back"), [*EVERY, *RELAYED_V4])
def test_a_clean_stop_leaves_nothing(stage, plane, family, back):
    with stage(plane, family, back, own=True) as driven:
        before = surroundings(driven)
        driven.put()
        made = [driven.connect()[0] for _ in range(4)]
        driven.ask(driven.asking(), b"x")
        driven.close(True)
        assert surroundings(driven) == before
        refused = driven.lab.socket("client", family, TCP)
        with pytest.raises(ConnectionRefusedError):
            refused.connect((VIPS[family], port_of(driven.lab)))
        assert all(gone(one) for one in made)  # its flows went with it


FOREIGN = """\
table inet theirs {
  counter seen { }
  chain forward { type filter hook forward priority 0; policy accept; counter name seen; }
  chain nat { type nat hook prerouting priority dstnat; tcp dport 9999 redirect to :9998; }
}
table ip fourseven_other {
  chain kept { counter; }
}
"""


@pytest.mark.parametrize(("plane", "family", "back"), [*ANY, *RELAYED_V4])
def test_nothing_of_others_is_touched(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.lab.run(BALANCER, "nft", "-f", "-", input=FOREIGN)
        stateless = ["nft", "-s", "list", "ruleset"]
        before = driven.lab.run(BALANCER, *stateless).stdout
        driven.put()
        made, _, _ = driven.connect()
        assert echoes(made, b"x")
        assert before in driven.lab.run(BALANCER, *stateless).stdout
        driven.put(servers=(1,))
        driven.close(True)
        assert driven.lab.run(BALANCER, *stateless).stdout == before


def test_every_plane_has_a_row():
    """The tables above are not empty, whatever the abilities say."""
    assert {case.values[0] for case in CASES} == set(PLANES) >= {"nftables"}


PAST = [case for case in EVERY if case.values[2] == DIRECT]


@pytest.mark.parametrize(("plane", "family", "back"), PAST)
def test_what_goes_to_servers_that_answer_past_us_is_counted(stage, plane, family, back):
    with stage(plane, family, back) as driven:
        driven.put()
        asking = driven.asking()
        for _ in range(5):
            driven.ask(asking, b"x" * 100)
        made, name, _ = driven.connect()
        assert echoes(made, b"y" * 1000)
        found = driven.still()
        udp, tcp = found.listeners["udp"], found.listeners["tcp"]
        assert (udp.packets_in, udp.packets_out) == (5, 0)
        assert (tcp.flows_new, tcp.flows_active) == (1, 1)
        assert tcp.bytes_in > 1000
        server = found.servers["all", end(at(address(f"server{name}", family), 7000))]
        assert server.bytes_in > 1000
