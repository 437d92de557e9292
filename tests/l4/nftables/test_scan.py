"""Conntrack's listing as rows: one table of messages, through the compiled module and its twin."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fourseven
from fourseven.l4.kernel_plan import TCP, UDP, end
from fourseven.l4.kernel_plane import CLOSED, CLOSING, ESTABLISHED, NEW, OPENING
from fourseven.l4.nftables import scan
from fourseven.l4.nftables.conntrack import DNAT, FIELDS, Tracked
from fourseven.l4.nftables.netlink import FAMILY, HEADER, attribute, nest, number

FLOW, OTHER, DONE = 0x100, 0x101, 3


def interpreted():
    path = Path(fourseven.__file__).parent / "l4" / "nftables" / "scan.py"
    spec = importlib.util.spec_from_file_location("scan_interpreted", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.rows


TWIN = interpreted()


def scanned(data: bytes, room: int = 8) -> tuple[list[Tracked], bool]:
    """What both say; they must say the same."""
    one, other = bytearray(room * scan.ROW), bytearray(room * scan.ROW)
    found = scan.rows(data, one)
    assert TWIN(data, other) == found
    count = found & ~scan.ENDED
    used = count * scan.ROW
    assert one[:used] == other[:used]
    each = [Tracked._make(row) for row in FIELDS.iter_unpack(one[:used])]
    return each, bool(found & scan.ENDED)


def message(body: bytes, kind: int = FLOW) -> bytes:
    body = FAMILY.pack(2, 0, 0) + body
    return HEADER.pack(HEADER.size + len(body), kind, 2, 7, 0) + body + bytes(-len(body) % 4)


def ends(kind: int, protocol: int, source: str, destination: str) -> bytes:
    one, other = end(source), end(destination)
    size, first = (4, 1) if one.is_v4 else (16, 3)
    addresses = [
        attribute(first + i, x.address.to_bytes(16, "big")[-size:])
        for i, x in enumerate((one, other))
    ]
    ports = [attribute(2 + i, struct.pack(">H", x.port)) for i, x in enumerate((one, other))]
    return nest(kind, nest(1, *addresses), nest(2, attribute(1, bytes((protocol,))), *ports))


def big(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">Q", value))


CLIENT, VIP, SERVER, OURS = "10.0.0.9:40000", "192.0.2.1:80", "10.1.0.1:7000", "10.1.0.254:1024"
CLIENT6, VIP6, SERVER6 = "[fd00::9]:40000", "[2001:db8::1]:53", "[fd00:1::1]:5353"


def tcp(status: int = DNAT | 2 | 4, step: int = 3, more: bytes = b"") -> bytes:
    inside = nest(4, nest(1, attribute(1, bytes((step,))), attribute(2, b"\7")))
    return (
        ends(1, TCP, CLIENT, VIP) + ends(2, TCP, SERVER, OURS) + number(3, status) + inside + more
    )


def udp(status: int) -> bytes:
    return ends(1, UDP, CLIENT6, VIP6) + ends(2, UDP, SERVER6, CLIENT6) + number(3, status)


def test_a_flow_has_everything_that_is_known_of_it():
    more = number(7, 55)
    more += nest(9, big(1, 11), big(2, 1200)) + nest(10, big(1, 9), big(2, 900))
    more += number(12, 0xDEADBEEF) + attribute(18, b"\0\5") + nest(20, big(1, 1 << 60), big(2, 99))
    (flow,), ended = scanned(message(tcp(more=more)))
    assert not ended
    for place, said in [("client", CLIENT), ("vip", VIP), ("server", SERVER), ("source", OURS)]:
        assert getattr(flow, place) == end(said).address.to_bytes(16, "big")
        assert getattr(flow, f"{place}_port") == end(said).port
    assert (flow.protocol, flow.family, flow.step, flow.state) == (TCP, 4, 3, ESTABLISHED)
    assert (flow.packets_in, flow.bytes_in, flow.packets_out, flow.bytes_out) == (11, 1200, 9, 900)
    assert (flow.left_s, flow.began_ns, flow.id) == (55, 1 << 60, 0xDEADBEEF)
    assert (flow.zone, flow.has_zone) == (5, 1)
    assert flow.age_ms((1 << 60) + 5_000_000) == 5
    assert ends(1, TCP, CLIENT, VIP) + number(12, 0xDEADBEEF) in flow.name()
    assert attribute(18, b"\0\5") in flow.name()


def test_what_is_not_known_is_zero():
    (flow,), _ = scanned(message(udp(DNAT)))
    assert (flow.packets_in, flow.bytes_out, flow.began_ns, flow.has_zone) == (0, 0, 0, 0)
    assert flow.age_ms(1 << 60) == -1
    assert flow.server == end(SERVER6).address.to_bytes(16, "big")
    assert ends(1, UDP, CLIENT6, VIP6) in flow.name()


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (udp(DNAT), NEW),
        (udp(DNAT | 2), ESTABLISHED),
        (udp(DNAT | 2 | 4), ESTABLISHED),
        *((tcp(step=step), OPENING) for step in (1, 2, 9)),
        *((tcp(step=step), CLOSING) for step in (4, 5, 6)),
        *((tcp(step=step), CLOSED) for step in (7, 8)),
    ],
)
def test_states(body, state):
    (flow,), _ = scanned(message(body))
    assert flow.state == state


NOT_OURS = [
    tcp(status=2),  # its destination is its own
    ends(1, TCP, CLIENT, VIP) + number(3, DNAT),  # no answer's tuple
    ends(2, TCP, SERVER, OURS) + number(3, DNAT),
    tcp().replace(struct.pack("<HHH", 6, 2, 0x409C), struct.pack("<HHH", 6, 9, 0x409C)),  # no port
    tcp(step=3)[:30],
    b"",
]


@pytest.mark.parametrize("body", NOT_OURS)
def test_what_is_none_of_ours_is_no_row(body):
    assert scanned(message(body) + message(udp(DNAT)))[0] == scanned(message(udp(DNAT)))[0]


def test_reads_end_where_the_listing_ends():
    data = message(tcp()) + message(udp(DNAT)) + message(b"", DONE) + message(tcp())
    flows, ended = scanned(data)
    assert ([flow.protocol for flow in flows], ended) == ([TCP, UDP], True)
    assert scanned(message(tcp(), OTHER)) == ([], False)
    assert len(scanned(message(tcp()) * 9, room=4)[0]) == 4  # never more than there is room for


def test_a_read_may_be_cut_anywhere():
    data = message(tcp(more=nest(9, big(1, 1), big(2, 2))))
    for size in range(len(data)):
        assert scanned(data[:size])[0] == []


def test_lengths_that_lie_are_not_followed():
    data = bytearray(message(tcp(more=nest(20, big(1, 7)))))
    for at in range(HEADER.size, len(data)):
        for value in (0, 1, 3, 0x7F, 0xFF):
            changed = bytes(data[:at]) + bytes((value,)) + bytes(data[at + 1 :])
            scanned(changed)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_noise(data):
    scanned(data)
    scanned(message(data))
