"""Flows as text: each cell and each object as its own words in Python would have it."""

from __future__ import annotations

import json
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.cli import flows as command
from fourseven.l4 import lines, records
from fourseven.l4.kernel_plan import MAPPED, TCP, UDP, End
from fourseven.l4.kernel_plane import ESTABLISHED, FlowRecord
from fourseven.units import format_duration, format_size

addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda low: MAPPED | low),
    st.lists(st.sampled_from([0, 0, 1, 0xAB, 0xFFFF, 0x0DB8]), min_size=8, max_size=8).map(
        # (what begins with so many zeros is no address of a flow; some write it with dots)
        lambda words: int.from_bytes(
            b"".join(word.to_bytes(2, "big") for word in [0x2001, *words[1:]]), "big"
        )
    ),
)
ends = st.builds(End, addresses, st.integers(0, 65_535))
amounts = st.one_of(
    st.integers(0, 2**64 - 1),
    st.builds(lambda n, by: n << by, st.integers(0, 2000), st.integers(0, 50)),
)
times = st.one_of(st.just(-1), st.integers(0, 2**40), st.integers(0, 500).map(lambda n: n * 60_000))
flows = st.builds(
    FlowRecord,
    st.sampled_from([TCP, UDP, 132]),
    ends,
    ends,
    ends,
    st.sampled_from(command.STATES),
    times,
    times,
    *[amounts] * 4,
    st.none() | ends,
)


def as_words(one: FlowRecord) -> list[str]:
    def time(ms: int) -> str:
        return format_duration(ms // 1000 * 1000) if ms >= 1000 else "<1s"

    return [
        {TCP: "tcp", UDP: "udp"}.get(one.protocol, str(one.protocol)),
        *(str(end) for end in (one.client, one.vip, one.server)),
        one.state,
        *(time(ms) for ms in (one.age_ms, one.idle_ms)),
        *(format_size(size) for size in (one.bytes_in, one.bytes_out)),
    ]


@given(st.lists(flows, max_size=20))
def test_records_and_text_say_what_the_flows_are(found):
    packed = b"".join(records.packed(found))
    assert list(records.flows([packed])) == found
    shown = b"".join(command.as_table([("tcx", packed)] if packed else [])).decode()
    wanted = [list(command.HEADS), *map(as_words, found)]
    widths = [max(map(len, column)) for column in zip(*wanted, strict=True)]
    assert shown == "".join(
        "  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in wanted
    )
    said = json.loads(b"".join(map(bytes, command.as_json([("tcx", packed)] if packed else []))))
    assert [one.pop("plane") for one in said] == ["tcx"] * len(found)
    assert said == [
        {
            "protocol": {TCP: "tcp", UDP: "udp"}.get(one.protocol, one.protocol),
            "client": str(one.client),
            "vip": str(one.vip),
            "server": str(one.server),
            "source": None if one.source is None else str(one.source),
            **{
                name: getattr(one, name)
                for name in (
                    "state",
                    "age_ms",
                    "idle_ms",
                    "packets_in",
                    "bytes_in",
                    "packets_out",
                    "bytes_out",
                )
            },
        }
        for one in found
    ]


KEYS = {
    "bytes": lambda one: one.bytes_in + one.bytes_out,
    "packets": lambda one: one.packets_in + one.packets_out,
    "age": lambda one: one.age_ms,
    "idle": lambda one: one.idle_ms,
}
END = End(MAPPED | 1, 80)


def numbered(count: int) -> list[FlowRecord]:
    def one(n: int) -> FlowRecord:
        key = n * 7919 % count
        return FlowRecord(TCP, END, END, END, ESTABLISHED, key, key, key, n % 2, key, 2 * key)

    return [one(n) for n in range(count)]


@pytest.mark.parametrize("by", KEYS)
@pytest.mark.parametrize("limit", [0, 1, 5, 300])
def test_the_largest_of_all_planes_come_first(by, limit):
    some = numbered(251)
    parts = [("tcx", some[:100]), ("nftables", some[100:101]), ("tcx", some[101:])]
    given_ = ((plane, b"".join(records.packed(part))) for plane, part in parts)
    kept = command.chosen(given_, by, limit)
    found = list(records.flows(part for _, part in kept))
    keys = [KEYS[by](one) for one in found]
    assert keys == sorted(map(KEYS[by], some), reverse=True)[: limit or None]
    of = [plane for plane, part in kept for _ in range(len(part) // command.SIZE)]
    special = KEYS[by](some[100])
    assert all(
        (plane == "nftables") == (key == special) for plane, key in zip(of, keys, strict=True)
    )


@pytest.mark.parametrize(
    ("limit", "wanted"), [(0, 251), (100, 100), (101, 101), (1, 1), (999, 251)]
)
def test_the_first_that_come(limit, wanted):
    some = numbered(251)
    given_ = (("tcx", b"".join(records.packed(some[at : at + 50]))) for at in range(0, 251, 50))
    kept = command.chosen(given_, None, limit)
    assert list(records.flows(part for _, part in kept)) == some[:wanted]


def test_room_that_does_not_suffice_is_refused():
    packed = b"".join(records.packed(numbered(3)))
    widths = array("I", [10] * 9)
    for call in (
        lambda: lines.measure(packed, widths[:8]),
        lambda: lines.text(packed, widths[:8], bytearray(9999)),
        lambda: lines.text(packed, widths, bytearray(500)),
        lambda: lines.json(packed, b"tcx", bytearray(lines.LINE_MAX)),
        lambda: lines.json(packed, b"", bytearray(9999)),
        lambda: lines.json(packed, b"x" * 33, bytearray(9999)),
    ):
        with pytest.raises(ValueError):
            call()
