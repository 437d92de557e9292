"""Conntrack's flows as the records that every plane gives, and which of them are asked for.

Filters compare the bytes of a row before anything is made of it: of 400,000 flows a few are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fourseven.l4.kernel_plan import UDP, End
from fourseven.l4.kernel_plane import ESTABLISHED, FlowFilter, FlowRecord
from fourseven.l4.nftables.conntrack import Tracked, now_ns
from fourseven.l4.nftables.rules import TCP_SECONDS, UDP_FIRST_SECONDS, UDP_REPLIED

SECONDS = dict(TCP_SECONDS)


def records(
    flows: Iterator[Tracked], wanted: FlowFilter | None, idle_ms: Mapping[tuple[int, End], int]
) -> Iterator[FlowRecord]:
    """The flows that are wanted; `idle_ms` is how long each service lets a flow be silent."""
    now = now_ns()
    fits = None if wanted is None else Wanted(wanted)
    for flow in flows:
        if fits is None:
            yield record(flow, now, idle_ms)
        elif fits(flow) and fits.old_enough(one := record(flow, now, idle_ms)):
            yield one


def record(flow: Tracked, now: int, idle_ms: Mapping[tuple[int, End], int]) -> FlowRecord:
    vip = End(int.from_bytes(flow.vip, "big"), flow.vip_port)
    masked = (flow.source, flow.source_port) != (flow.client, flow.client_port)
    age_ms = flow.age_ms(now)
    return FlowRecord(
        flow.protocol,
        End(int.from_bytes(flow.client, "big"), flow.client_port),
        vip,
        End(int.from_bytes(flow.server, "big"), flow.server_port),
        flow.state,
        age_ms,
        _silent_ms(flow, age_ms, idle_ms.get((flow.protocol, vip), 0)),
        flow.packets_in,
        flow.bytes_in,
        flow.packets_out,
        flow.bytes_out,
        End(int.from_bytes(flow.source, "big"), flow.source_port) if masked else None,
    )


def _silent_ms(flow: Tracked, age_ms: int, idle_ms: int) -> int:
    """How long a flow has been silent: its whole time less what is left of it, to the second."""
    if flow.protocol == UDP:
        whole = idle_ms if flow.step == UDP_REPLIED else min(idle_ms, UDP_FIRST_SECONDS * 1000)
    elif flow.state == ESTABLISHED:
        whole = idle_ms
    else:
        whole = SECONDS.get(flow.step, 0) * 1000
    silent = max(0, whole - flow.left_s * 1000)
    return silent if age_ms < 0 else min(silent, age_ms)


class Wanted:
    """A filter, in the form of the rows."""

    def __init__(self, wanted: FlowFilter) -> None:
        self.protocol = wanted.protocol
        self.states = wanted.states
        self.client = wanted.client
        self.least = wanted.older_ms, wanted.idle_ms, wanted.bytes_least
        self.ends = [
            (place, end.address.to_bytes(16, "big"), end.port)
            for place, end in (("vip", wanted.vip), ("server", wanted.server))
            if end is not None
        ]

    def __call__(self, flow: Tracked) -> bool:
        if self.protocol is not None and flow.protocol != self.protocol:
            return False
        for place, address, port in self.ends:
            if getattr(flow, place) != address:
                return False
            if port and getattr(flow, f"{place}_port") != port:
                return False
        if self.client is not None:
            network, mask = self.client
            if int.from_bytes(flow.client, "big") & mask != network & mask:
                return False
        return not self.states or flow.state in self.states

    def old_enough(self, one: FlowRecord) -> bool:
        """One whose beginning is not known is as old as nothing: it fits where nobody asks."""
        older_ms, idle_ms, least = self.least
        old = max(0, one.age_ms) >= older_ms and one.idle_ms >= idle_ms
        return old and one.bytes_in + one.bytes_out >= least
