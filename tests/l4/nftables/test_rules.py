"""The rules of a plan, as plain data: no kernel, no root."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourseven.errors import FoursevenError
from fourseven.l4.kernel_plan import (
    AT_RANDOM,
    BY_HASH,
    IN_TURN,
    MASQUERADE,
    TCP,
    UDP,
    End,
    KernelPlan,
    Service,
    end,
)
from fourseven.l4.nftables import encode, rules
from fourseven.l4.nftables.form import Ruleset, Verdict
from fourseven.l4.nftables.netlink import Message, attributes, text_of
from fourseven.l4.nftables.rules import Kept, ruleset, service_key

ALL = (1 << 128) - 1
A, B = end("10.1.0.1:7000"), end("10.1.0.2:7000")
A6, B6 = end("[fd00::1]:7000"), end("[fd00::2]:7000")
VIP, VIP6 = end("192.0.2.1:80"), end("[2001:db8::1]:80")


def service(**more) -> Service:
    given = {
        "listener": "web",
        "vip": VIP,
        "protocol": TCP,
        "pick": IN_TURN,
        "table": (0, 1),
        "servers": (A, B),
        "mask": ALL,
        "idle_ms": 60_000,
        "backend": "app",
    }
    return Service(**(given | more))


def plan(*services: Service, **more) -> KernelPlan:
    return KernelPlan(services, **more)


def said(found: Ruleset, chain: str) -> list[str]:
    return [" ".join(map(str, rule.steps)) for rule in found.chains[chain].rules]


PICKS = """\
chain tcp.v4.app
  # only a SYN begins a flow
  [payload dreg 8 base 2 offset 13 len 1] [bitwise sreg 8 dreg 8 len 1 mask 17] \
[cmp sreg 8 op 1 data 02] [verdict code -4 chain late]
  # its own timeouts
  [objref_timeout name tcp.v4.60s]
  # one of 2 places
  [numgen dreg 8 modulus 2 kind 0] [lookup set table.v4.app sreg 8 dreg 12] \
[payload dreg 8 base 2 offset 2 len 2] [lookup set ports.tcp.v4.app sreg 8 dreg 13] \
[nat kind 1 family 2 address 12 port 13]
"""
MAPS = """\
map services.v4
  06000000c000020100500000 : goto tcp.v4.app
map table.v4.app
  00000000 : 0a010001
  01000000 : 0a010002
"""
ASKS = """\
chain prerouting nat prerouting -101
  # a service?
  [meta dreg 8 key 15] [cmp sreg 8 op 0 data 02] [meta dreg 8 key 16] \
