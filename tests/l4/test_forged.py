"""Packets that somebody made up: what they cannot do to flows and handshakes of others."""

from __future__ import annotations

import struct

import pytest

from fourseven.l4.datapath import whole
from fourseven.l4.kernel_plan import IN_TURN, MASQUERADE, ROUTED, TCP, KernelPlan, Service, end
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.tables import INDEX, SEED
from support.network import why_not
from support.one_way import Stage, one_way
from support.packets_l4 import segment
from support.reference_l4 import Packet

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")

SYN, ACK = 2, 16
CLIENT, VIP, SERVER = end("10.1.0.1:4000"), end("10.2.0.1:80"), end("10.3.0.1:8080")
OURS = end("10.9.0.7:0").address
EVERY = (1 << 128) - 1


@pytest.fixture(scope="module", autouse=True)
def network():
    with one_way():
        yield


def stage(mode: int) -> Stage:
    one = Service("web", VIP, TCP, IN_TURN, (0,), (SERVER,), EVERY, 300_000, mode, "all")
    return Stage(KernelPlan((one,), flows_max=4096, masquerade_addresses=(OURS,)))


def test_an_error_keeps_no_flow():
    with stage(ROUTED) as path:
        path.run(segment(CLIENT, VIP, SYN, 8, 0))
        path.run(segment(SERVER, CLIENT, SYN | ACK, 8, 9))
        path.run(segment(CLIENT, VIP, ACK, 9, 9))
        table, at = path.tables["flows4"], path.tables["flows4"].form.value.find("state").offset
        places = [n for n, raw in enumerate(whole(table)) if raw[at]]
        assert len(places) == 2
        ticks = 200 * path.rows.sweep.second
        for number in places:
            key = INDEX.pack(number=number)
            row = table.get(key)
            row["checked"] = row["checked"] - ticks & 0xFFFFFFFF
            table.put(key, table.form.value.pack(**row))
        before = [table.get(INDEX.pack(number=number)) for number in places]
        quoted = segment(VIP, CLIENT, ACK, 8, 9)[14:]  # as though it had met our answer
        error = bytearray(segment(CLIENT, VIP, ACK, 8, 9)[:34] + b"\3\1" + bytes(6) + quoted)
        error[23] = 1  # ICMP
        struct.pack_into(">H", error, 16, len(error) - 14)
        assert path.run(bytes(error))[0] == SkbWire.SENT
        assert [table.get(INDEX.pack(number=number)) for number in places] == before


def test_nobody_foresees_which_port_of_ours_comes_next():
    """Nor which SYNs would push a handshake out: the same seed decides where one stands."""
    drawn = set()
    with stage(MASQUERADE) as path:
        for seed in range(1, 9):
            path.tables["seed"].put(INDEX.pack(number=0), SEED.pack(number=seed << 32 | seed))
            drawn.add(Packet.of(path.run(segment(CLIENT, VIP, SYN, 8, 0))[1]).source.port)
    assert len(drawn) == 8
