"""What only the nftables plane does: it outlives its process, and lives among the rules of others."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace

import pytest

from fourseven.errors import FoursevenError
from fourseven.l4.kernel_plan import MASQUERADE_PORTS, end
from fourseven.l4.kernel_plane import Home
from fourseven.l4.nftables import plane as nftables
from fourseven.l4.nftables import rules, table
from support.lab import BALANCER, MASQUERADE, ROUTED, VIPS, Lab, address
from support.network import needs_lab
from support.planes import PORT, TCP, V4, V6, Driven, at, echoes, file, read_line, until

pytestmark = needs_lab("nft", "conntrack", plane="nftables")

TABLE = ["inet", "fourseven_lab"]


@contextlib.contextmanager
def stage(family: int = V4, back: str = ROUTED, **more):
    with Lab(back=back, **more) as lab:
        for number in (1, 2):
            lab.serve(number, family)
        with Driven(lab, "nftables", family) as driven:
            yield driven


def listed(driven: Driven) -> str:
    return driven.lab.run(BALANCER, "nft", "list", "ruleset").stdout


def test_it_goes_on_without_a_process_and_is_taken_over():
    """kill -9: nobody closes anything. The next one finds the table, its flows and its counts."""
    with stage() as driven:
        driven.put()
        made = [driven.connect() for _ in range(4)]
        before = driven.counters().listeners["tcp"]
        driven.plane.table.close()  # what the kernel does to a process that is killed
        assert driven.connect()[1] in "12"
        assert all(echoes(one, b"nobody looks after us") for one, _, _ in made)

        driven.open()
        driven.stood = []
        driven.put(servers=(2,))
        assert {driven.connect()[1] for _ in range(4)} == {"2"}
        assert all(echoes(one, b"taken over") for one, _, _ in made)
        after = driven.counters().listeners["tcp"]
        assert (before.flows_new, after.flows_new, after.flows_active) == (4, 9, 9)
        assert after.packets_in > before.packets_in
        driven.close(True)
        assert listed(driven) == ""


def test_a_successor_with_other_families_and_listeners_leaves_no_rest():
    with stage() as driven:
        driven.put()
        driven.plane.table.close()
        driven.open()
        driven.put(file(driven.lab, V6, plane="nftables").replace("tcp:", "web:"))
        driven.tick()  # nothing of the old families has a flow
        assert VIPS[V4] not in listed(driven)
        with driven.inside():
            assert set(driven.plane.table.there().counters) == set(driven.plane.rules.counters)


def test_it_is_put_back_when_others_empty_the_ruleset():
    """A firewall that restarts flushes everything; flows go on, and so do new ones after a tick."""
    with stage() as driven:
        driven.put()
        made, _, _ = driven.connect()
        driven.lab.run(BALANCER, "nft", "flush", "ruleset")
        assert listed(driven) == ""
        driven.tick()
        assert "fourseven_lab" in listed(driven)
        assert driven.connect()[1] in "12"
        assert echoes(made, b"still here")
        driven.lab.run(BALANCER, "nft", "flush", "ruleset")
        driven.put(servers=(1,))  # or with the next change
        assert driven.connect()[1] == "1"


@pytest.mark.parametrize("family", [V4, V6])
def test_nft_can_list_it(family):
    """Whoever looks at all rules, or saves theirs, must not stumble over ours."""
    with stage(family, MASQUERADE) as driven:
        driven.put(balance="{source_hash: {prefix_v4: 24, prefix_v6: 56}}", weights=(3, 1))
        said = listed(driven)
        assert f"[{VIPS[V6]}]" not in said
        assert "map @table" in said
        assert "jhash" in said
        driven.put()
        assert "numgen inc mod 2" in listed(driven)
        driven.lab.run(BALANCER, "nft", "list", "chain", *TABLE, "prerouting")


def test_connections_of_the_relay_survive_its_beginning():
    """What the host itself ends at the address, from before there was a rule, stays its own."""
    with stage() as driven:
        with driven.inside():
            listening = socket.create_server((VIPS[V4], PORT))
        old = driven.lab.socket("client", V4, TCP)
        old.connect((VIPS[V4], PORT))
        taken, _ = listening.accept()
        driven.put()
        old.sendall(b"to the relay")
        assert taken.recv(100) == b"to the relay"
        taken.sendall(b"and back\n")
        assert read_line(old) == "and back\n"
        assert driven.connect()[1] in "12"
        for one in (taken, listening):
            one.close()


@pytest.mark.parametrize("family", [V4, V6])
def test_nobody_to_serve_is_refused_and_counted(family):
    with stage(family) as driven:
        driven.put()
        with driven.inside():
            plan = driven.plane.plan
            none = tuple(replace(service, table=()) for service in plan.services)
            driven.plane.apply(replace(plan, services=none))
        asked = driven.lab.socket("client", family, TCP)
        with pytest.raises(ConnectionRefusedError):
            asked.connect((VIPS[family], PORT))
        asking = driven.asking()
        asking.connect((VIPS[family], PORT))
        asking.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            asking.recv(100)
        found = driven.counters().listeners
        assert [found[name].drops for name in ("tcp", "udp")] == [{"no_server": 1}] * 2


@pytest.mark.parametrize("family", [V4, V6])
def test_masquerade_takes_ports_below_those_of_the_host(family):
    with stage(family, MASQUERADE) as driven:
        driven.put()
        for _ in range(8):
            driven.connect()
            driven.ask(driven.asking(), b"x")
        low, high = MASQUERADE_PORTS
        sources = [flow.source for flow in driven.flows()]
        assert len(sources) == 16
        assert all(low <= source.port <= high for source in sources)


@pytest.mark.parametrize("family", [V4, V6])
def test_a_flow_that_gets_no_port_is_dropped_and_counted(family, monkeypatch):
    monkeypatch.setattr(rules, "MASQUERADE_PORTS", (2000, 2003))
    with stage(family, MASQUERADE) as driven:
        driven.put(servers=(1,))
        asking = [driven.asking() for _ in range(4)]
        assert [driven.ask(one, b"x") for one in asking] == ["1"] * 4
        assert driven.counters().drops == {}
        late = driven.asking()
        late.connect((VIPS[family], PORT))
        late.send(b"nobody hears it")
        until(lambda: driven.counters().drops)
        late.settimeout(0.05)
        with pytest.raises(TimeoutError):
            late.recv(100)
        assert driven.counters().drops == {"no_port": 1}
        assert [driven.ask(one, b"x") for one in asking] == ["1"] * 4


@pytest.mark.parametrize("family", [V4, V6])
def test_masquerade_with_addresses_of_the_file(family):
    with stage(family, MASQUERADE) as driven:
        ours = [address(f"server{n}", family, 1) for n in (1, 2)]
        chosen = end(at(ours[0], 0)).address
        other = end(at(ours[1], 0)).address
        driven.put(servers=(1,))
        with driven.inside():
            driven.plane.apply(replace(driven.plane.plan, masquerade_addresses=(chosen,)))
        assert {driven.connect()[2] for _ in range(4)} == {ours[0]}
        with driven.inside():
            driven.plane.apply(replace(driven.plane.plan, masquerade_addresses=(chosen, other)))
        for _ in range(4):
            driven.lab.ip("server1", *_way(ours[1], family))
            assert driven.connect()[2] in ours
            assert driven.ask(driven.asking(), b"x") == "1"


def _way(to: str, family: int) -> list[str]:
    """How a server gets to another address of the balancer."""
    return [f"route replace {to} via {address('server1', family, 1)}"]


def test_only_its_interfaces_bring_new_flows():
    with stage() as driven:
        driven.put()
        with driven.inside():
            assert driven.plane.stand(["to-server1", "eth9"]) == ["there is no interface 'eth9'"]
        asked = driven.lab.socket("client", V4, TCP)
        with pytest.raises(ConnectionRefusedError):
            asked.connect((VIPS[V4], PORT))
        with driven.inside():
            driven.plane.stand(["to-client"])
        assert driven.connect()[1] in "12"


def test_flows_that_are_silent_end_after_the_listeners_time():
    with stage() as driven:
        text = file(driven.lab, V4, plane="nftables")
        driven.put(text.replace("backend: all,", "backend: all, idle_timeout: 20s,"))
        made, _, _ = driven.connect()
        assert echoes(made, b"x")
        asking = driven.asking()
        driven.ask(asking, b"x")
        said = driven.lab.run(BALANCER, "conntrack", "-L").stdout.split("\n")
        left = {line.split()[0]: int(line.split()[2]) for line in said if line}
        assert 5 <= left["tcp"] <= 20  # else it would be that of the kernel: days, half a minute
        assert 5 <= left["udp"] <= 20


def test_what_left_the_plan_is_forgotten_once_its_flows_have_ended():
    with stage() as driven:
        driven.put()
        made = [driven.connect() for _ in range(4)]
        driven.put(servers=(2,))
        gone = ("all", end(at(address("server1", V4), 7000)))
        counted = driven.counters().servers[gone]
        assert (counted.flows_new, counted.flows_active) == (2, 2)
        for one, name, _ in made:
            assert echoes(one, b"x" * 100)
            if name == "1":
                one.close()
        driven.cut(gone)
        driven.plane.gone_at = 0.0
        driven.tick()
        assert gone not in driven.counters().servers
        assert "10.77.11.2" not in listed(driven)
        driven.put()
        driven.connect()
        again = driven.counters().servers[gone]
        assert again.flows_new >= counted.flows_new  # what it had is not lost


def test_removal_by_name_without_a_plane():
    with stage() as driven:
        driven.put()
        with driven.inside():
            assert table.names() == ["lab"]
            assert nftables.remove(Home("lab"))
            assert table.names() == []
            assert not nftables.remove(Home("lab"))
        assert listed(driven) == ""


def test_what_the_kernel_refuses_changes_nothing():
    """One batch: a plan that cannot be is refused whole, and the old one serves on."""
    with stage() as driven:
        driven.put()
        before = listed(driven)
        plan = driven.plane.plan
        for bad in ({"pick": 99}, {"listener": "x" * 300}):
            refused = replace(plan, services=(replace(plan.services[0], **bad),))
            with driven.inside(), pytest.raises(FoursevenError):
                driven.plane.apply(refused)
        assert listed(driven) == before
        assert driven.connect()[1] in "12"
        assert driven.plane.plan == plan


def test_a_listener_that_left_while_nobody_was_there_keeps_its_flows_until_the_end():
    with stage() as driven:
        driven.put()
        made = [driven.connect() for _ in range(2)]
        driven.plane.table.close()
        driven.open()
        assert driven.plane.adopted
        assert driven.busy() == 2
        other = file(driven.lab, V4, plane="nftables", binds=(at(VIPS[V4], 81),))
        driven.put(other)
        assert driven.busy() == 2
        assert all(echoes(one, b"still") for one, _, _ in made)
        assert {flow.vip.port for flow in driven.flows()} == {PORT}
        driven.close(True)
        said = driven.lab.run(BALANCER, "conntrack", "-L").stdout
        assert f"dport={PORT}" not in said