[payload dreg 9 base 1 offset 16 len 4] [payload dreg 10 base 2 offset 2 len 2] \
[lookup set services.v4 sreg 8 dreg 0]
"""
COUNTS = """\
counter l.in.web
counter l.new.web
counter l.out.web
counter s.in.app.10.1.0.1.7000
counter s.in.app.10.1.0.2.7000
counter s.new.app.10.1.0.1.7000
"""


@pytest.mark.parametrize("golden", [PICKS, MAPS, ASKS, COUNTS], ids=["picks", "maps", "asks", "c"])
def test_one_service_reads_so(golden):
    assert golden in str(ruleset(plan(service())))


PICKED = [
    (IN_TURN, ALL, "[numgen dreg 8 modulus 3 kind 0]"),
    (AT_RANDOM, ALL, "[numgen dreg 8 modulus 3 kind 1]"),
    (
        BY_HASH,
        ALL,
        "[payload dreg 8 base 1 offset 12 len 4] [jhash sreg 8 dreg 8 len 4 modulus 3 seed 71]",
    ),
    (
        BY_HASH,
        ALL - 255,
        "[payload dreg 8 base 1 offset 12 len 4] [bitwise sreg 8 dreg 8 len 4 mask ffffff00] "
        "[jhash sreg 8 dreg 8 len 4 modulus 3 seed 71]",
    ),
]


@pytest.mark.parametrize(("pick", "mask", "drawn"), PICKED)
def test_each_pick_draws_a_place(pick, mask, drawn):
    found = ruleset(plan(service(pick=pick, mask=mask, table=(0, 1, 0))))
    assert said(found, "tcp.v4.app")[-1].startswith(drawn + " [lookup set table.v4.app")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=9).filter(any), st.integers(1, 5))
def test_shares_of_the_places_are_the_weights(weights, times):
    """Drawn at random, the order of a table does not matter, so it is as short as it can be."""
    table = tuple(i for i, w in enumerate(weights) for _ in range(w * times))
    servers = tuple(End(A.address + i, 7000) for i in range(len(weights)))
    found = ruleset(plan(service(pick=AT_RANDOM, table=table, servers=servers)))
    places = found.lookups["table.v4.app"].elements
    assert sorted(places) == sorted(i.to_bytes(4, "little") for i in range(len(places)))
    assert len(places) <= sum(weights)
    counts = Counter(places.values())
    for i, weight in enumerate(weights):
        one = servers[i].address & 0xFFFFFFFF
        assert counts[one.to_bytes(4, "big")] * sum(weights) == weight * len(places)


def test_a_table_keeps_its_order_where_it_matters():
    table = (0, 1, 0, 0, 1, 1, 0)
    for pick in (IN_TURN, BY_HASH):
        places = ruleset(plan(service(pick=pick, table=table))).lookups["table.v4.app"].elements
        assert [places[i.to_bytes(4, "little")][-1] - 1 for i in range(7)] == list(table)


def test_a_thousand_addresses_are_one_lookup_and_one_chain():
    vips = [End(VIP.address + i, 80) for i in range(1000)]
    found = ruleset(plan(*(service(vip=vip) for vip in vips)))
    assert len(found.lookups["services.v4"].elements) == 1000
    assert set(found.lookups["services.v4"].elements.values()) == {Verdict(-4, "tcp.v4.app")}
    assert len(found.chains) < 20
    assert len(found.lookups["table.v4.app"].elements) == 2


def test_a_range_of_ports_is_one_chain_and_keeps_its_offset():
    def at(i: int) -> Service:
        servers = tuple(End(s.address, 9000 + i) for s in (A, B))
        vip = End(VIP.address, 8000 + i)
        return service(
            listener=f"web:{8000 + i}", vip=vip, servers=servers, backend=f"app:{i}" if i else "app"
        )

    found = ruleset(plan(*(at(i) for i in range(100))))
    assert len(set(found.lookups["services.v4"].elements.values())) == 1
    ports = found.lookups["ports.tcp.v4.app"].elements
    assert len(ports) == 100
    for i in range(100):
        assert f"l.in.web/{8000 + i}" in found.counters
        assert ports[(8000 + i).to_bytes(2, "big")] == (9000 + i).to_bytes(2, "big")


def test_one_port_that_becomes_two_needs_two_chains():
    other = tuple(End(s.address, 7001) for s in (A, B))
    second = service(vip=End(VIP.address + 1, 80), servers=other)
    found = ruleset(plan(service(), second))
    chains = {v.chain for v in found.lookups["services.v4"].elements.values()}
    assert chains == {"tcp.v4.app", "tcp.v4.app.2"}
    assert {len(found.lookups[f"ports.{chain}"].elements) for chain in chains} == {1}


def test_servers_with_ports_of_their_own():
    found = ruleset(plan(service(servers=(A, End(B.address, 7001)))))
    assert list(found.lookups["table.v4.app"].elements.values()) == [
        bytes.fromhex("0a0100011b580000"),
        bytes.fromhex("0a0100021b590000"),
    ]
    assert said(found, "tcp.v4.app")[-1].endswith(
        "[lookup set table.v4.app sreg 8 dreg 12] [nat kind 1 family 2 address 12 port 13]"
    )


def test_both_families_and_protocols_stand_side_by_side():
    found = ruleset(
        plan(
            service(),
            service(protocol=UDP),
            service(vip=VIP6, servers=(A6, B6)),
            service(vip=VIP6, servers=(A6, B6), protocol=UDP),
        )
    )
    for chain in ("tcp.v4.app", "udp.v4.app", "tcp.v6.app", "udp.v6.app"):
        assert chain in found.chains
        assert any("chain late" in rule for rule in said(found, chain)) == chain.startswith("tcp")
    assert len(said(found, "each")) == 4
    assert "[nat kind 1 family 10 address 12 port 16]" in said(found, "tcp.v6.app")[-1]
    assert "s.in.app.fd00__1.7000" in found.counters


def test_nobody_to_serve_is_counted_and_refused():
    found = ruleset(plan(service(table=()), service(table=(), protocol=UDP)))
    assert said(found, "none.tcp.web") == ["[objref name l.none.web] [reject kind 1]"]
    assert said(found, "none.udp.web") == ["[objref name l.none.web] [reject kind 2]"]


def test_masquerade_is_for_its_services_only():
    found = ruleset(plan(service(mode=MASQUERADE), service(vip=End(VIP.address, 81))))
    assert list(found.lookups["masquerade.v4"].elements) == [service_key(TCP, VIP)]
    last = said(found, "first")[-1]
    assert last.endswith(
        "[immediate dreg 8 data 0400] [immediate dreg 9 data 7fff] [masquerade port 8 port_max 9]"
    )
    assert not any("masquerade" in rule for rule in said(ruleset(plan(service())), "first"))


def test_masquerade_with_addresses_takes_those_of_the_family():
    ours = (End(A.address + 9, 0).address, A6.address + 9)
    found = ruleset(plan(service(mode=MASQUERADE), masquerade_addresses=ours))
    assert list(found.lookups["addresses.v4"].elements.values()) == [b"\x0a\x01\x00\x0a"]
    assert "[nat kind 0 family 2 address 12 port 8 port_max 9]" in said(found, "first")[-1]


def test_masquerade_takes_the_address_on_the_way_and_else_one_of_the_interface():
    own = A.address + 9
    ways = {A.address: own, B.address: None, A6.address: A6.address + 9}
    found = ruleset(plan(service(mode=MASQUERADE)), ways=ways)
    assert found.lookups["ways.v4"].elements == {b"\x0a\x01\x00\x01": b"\x0a\x01\x00\x0a"}
    assert "ways.v6" not in found.lookups
    known, other = said(found, "first")[-2:]
    assert "set ways.v4" in known
    assert known.endswith("[nat kind 0 family 2 address 12 port 8 port_max 9]")
    assert other.endswith("[masquerade port 8 port_max 9]")


def test_interfaces_are_asked_before_anything_else():
    found = ruleset(plan(service()), interfaces=("eth0",))
    assert list(found.lookups["interfaces"].elements) == [b"eth0" + bytes(12)]
    assert "set interfaces" in said(found, "prerouting")[0]
    assert "interfaces" not in str(ruleset(plan(service())))


def test_what_is_kept_is_counted_and_takes_nothing_new():
    other = End(VIP.address + 1, 80)
    kept = Kept({(TCP, other): "old"}, {("past", A)}, {("old", "past")})
    found = ruleset(plan(service()), kept)
    assert service_key(TCP, other) not in found.lookups["services.v4"].elements
    assert found.lookups["in.v4"].elements[service_key(TCP, other)] == Verdict(-3, "in.old")
    assert "s.out.past.10.1.0.1.7000" in found.counters


def test_counters_of_different_things_have_different_names():
    """A name of the file has letters, digits, `_`, `.` and `-`, so they can look alike."""
    names = ["a", "a.10", "a_", "in", "b.10.0.0.1.80", "v4"]
    ends = [end("10.0.0.1:80"), end("[::1]:80"), end("[fd00:10::]:80")]
    made = [rules.listener_counter(k, n) for k in ("in", "out", "new", "none") for n in names]
    made += [
        rules.server_counter(k, n, e) for k in ("in", "out", "new") for n in names for e in ends
    ]
    assert len(set(made)) == len(made)


def test_too_many_places_are_refused():
    table = tuple(i % 2 for i in range(rules.PLACES_MAX + 1))
    with pytest.raises(FoursevenError, match="the tables need more than 1048576 places"):
        ruleset(plan(service(pick=BY_HASH, table=table)))


# ---- as messages ----


def kinds(messages: list[Message]) -> Counter[int]:
    return Counter(message.kind for message in messages)


def test_nothing_changed_is_no_message():
    one, two = (ruleset(plan(service(), service(vip=VIP6, servers=(A6, B6)))) for _ in range(2))
    assert one == two
    assert list(encode.Encoder("t").change(one, two)) == []


def test_a_server_that_leaves_touches_its_table_and_its_rule_alone():
    old = ruleset(plan(service(), service(protocol=UDP)))
    kept = Kept(servers={("app", A)})
    new = ruleset(plan(service(table=(1,)), service(protocol=UDP, table=(1,))), kept)
    found = kinds(list(encode.Encoder("t").change(old, new)))
    assert found == {
        encode.DELETE_ELEMENT: 2,
        encode.NEW_ELEMENT: 1,
        encode.DELETE_RULE: 2,
        encode.NEW_RULE: len(new.chains["tcp.v4.app"].rules) + len(new.chains["udp.v4.app"].rules),
    }


def test_everything_goes_in_the_order_in_which_it_can():
    old = ruleset(plan(service(), service(vip=VIP6, servers=(A6, B6))))
    found = list(encode.Encoder("t").change(old, Ruleset()))
    order = [message.kind for message in found]
    assert order == sorted(
        order,
        key=[
            encode.DELETE_RULE,
            encode.DELETE_SET,
            encode.DELETE_CHAIN,
            encode.DELETE_OBJECT,
        ].index,
    )
    assert kinds(found)[encode.DELETE_SET] == len(old.lookups)
    assert kinds(found)[encode.DELETE_OBJECT] == len(old.counters) + len(old.timeouts)


def test_a_large_table_is_split_into_messages_that_an_attribute_can_hold():
    table = tuple(i % 2 for i in range(65_537))
    found = ruleset(plan(service(pick=BY_HASH, table=table)))
    messages = list(encode.Encoder("t").change(Ruleset(), found))
    assert max(len(message.body) for message in messages) < 65_000
    assert kinds(messages)[encode.NEW_ELEMENT] > 40


def test_every_message_names_its_table():
    found = ruleset(plan(service(mode=MASQUERADE), service(table=(), vip=VIP6, servers=())))
    for message in encode.Encoder("fourseven_x").change(Ruleset(), found):
        assert text_of(attributes(memoryview(message.body))[1]) == "fourseven_x"


def test_equal_plans_of_other_objects_are_equal_rules():
    copied = replace(service(), servers=(*[A], B), table=(*[0], 1))
    assert ruleset(plan(service(), copied)) == ruleset(plan(service(), service()))
