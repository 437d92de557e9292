"""The tcx program against the model, packet by packet, run by the kernel that it is meant for."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fourseven.l4.datapath import DataPath
from fourseven.l4.kernel_plan import (
    AT_RANDOM,
    BY_HASH,
    IN_TURN,
    TCP,
    UDP,
    KernelPlan,
    Service,
    end,
)
from fourseven.l4.program.skb import SkbWire
from support.network import own_network, why_not
from support.packets_l4 import RECIPE, packet
from support.reference_l4 import Model, Packet

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")

BATCH = 64  # packets in one example
PACKETS = int(os.environ.get("FOURSEVEN_PACKETS", "20480"))  # more: FOURSEVEN_PACKETS=1000000
PLACES = 1 << 12
PASS = SkbWire.PASS


def services(family: int, count: int = 8) -> list[Service]:
    """By hash on port 80, in turn on port 81, UDP by the hash of a prefix on port 53."""
    at = "10.1.0.{}:{}" if family == 4 else "[fd00::{:x}]:{}"
    servers = tuple(end(at.format(16 + i, 8080)) for i in range(count))
    table = tuple(i * 5 % count for i in range(61))
    every, prefix = (1 << 128) - 1, (1 << 128) - (1 << 3)
    made = []
    for which in (24, 25):
        vip = lambda port, which=which: end(at.format(which, port))  # noqa: E731
        made += [
            Service("web", vip(80), TCP, BY_HASH, table, servers, every, 3_600_000),
            Service("turn", vip(81), TCP, IN_TURN, table, servers, every, 3_600_000),
            Service("dns", vip(53), UDP, BY_HASH, table, servers, prefix, 3_600_000),
        ]
    return made


def plan(*families: int, count: int = 8) -> KernelPlan:
    return KernelPlan(tuple(s for family in families for s in services(family, count)))


@pytest.fixture(scope="module")
def network():
    with own_network():
        yield


@pytest.fixture(params=[(4,), (6,), (4, 6)], ids=["v4", "v6", "both"])
def families(request):
    return request.param


def agree(path: DataPath, model: Model, raw: bytes, seen: Counter) -> None:
    """One packet through both."""
    wanted = model.step(raw)
    action, out = path.loaded.run(raw)
    assert action == PASS, raw.hex()
    if wanted is None:
        assert out == raw, f"touched: {raw.hex()}"
        seen["passed"] += 1
        return
    before, which, to = wanted
    after = Packet.of(out)
    assert after is not None, raw.hex()
    assert after.without_sums() == before.rewritten(to, which), raw.hex()
    assert after.residues() == before.residues(), f"checksums: {raw.hex()}"
    seen["sound"] += after.residues() in ((0, 0), (0, None))
    seen["to a client" if which == 0 else "to a server"] += 1


def test_every_packet_as_the_model_says(network, families):
    seen: Counter = Counter()
    said = plan(*families)
    with DataPath(said, PLACES) as path:
        model = Model(said)

        @settings(
            max_examples=PACKETS // BATCH // 3 + 1,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(
            st.randoms(use_true_random=True),
            st.lists(st.binary(min_size=RECIPE, max_size=RECIPE), max_size=4),
        )
        def play(chance, drawn):
            made = [chance.randbytes(RECIPE) for _ in range(BATCH - len(drawn))]
            for recipe in [*drawn, *made]:
                agree(path, model, packet(recipe), seen)

        play()
        flows = list(path.flows())
        rows = [key for key, flow in model.flows.items() if flow[0] == 1]
        assert {(f.protocol, f.client, f.vip) for f in flows} == set(rows)
        counts = path.counts().values()
        assert sum(row["packets_in"] for row in counts) == seen["to a server"]
        assert sum(row["packets_out"] for row in counts) == seen["to a client"]
    total = seen["passed"] + seen["to a server"] + seen["to a client"]
    assert total >= PACKETS // 3
    for what in ("passed", "to a server", "to a client", "sound"):  # each was truly met
        assert seen[what] > total // 200, (what, seen)


def plain(client: int, flags: int = 2, port: int = 80) -> bytes:
    """TCP over IPv4 from 10.1.0.client to the first service; flags by their place in a recipe."""
    recipe = bytearray(RECIPE)
    recipe[2], recipe[5], recipe[13] = client, {80: 0, 81: 1}[port], {2: 0, 16: 1, 17: 3}[flags]
    return packet(bytes(recipe))


def server(path: DataPath, raw: bytes):
    return Packet.of(path.loaded.run(raw)[1]).destination


def test_an_established_flow_keeps_a_server_that_left(network):
    with DataPath(plan(4), PLACES) as path:
        before = {client: server(path, plain(client)) for client in range(8)}
        fewer = plan(4, count=1)
        path.apply(fewer)
        assert len(set(before.values())) > 2
        after = {client: server(path, plain(client, 16)) for client in range(8)}
        assert after == before
        assert path.counts()[before[3]]["flows"] >= 1
        # a flow that was closed begins anew, among those that are there
        server(path, plain(3, 17))
        assert server(path, plain(3)) == fewer.services[0].servers[0]
        for _ in range(5):  # both halves of the tables, over and over
            path.apply(plan(4))
            path.apply(fewer)
        assert {c: server(path, plain(c, 16)) for c in range(8) if c != 3} == {
            c: s for c, s in before.items() if c != 3
        }


def test_a_way_back_belongs_to_the_flow_that_was_there_first(network):
    with DataPath(plan(4, count=1), PLACES) as path:
        first, second = plain(1), plain(1, port=81)
        there = server(path, first)
        assert path.loaded.run(second) == (PASS, second)  # the same client's port, the same server
        answer = bytearray(plain(1, 16))
        answer[26:30], answer[30:34] = bytes([10, 1, 0, 16]), bytes([10, 1, 0, 1])
        answer[34:38] = (8080).to_bytes(2, "big") + (1000).to_bytes(2, "big")
        assert there == Packet.of(bytes(answer)).source
        assert Packet.of(path.loaded.run(bytes(answer))[1]).source.port == 80
        answer[47] = 4  # RST: the port is free again
        path.loaded.run(bytes(answer))
        assert server(path, second) == there


def test_a_service_that_left_is_the_kernels_again(network):
    with DataPath(plan(4), PLACES) as path:
        path.apply(KernelPlan(plan(4).services[1:]))
        raw = plain(1)
        assert path.loaded.run(raw) == (PASS, raw)


def test_chance_meets_every_server(network):
    said = [replace(s, pick=AT_RANDOM) for s in services(4) if s.vip.port == 81]
    with DataPath(KernelPlan(tuple(said)), PLACES) as path:
        met = set()
        for port in range(400):
            raw = bytearray(plain(1, port=81))
            raw[34:36] = port.to_bytes(2, "big")
            met.add(server(path, bytes(raw)))
        assert met == set(said[0].servers)


def test_what_the_plan_does_not_use_is_not_in_the_program(network):
    from fourseven.l4.program.decide import program

    sizes = [len(program(plan(*f)).assemble().instructions) for f in ((4,), (4, 6))]
    assert sizes[0] < sizes[1]
    listing = program(plan(4)).assemble().listing()
    assert "get_prandom_u32" not in listing
    assert "ip.hops" not in listing  # IPv6 has hops, IPv4 a TTL
    assert "ip.ttl" in listing
