"""The rows of the table: what is sent, how it is counted, and what the issue asks for.

A bar is a ratio between a way of ours and another's: rates must be at least so many times the
other's, times at most. Laws: a row is data; nothing here starts or measures.
"""

from __future__ import annotations

from dataclasses import dataclass

ROUTING, BY_HAND, HAPROXY = "plain routing", "nftables by hand", "haproxy"
TCX, MASQUERADE, XDP, NFTABLES, RELAY = "tcx", "tcx masquerade", "xdp", "nftables", "relay"
TCX_MANY = "tcx 1000 x 1000"


@dataclass(frozen=True, slots=True)
class Work:
    """One row. `better` is which way the figure should go."""

    name: str
    title: str
    unit: str
    more_is_better: bool = True
    digits: int = 0
    ways: tuple[str, ...] = ()  # empty: every one
    times: int = 1  # as many rounds as the run has; of what scatters more, a multiple


@dataclass(frozen=True, slots=True)
class Bar:
    """`ours` over `other` in one work: at least (or, for times, at most) `bound`."""

    work: str
    ours: str
    other: str
    bound: float


KERNEL = (
    ROUTING,
    BY_HAND,
    TCX,
    TCX_MANY,
    MASQUERADE,
    XDP,
    NFTABLES,
)  # where one core's packet rate can be told
NOT_HAPROXY = (*KERNEL, RELAY)

WORKS = (
    Work("bulk-up", "bulk, client to server", "Gbit/s", digits=1, times=2),
    Work("bulk-down", "bulk, server to client", "Gbit/s", digits=1, times=2),
    Work("requests", "keep-alive requests, 64 connections", "req/s"),
    Work("connections", "a new connection per request", "conn/s"),
    Work("ping", "round trip, p50, all on one core", "µs", more_is_better=False, digits=1),
    Work("datagrams", "small datagrams, 64 flows", "pps", ways=NOT_HAPROXY),
    Work("pps-64", "one core's packets, 64 flows", "Mpps", digits=2, ways=KERNEL),
    Work("pps-16k", "one core's packets, 16,384 flows", "Mpps", digits=2, ways=KERNEL),
    Work("pps-new", "one core's packets, every one a new flow", "Mpps", digits=2, ways=KERNEL),
)


def bars(ours: str, other: str, **bounds: float) -> list[Bar]:
    return [Bar(work.replace("_", "-"), ours, other, bound) for work, bound in bounds.items()]


BARS = (
    *bars(TCX, ROUTING, bulk_up=1.0, bulk_down=1.0, requests=1.03, connections=1.05, ping=0.95),
    *bars(TCX, ROUTING, pps_64=1.0, pps_16k=0.6),
    *bars(XDP, ROUTING, pps_64=3.0, pps_16k=2.0, pps_new=1.1),
    *bars(TCX, BY_HAND, bulk_up=1.0, bulk_down=1.0, requests=1.12, connections=1.2, ping=0.85),
    *bars(XDP, BY_HAND, pps_64=4.9, pps_16k=6.0, pps_new=10.0),
    *bars(TCX, HAPROXY, bulk_up=2.0, bulk_down=1.35, requests=1.6, connections=1.4, ping=0.40),
    *bars(TCX_MANY, TCX, requests=0.91, connections=0.91, ping=1.1),  # a cost of 1.1 at most
    *bars(TCX_MANY, TCX, pps_64=0.91, pps_16k=0.91, pps_new=0.91),
)


def judged_in(work: str) -> set[str]:
    """The ways that a bar of a work is about."""
    return {way for bar in BARS if bar.work == work for way in (bar.ours, bar.other)}


EXTRAS = {  # measured by themselves: extras.py
    "rest": "the control plane at rest",
    "change": "until a change of one server in 1,000 is in the data path",
    "flood": "established and new connections under a flood of SYNs",
}
CHANGE_MS = 50  # at most
