"""Why a packet was not served is counted by its listener, once, whatever the reason."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from fourseven.l4.kernel_plan import IN_TURN, ROUTED, TCP, UDP, End, KernelPlan, Service, end
from fourseven.l4.kernel_plane import PlaneCounts
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.tables import REASONS
from fourseven.l4.program.xdp import XdpWire
from support.network import why_not
from support.one_way import Stage, one_way
from support.packets_l4 import datagram, segment

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")

SYN, ACK = 2, 16
CLIENT, VIP, SHARED = end("10.1.0.1:4000"), end("10.2.0.1:80"), end("10.2.0.2:80")
SERVER = end("10.3.0.1:8080")


@pytest.fixture(scope="module", autouse=True)
def network():
    with one_way():
        yield


def service(listener: str, vip: End, protocol: int = TCP) -> Service:
    every = (1 << 128) - 1
    return Service(listener, vip, protocol, IN_TURN, (0,), (SERVER,), every, 300_000, ROUTED, "all")


PLAN = KernelPlan(
    (
        service("web", VIP),
        service("web", end("10.2.0.1:443")),
        service("one", SHARED),
        service("other", end("10.2.0.2:53"), UDP),
    )
)


@pytest.fixture(scope="module", params=[SkbWire, XdpWire])
def stage(request):
    with Stage(PLAN, request.param) as made:
        yield made


def told(stage: Stage, before: PlaneCounts) -> tuple[dict, dict, int]:
    """What was counted since: of `web`, of the plane, and how often `web` was passed."""
    now = stage.rows.counters()
    assert now.listeners["one"].drops == now.listeners["other"].drops == {}
    web, was = now.listeners["web"], before.listeners["web"]

    def more(here: dict, there: dict) -> dict:
        return {k: n - there.get(k, 0) for k, n in here.items() if n != there.get(k, 0)}

    return more(web.drops, was.drops), more(now.drops, before.drops), web.passed - was.passed


def changed(raw: bytes, at: int, new: bytes) -> bytes:
    return raw[:at] + new + raw[at + len(new) :]


def to(vip: End, flags: int = SYN) -> bytes:
    return segment(CLIENT, vip, flags, 8, 9)


LATER = struct.pack(">H", 0x2000 | 100)  # of a fragment that is neither first nor last
TTL, PIECE, VERSION, LENGTH = 22, 20, 14, 16
UNREADABLE = {
    "a header of no length": (lambda vip: changed(to(vip), VERSION, b"\x40"), "malformed"),
    "another version": (lambda vip: changed(to(vip), VERSION, b"\x65"), "malformed"),
    "less than TCP's header": (lambda vip: changed(to(vip), LENGTH, b"\0\x20"), "malformed"),
    "it breaks off": (lambda vip: to(vip)[:50], "malformed"),
    "a fragment by itself": (lambda vip: changed(to(vip), PIECE, LATER), "fragment"),
}


@pytest.mark.parametrize("what", UNREADABLE)
@pytest.mark.parametrize("vip", [VIP, SHARED, end("10.2.0.3:80")], ids=["its own", "shared", "not"])
def test_what_has_no_port_is_counted_by_its_address(stage, what, vip):
    make, reason = UNREADABLE[what]
    before = stage.rows.counters()
    raw = make(vip)
    assert stage.run(raw) == (stage.wire.PASS, raw)
    mine = {reason: 1} if vip == VIP and stage.wire.LAST else {}
    planes = {reason: 1} if vip == SHARED and stage.wire.LAST else {}
    assert told(stage, before) == (mine, planes, len(mine))


@pytest.mark.parametrize(
    ("flags", "reason"), [(SYN, "ttl"), (ACK, "ttl"), (SYN, "too_big"), (ACK, "too_big")]
)
def test_what_its_sender_is_told_is_counted(stage, flags, reason):
    if flags == ACK:  # of a flow that stands
        asked = stage.run(to(VIP))[1]
        server, client = End(SERVER.address, 8080), CLIENT
        assert asked[30:34] == b"\x0a\x03\x00\x01"
        assert stage.run(segment(server, client, SYN | ACK, 8, 1))[0] == stage.wire.SENT
        assert stage.run(to(VIP, ACK))[0] == stage.wire.SENT
    before = stage.rows.counters()
    raw = to(VIP, flags)
    if reason == "ttl":
        raw = changed(raw, TTL, b"\1")
    else:
        raw = changed(raw + bytes(1600), LENGTH, struct.pack(">H", 1640))
    action, out = stage.run(raw)
    assert told(stage, before) == ({reason: 1} if stage.wire.LAST else {}, {}, 0)
    if stage.wire.LAST:
        assert (action, out[23], out[30:34]) == (stage.wire.SENT, 1, b"\x0a\x01\x00\x01")  # ICMP
    else:  # the program behind tells and counts
        assert (action, out) == (stage.wire.PASS, raw)


def test_a_later_fragment_is_its_first_ones_listeners(stage):
    first = changed(datagram(CLIENT, end("10.2.0.2:53")), PIECE, b"\x20\x00")
    assert stage.run(first)[0] == stage.wire.SENT
    before = stage.rows.counters()
    late = changed(changed(first, PIECE, LATER), TTL, b"\1")
    action, _ = stage.run(late)
    after = stage.rows.counters()
    if not stage.wire.LAST:
        assert action == stage.wire.PASS
        assert after == before
        return
    assert action == stage.wire.DROP
    assert after.listeners["other"].drops == {"ttl": 1}
    after.listeners["other"].drops.clear()
    assert after == before


def test_an_address_that_changes_hands_counts_for_its_new_listener():
    broken = changed(to(VIP), VERSION, b"\x65")
    with Stage(PLAN) as stage:
        stage.run(broken)
        stage.apply(KernelPlan((service("new", VIP), service("one", SHARED))))
        stage.run(broken)
        stage.run(changed(to(SHARED), VERSION, b"\x65"))
        found = stage.rows.counters()
        assert found.listeners["new"].drops == {"malformed": 1}
        assert found.listeners["one"].drops == {"malformed": 1}
        stage.apply(KernelPlan(()))
        stage.run(broken)
        assert found.drops == stage.rows.counters().drops == {}


def test_every_reason_is_told_of_in_the_docs():
    page = Path(__file__).resolve().parents[2].joinpath("docs/kernel-flows.md").read_text()
    assert [reason for reason in REASONS if f"| `{reason}` |" not in page] == []
