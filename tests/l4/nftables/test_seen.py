"""Which of conntrack's flows fit a filter that asks for their age, their silence and their size."""

from __future__ import annotations

import time

import pytest

from fourseven.l4.kernel_plan import UDP, End
from fourseven.l4.kernel_plane import FlowFilter
from fourseven.l4.nftables.conntrack import Tracked
from fourseven.l4.nftables.rules import UDP_REPLIED
from fourseven.l4.nftables.seen import records

CLIENT, VIP, SERVER = (bytes(10) + b"\xff\xff\x0a\x00\x00" + bytes((i,)) for i in (1, 2, 3))
VIP_END = End(int.from_bytes(VIP, "big"), 80)
HOUR_MS = 3_600_000


def tracked(began_ns: int) -> Tracked:
    """Silent for 60 s of its hour; 300 bytes both ways."""
    ends = (VIP, 80, SERVER, 80, CLIENT, 4000, CLIENT, 4000)
    return Tracked(UDP_REPLIED, 1, 4, UDP, *ends, 3540, 1, 100, 2, 200, began_ns, 7, 0, 0)


@pytest.mark.parametrize(
    ("asked", "known", "unknown"),
    [
        (FlowFilter(), True, True),
        (FlowFilter(older_ms=1), True, False),
        (FlowFilter(older_ms=HOUR_MS), True, False),
        (FlowFilter(older_ms=3 * HOUR_MS), False, False),
        (FlowFilter(idle_ms=60_000), True, True),
        (FlowFilter(idle_ms=60_001), False, False),
        (FlowFilter(bytes_least=300), True, True),
        (FlowFilter(bytes_least=301), False, False),
    ],
)
def test_one_whose_beginning_is_not_known_is_no_older_than_now(asked, known, unknown):
    for began_ns, wanted in ((time.time_ns() - 2 * HOUR_MS * 1_000_000, known), (0, unknown)):
        found = list(records(iter([tracked(began_ns)]), asked, {(UDP, VIP_END): HOUR_MS}))
        assert bool(found) is wanted
        assert all(one.bytes_in + one.bytes_out == 300 for one in found)
