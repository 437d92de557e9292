"""How a flow begins, lives and ends in the kernel, step by step; time is written into the rows."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import replace

import pytest

from fourseven.errors import FoursevenError
from fourseven.l4 import datapath
from fourseven.l4.datapath import whole
from fourseven.l4.kernel_plan import (
    AT_RANDOM,
    BY_HASH,
    BY_LOAD,
    DIRECT,
    IN_TURN,
    MASQUERADE,
    OF_TWO,
    ROUTED,
    TCP,
    UDP,
    End,
    KernelPlan,
    Service,
    end,
)
from fourseven.l4.kernel_plane import FlowFilter
from fourseven.l4.program import ports
from fourseven.l4.program.decide import program
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.tables import FLOWS, INDEX, PENDING_MAX, USED
from support.network import why_not
from support.one_way import Stage, one_way
from support.packets_l4 import datagram, segment
from support.reference_l4 import Packet

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")

FLOOD = int(os.environ.get("FOURSEVEN_FLOOD", str(PENDING_MAX * 3 // 2)))
SYN, ACK, FIN, RST = 2, 16, 17, 4
CLIENT, OTHER = end("10.1.0.1:4000"), end("10.1.0.2:4000")
VIP, NAMES = end("10.2.0.1:80"), end("10.2.0.1:53")
SERVERS = tuple(end(f"10.3.0.{i}:8080") for i in range(1, 9))
OURS = end("10.9.0.7:0").address


def service(pick=IN_TURN, protocol=TCP, servers=SERVERS, mode=ROUTED, **more) -> Service:
    return Service(
        "web",
        VIP if protocol == TCP else NAMES,
        protocol,
        pick,
        tuple(range(len(servers))),
        servers,
        (1 << 128) - 1,
        300_000,
        mode,
        "all",
        **more,
    )


def plan(*services: Service, flows_max: int = 4096) -> KernelPlan:
    return KernelPlan(services, flows_max=flows_max, masquerade_addresses=(OURS,))


@pytest.fixture(scope="module", autouse=True)
def network():
    with one_way():
        yield


class Talk:
    """Packets between clients, a data path and servers."""

    def __init__(self, path: Stage) -> None:
        self.path = path

    def pass_through(self, raw: bytes) -> Packet | None:
        """What it became; None: it was left alone."""
        action, out = self.path.run(raw)
        if action == SkbWire.SENT:
            return Packet.of(out)
        assert (action, out) == (SkbWire.PASS, raw)
        return None

    def ask(self, flags: int, client: End = CLIENT, acknowledged: int = 9) -> Packet | None:
        return self.pass_through(segment(client, VIP, flags, 8, acknowledged))

    def answer(self, asked: Packet, flags: int, sequence: int = 8) -> Packet | None:
        ends = asked.destination, asked.source
        return self.pass_through(segment(*ends, flags, sequence, 1))

    def open(self, client: End = CLIENT) -> Packet:
        """A whole handshake; the SYN as the server got it."""
        asked = self.ask(SYN, client)
        assert asked is not None
        assert self.answer(asked, SYN | ACK) is not None
        assert self.ask(ACK, client) is not None
        return asked

    def flows(self) -> dict[End, str]:
        return {flow.client: flow.state for flow in self.path.rows.flows()}

    def counts(self) -> tuple[int, int, int, int]:
        """active, new, closed, evicted; of the listener and of all servers together."""
        told = self.path.rows.counters()
        rows = [*told.servers.values()]
        names = ("flows_active", "flows_new", "flows_closed", "flows_evicted")
        sums = tuple(sum(getattr(row, name) for row in rows) for name in names)
        assert sums == tuple(getattr(told.listeners["web"], name) for name in names)
        return sums

    def age(self, seconds: int) -> None:
        """Every row was last used so long ago."""
        ticks = seconds * self.path.rows.sweep.second
        table = self.path.tables["flows4"]
        for number, raw in self.rows():
            row = table.form.value.unpack(raw)
            row["checked"] = row["checked"] - ticks & 0xFFFFFFFF
            table.put(INDEX.pack(number=number), table.form.value.pack(**row))

    def rows(self) -> list[tuple[int, bytes]]:
        """Each row of a flow, and its place."""
        state = FLOWS[4].find("state").offset
        there = enumerate(whole(self.path.tables["flows4"]))
        return [(n, raw) for n, raw in there if raw[state] & USED]

    def sweep(self) -> None:
        while self.path.rows.sweep.step():
            pass


@pytest.fixture
def talk(request):
    said = getattr(request, "param", plan(service()))
    with Stage(said) as path:
        yield Talk(path)


def of(*services: Service, flows_max: int = 4096):
    return pytest.mark.parametrize(
        "talk", [plan(*services, flows_max=flows_max)], indirect=True, ids=["plan"]
    )


# ---- beginning ----


def test_only_the_exact_acknowledgement_makes_a_flow(talk):
    asked = talk.ask(SYN)
    assert talk.ask(ACK) is None  # nobody has answered yet
    assert talk.answer(asked, SYN | ACK).source == VIP
    assert talk.flows() == {}
    assert talk.ask(ACK, acknowledged=10) is None
    assert talk.flows() == {}
    assert talk.ask(ACK).destination == asked.destination
    assert talk.flows() == {CLIENT: "established"}
    assert talk.counts() == (1, 1, 0, 0)


def test_a_retransmitted_syn_is_another_handshake(talk):
    first, second = talk.ask(SYN), talk.ask(SYN)
    assert first.destination != second.destination  # in turn: the first may be dead
    assert talk.answer(first, SYN | ACK) is None  # nobody waits for it any more
    assert talk.answer(second, SYN | ACK) is not None
    assert talk.ask(ACK).destination == second.destination


def test_a_refusal_reaches_the_client_and_leaves_nothing(talk):
    asked = talk.ask(SYN)
    assert talk.answer(asked, RST | ACK).destination == CLIENT
    assert talk.flows() == {}


@pytest.mark.parametrize(
    "talk", [plan(service(mode=m)) for m in (ROUTED, MASQUERADE)], indirect=True
)
@pytest.mark.parametrize("answered", [False, True])
def test_a_client_that_gives_up_says_so_to_the_server(talk, answered):
    asked = talk.ask(SYN)
    if answered:
        talk.answer(asked, SYN | ACK)
    gone = talk.ask(RST, acknowledged=77)
    assert (gone.source, gone.destination) == (asked.source, asked.destination)
    assert talk.flows() == {}
    assert talk.answer(asked, SYN | ACK) is not None  # whoever forged it has broken nothing
    assert talk.ask(ACK).destination == asked.destination


def test_a_direct_connection_to_a_server_is_left_alone(talk):
    asked = talk.open()
    mine = segment(end("10.1.0.1:4001"), asked.destination, SYN, 8, 0)
    assert talk.pass_through(mine) is None
    back = segment(asked.destination, end("10.1.0.1:4001"), SYN | ACK, 8, 9)
    assert talk.pass_through(back) is None


@of(service(BY_HASH))
def test_midway_goes_where_every_machine_sends_it_and_is_a_flow_once_answered(talk):
    asked = talk.ask(ACK)
    assert asked is not None
    assert talk.ask(ACK) is not None
    assert talk.flows() == {}
    assert talk.answer(asked, RST).source == VIP
    talk.ask(ACK)
    assert talk.flows() == {}  # the server does not know it
    assert talk.answer(asked, ACK).source == VIP
    assert talk.ask(ACK).destination == asked.destination
    assert talk.flows() == {CLIENT: "established"}


def test_midway_in_turn_is_the_hosts_and_counted(talk):
    assert talk.ask(ACK) is None
    told = talk.path.rows.counters().listeners["web"]
    assert (told.passed, told.drops) == (1, {"no_flow": 1})


@of(service(protocol=UDP))
def test_a_question_and_its_answer_are_no_flow(talk):
    ask = lambda: talk.pass_through(datagram(CLIENT, NAMES))  # noqa: E731
    asked = ask()
    assert talk.pass_through(datagram(asked.destination, CLIENT)).source == NAMES
    assert talk.flows() == {}
    assert ask().destination == asked.destination
    assert talk.flows() == {CLIENT: "established"}
    talk.age(301)
    assert ask().destination != asked.destination  # in turn
    assert talk.counts() == (0, 1, 1, 0)


@of(service(mode=DIRECT))
def test_direct_sends_the_packet_as_it_is(talk):
    assert talk.ask(SYN).destination == VIP
    assert talk.ask(ACK, acknowledged=77).destination == VIP  # nobody saw the SYN-ACK
    (flow,) = talk.path.rows.flows()
    assert (flow.server, flow.state) == (SERVERS[0], "established")
    assert talk.ask(RST).destination == VIP
    assert talk.counts() == (0, 1, 1, 0)


# ---- ending ----


def test_both_must_say_fin(talk):
    asked = talk.open()
    for _ in range(2):  # retransmitted
        talk.ask(FIN)
        assert talk.flows() == {CLIENT: "closing"}
        assert talk.counts() == (1, 1, 0, 0)
    for _ in range(2):
        talk.answer(asked, FIN)
        assert talk.flows() == {CLIENT: "closed"}
        assert talk.counts() == (0, 1, 1, 0)
    assert talk.ask(ACK).destination == asked.destination  # the last acknowledgement gets there
    talk.answer(asked, RST)
    assert talk.counts() == (0, 1, 1, 0)


@pytest.mark.parametrize("who", ["client", "server"])
def test_one_rst_ends_it(talk, who):
    asked = talk.open()
    talk.ask(RST) if who == "client" else talk.answer(asked, RST)
    assert talk.flows() == {CLIENT: "closed"}
    assert talk.counts() == (0, 1, 1, 0)


def test_a_syn_over_an_ended_flow_picks_anew_and_over_a_live_one_does_not(talk):
    first = talk.open()
    assert talk.ask(SYN).destination == first.destination
    talk.ask(RST)
    second = talk.open()
    assert second.destination != first.destination
    assert talk.counts() == (1, 2, 1, 0)
    talk.age(301)
    assert talk.ask(SYN).destination not in (first.destination, second.destination)
    assert talk.counts() == (0, 2, 2, 0)
    assert talk.flows() == {}


NEXT_DOOR = end("10.2.0.2:80")


def both_doors() -> KernelPlan:
    first = service(servers=SERVERS[:1])
    return plan(first, replace(first, listener="next", vip=NEXT_DOOR))


def test_a_late_packet_of_an_ended_flow_does_not_take_its_way_back_again():
    with Stage(both_doors()) as path:
        talk = Talk(path)
        asked = talk.open()
        talk.ask(RST)
        assert talk.pass_through(segment(CLIENT, NEXT_DOOR, SYN, 8, 0)) is not None
        talk.age(2)  # so that the routing table is asked, and the flow's other row looked at
        assert talk.ask(ACK) is not None
        answer = talk.answer(asked, SYN | ACK)
        assert answer is not None
        assert answer.source == NEXT_DOOR


@pytest.mark.parametrize(
    ("how", "seconds", "left"),
    [
        ("established", 290, True),  # the test itself takes a moment as well
        ("established", 302, False),
        ("closing", 50, True),
        ("closing", 62, False),
        ("closed", 3, True),
        ("closed", 12, False),
    ],
)
def test_a_flow_leaves_when_its_time_is_over(talk, how, seconds, left):
    asked = talk.open()
    if how != "established":
        talk.ask(FIN)
    if how == "closed":
        talk.answer(asked, FIN)
    talk.age(seconds)
    talk.sweep()
    assert (CLIENT in talk.flows()) is left
    assert len(talk.rows()) == (2 if left else 0)
    ended = how == "closed" or not left
    assert talk.counts() == (0 if ended else 1, 1, 1 if ended else 0, 0)


@of(service(servers=SERVERS[:2]), flows_max=512)
def test_what_was_pushed_out_is_counted(talk):
    for i in range(2000):
        talk.open(End(CLIENT.address + i, 4000))
    talk.sweep()
    active, new, closed, evicted = talk.counts()
    assert new == 2000
    assert 512 <= active == len(talk.flows()) <= 1024
    assert (closed, evicted) == (0, 2000 - active)
    talk.sweep()
    assert talk.counts() == (active, new, closed, evicted)


def test_a_cut_forgets_the_flows_of_one_server(talk):
    for i in range(16):
        talk.open(End(CLIENT.address + i, 4000))
    assert talk.path.rows.cut(("all", SERVERS[3])) == 2
    assert len(talk.flows()) == 14
    assert all(flow.server != SERVERS[3] for flow in talk.path.rows.flows())
    assert talk.counts() == (14, 16, 2, 0)
    assert talk.ask(ACK, End(CLIENT.address + 3, 4000)) is None  # whoever gets it answers with RST
    assert talk.path.rows.cut(("all", end("10.3.0.99:8080"))) == 0


# ---- changes ----


def test_an_established_flow_keeps_a_server_that_left(talk):
    asked = {i: talk.open(End(CLIENT.address + i, 4000)) for i in range(8)}
    for _ in range(5):
        for said in (plan(service(servers=SERVERS[:1])), plan(service())):
            talk.path.apply(said)
    talk.path.apply(plan(service(servers=SERVERS[:1])))
    for i, before in asked.items():
        now = talk.ask(ACK, End(CLIENT.address + i, 4000))
        assert now.destination == before.destination
    assert talk.ask(SYN, OTHER).destination == asked[1].destination  # live: stays
    assert talk.ask(SYN, end("10.1.0.200:1")).destination == SERVERS[0]


def test_a_drain_takes_nothing_new_and_finishes_what_there_is(talk):
    talk.open()
    other = talk.ask(SYN, OTHER)
    talk.answer(other, SYN | ACK)
    talk.path.rows.drain()
    assert talk.ask(SYN, end("10.1.0.3:4000")) is None
    assert talk.ask(ACK, OTHER) is not None  # its handshake was under way
    assert talk.ask(ACK) is not None
    assert talk.path.rows.busy() == 2
    talk.path.rows.apply(plan(service()))
    assert talk.ask(SYN, end("10.1.0.3:4000")) is not None


def test_a_service_that_left_is_the_hosts_again(talk):
    talk.path.apply(plan(replace(service(), vip=end("10.2.0.2:80"))))
    assert talk.ask(SYN) is None


def test_whoever_opens_the_tables_later_goes_on(talk):
    talk.open()
    before = talk.path.rows
    later = type(before)(talk.path.tables)
    assert later.numbers == before.numbers
    later.apply(plan(service(servers=SERVERS[1:])))
    talk.path.rows = later
    assert talk.counts() == (1, 1, 0, 0)
    assert talk.ask(ACK).destination == SERVERS[0]
    assert talk.ask(SYN, OTHER).destination == SERVERS[2]  # the turn goes on
    before.close()


def test_one_of_a_thousand_servers_leaves_a_thousand_services_within_50_ms(talk):
    servers = tuple(End(SERVERS[0].address + 256 + i, 8080) for i in range(1000))

    def said(count: int) -> KernelPlan:
        table = tuple(i * 7919 % count for i in range(65_537))
        of, each = servers[:count], replace(service(BY_HASH), servers=servers[:count])
        made = tuple(
            replace(each, listener=f"{i}", vip=End(VIP.address + i, 80), table=table, servers=of)
            for i in range(1000)
        )
        return KernelPlan(made, flows_max=4096)

    with Stage(said(1000), places=3 * 65_537) as path:
        plans, spent = [said(1000), said(999)], 1.0
        for turn in range(1, 20):
            before = time.thread_time()  # what others do on this machine is not counted
            path.rows.apply(plans[turn % 2])
            spent = min(spent, time.thread_time() - before)
            if spent < 0.05 and turn % 2:
                break
        assert spent < 0.05
        for i in (0, 999):
            raw = segment(CLIENT, End(VIP.address + i, 80), SYN, 8, 0)
            assert Packet.of(path.run(raw)[1]).destination in servers[:999]


def test_a_refused_change_changes_nothing(talk):
    before = talk.ask(SYN).destination
    many = tuple(End(SERVERS[0].address + i, 1) for i in range(5000))
    for wrong, why in (
        (plan(replace(service(), servers=many)), "more than 4096 servers"),
        (plan(replace(service(), table=tuple(range(8)) * 1000)), "the picking tables need more"),
        (plan(*[service()] * 5000), "more than 4096 addresses"),
        (plan(replace(service(), vip=end("[fd00::1]:80"))), "made without IPv6"),
    ):
        with pytest.raises(FoursevenError, match=why):
            talk.path.rows.apply(wrong)
    met = {talk.ask(SYN).destination for _ in range(7)}
    assert met == set(SERVERS) - {before}


# ---- masquerade ----


@of(service(mode=MASQUERADE, servers=SERVERS[:1]))
def test_a_server_sees_an_address_of_ours(talk):
    asked = talk.open()
    assert asked.source.address == OURS
    assert 1024 <= asked.source.port <= 32767
    (flow,) = talk.path.rows.flows()
    assert (flow.source, flow.client, flow.server) == (asked.source, CLIENT, SERVERS[0])
    assert talk.answer(asked, ACK).destination == CLIENT
    assert talk.open(OTHER).source.port != asked.source.port


def test_our_addresses_on_the_ways_are_asked_once(monkeypatch):
    """A change of one server in a thousand asks about that one."""
    asked: list[int] = []
    sources = datapath.netlink.sources

    def counting(targets):
        wanted = list(targets)
        asked.append(len(wanted))
        return sources(wanted)

    monkeypatch.setattr(datapath.netlink, "sources", counting)
    servers = tuple(end(f"10.3.{i // 250}.{i % 250}:8080") for i in range(1000))
    of_all = service(mode=MASQUERADE, servers=servers)
    with Stage(KernelPlan((of_all,), flows_max=4096)) as path:
        for _ in range(3):
            path.rows.apply(KernelPlan((of_all,), flows_max=4096))
        other = (*servers[1:], end("10.3.9.9:8080"))
        path.rows.apply(KernelPlan((service(mode=MASQUERADE, servers=other),), flows_max=4096))
        asked_until_now = asked[:]
        assert not path.rows.moved()
    assert [many for many in asked_until_now if many] == [1000, 1]


def test_when_no_port_is_free_a_flow_is_refused_and_counted(monkeypatch):
    monkeypatch.setattr(ports, "MASQUERADE_PORTS", (2000, 2007))
    with Stage(plan(service(mode=MASQUERADE, servers=SERVERS[:1]))) as path:
        talk = Talk(path)
        asked = [talk.open(End(CLIENT.address + i, 4000)) for i in range(8)]
        assert {one.source.port for one in asked} == set(range(2000, 2008))
        last = End(OTHER.address, 1)
        late = segment(last, VIP, SYN, 8, 0)
        assert path.run(late)[0] == SkbWire.DROP
        assert path.rows.counters().listeners["web"].drops == {"no_port": 1}
        talk.answer(asked[5], RST)
        again = talk.pass_through(late)
        assert again.source == asked[5].source
        assert talk.answer(again, SYN | ACK).destination == last


# ---- who is picked ----


@of(service(BY_LOAD, servers=SERVERS[:3], weights=(1, 2, 1)))
def test_the_least_loaded_for_its_weight(talk):
    met = Counter(talk.open(End(CLIENT.address + i, 4000)).destination for i in range(400))
    assert met == {SERVERS[0]: 100, SERVERS[1]: 200, SERVERS[2]: 100}
    for i in range(400):  # one server's flows all end: it is the one to take
        client = End(CLIENT.address + i, 4000)
        if talk.ask(ACK, client).destination == SERVERS[2]:
            talk.ask(RST, client)
    met = Counter(talk.open(End(OTHER.address + i, 1)).destination for i in range(100))
    assert met == {SERVERS[2]: 100}


@of(service(OF_TWO))
def test_of_two_the_less_loaded(talk):
    met = Counter(talk.open(End(CLIENT.address + i, 4000)).destination for i in range(2000))
    assert set(met) == set(SERVERS)
    assert max(met.values()) - min(met.values()) <= 18  # by chance alone it would be some 40


@of(service(AT_RANDOM))
def test_chance_meets_every_server(talk):
    met = {talk.ask(SYN, End(CLIENT.address, port)).destination for port in range(400)}
    assert met == set(SERVERS)


# ---- floods ----


@of(service(servers=SERVERS[:2]))
def test_a_flood_of_syns_from_nobody_harms_no_flow(talk):
    asked = {i: talk.open(End(CLIENT.address + i, 4000)) for i in range(64)}
    waiting = talk.ask(SYN, OTHER)
    spoofed = segment(end("172.16.0.1:99"), VIP, SYN, 8, 0)
    talk.path.flood(spoofed, at=26, count=FLOOD)
    for i, before in asked.items():
        assert talk.ask(ACK, End(CLIENT.address + i, 4000)).destination == before.destination
        assert talk.answer(before, ACK).source == VIP
    assert len(talk.flows()) == 64
    assert talk.counts() == (64, 64, 0, 0)
    if talk.answer(waiting, SYN | ACK) is None:  # forgotten: a retransmission mends it
        talk.open(OTHER)
    talk.open(end("10.1.0.100:5"))  # and honest new ones get through


# ---- what is listed ----


def test_flows_are_found_by_what_is_asked(talk):
    for i in range(16):
        talk.open(End(CLIENT.address + i, 4000 + i))
    talk.ask(RST, End(CLIENT.address + 5, 4005))
    rows = talk.path.rows
    ask = lambda **what: {flow.client.port for flow in rows.flows(FlowFilter(**what))}  # noqa: E731
    every = set(range(4000, 4016))
    assert ask() == ask(protocol=TCP) == ask(vip=VIP) == ask(vip=End(VIP.address, 0)) == every
    assert ask(protocol=UDP) == ask(vip=OTHER) == ask(vip=end("[fd00::1]:0")) == set()
    assert ask(server=SERVERS[5]) == {4005, 4013}
    assert ask(server=End(SERVERS[5].address, 0), states=frozenset({"closed"})) == {4005}
    assert ask(states=frozenset({"opening"})) == set()
    net = (CLIENT.address & ~3, ~3 & (1 << 128) - 1)
    assert ask(client=net) == {4000, 4001, 4002}
    talk.age(3)
    flow = next(iter(rows.flows(FlowFilter(client=(CLIENT.address, (1 << 128) - 1)))))
    assert (flow.packets_in, flow.packets_out) == (1, 0)
    assert 3000 <= flow.idle_ms < 60_000


# ---- the program itself ----


def listing(*services: Service) -> str:
    return program(plan(*services)).assemble().listing()


def test_what_the_plan_does_not_use_is_not_in_the_program():
    plain = listing(service(BY_HASH))
    for word in ("get_prandom_u32", "map sources", "map answers", "map load, entry", "ip6"):
        assert word not in plain, word
    assert "map flows6" not in plain
    assert "map sources" in listing(service(mode=MASQUERADE))
    assert "get_prandom_u32" in listing(service(AT_RANDOM))
    assert "udp" in listing(service(protocol=UDP))
    assert "udp" not in plain
    sizes = [len(listing(service(pick))) for pick in (IN_TURN, BY_LOAD)]
    assert sizes[0] < sizes[1]
    direct, routed = listing(service(mode=DIRECT)), listing(service())
    assert len(direct) < len(routed)
