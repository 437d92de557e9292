"""The flows that netfilter knows: listed, and ended.

Conntrack keeps each flow as two tuples: as it began, and as its answers come. A flow of ours began
at a service's address and is answered by a server's. Only flows whose destination was changed are
asked for; which of them are ours, the caller says.

What a flow has carried and when it began is known where `net.netfilter.nf_conntrack_acct` and
`nf_conntrack_timestamp` are on; they concern flows that begin after that.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fourseven.l4.kernel_plan import MAPPED, TCP, End
from fourseven.l4.kernel_plane import CLOSED, CLOSING, ESTABLISHED, NEW, OPENING
from fourseven.l4.nftables.netlink import (
    CONNTRACK,
    Message,
    Netlink,
    attribute,
    each_attribute,
    nest,
    number,
)

GET, DELETE = 1, 2  # IPCTNL_MSG_CT_GET, _DELETE
ORIGINAL, REPLY, STATUS, PROTOCOL_INFO, TIMEOUT = 1, 2, 3, 4, 7
COUNTS_ORIGINAL, COUNTS_REPLY, ID, ZONE, TIMESTAMP, STATUS_MASK = 9, 10, 12, 18, 20, 26
ANSWERED, ASSURED, DNAT = 0x2, 0x4, 0x20  # IPS_SEEN_REPLY, IPS_ASSURED, IPS_DST_NAT
TCP_STATES = (NEW, OPENING, OPENING, ESTABLISHED, CLOSING, CLOSING, CLOSING, CLOSED, CLOSED)
SETTINGS = Path("/proc/sys/net/netfilter")


class Tracked(NamedTuple):
    """A flow, as conntrack has it."""

    protocol: int
    client: End
    vip: End
    server: End  # who answers
    source: End  # to whom the answers go
    state: str
    step: int  # of TCP's states, as conntrack numbers them; of UDP 1, and 2 once it goes on
    left_s: int  # until conntrack forgets it, if nothing comes
    age_ms: int  # -1: not known
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    original: bytes  # its tuple, number and zone, to name it by
    family: int


def tracked(family: int) -> Iterator[Tracked]:
    """Flows of a family (2 or 10) whose destination was changed."""
    wanted = number(STATUS, DNAT) + number(STATUS_MASK, DNAT)
    now = time.time_ns()
    with Netlink(CONNTRACK) as asking:
        for body in asking.dump(Message(GET, wanted, family=family)):
            found = _flow(body, now, family)
            if found is not None:
                yield found


def end_flows(flows: Iterable[Tracked]) -> int:
    """Makes the kernel forget flows; how many of them it still knew."""
    with Netlink(CONNTRACK) as asking:
        return asking.each(Message(DELETE, flow.original, family=flow.family) for flow in flows)


def setting(name: str) -> str:
    """A setting of conntrack in this network namespace; empty where it cannot be read."""
    try:
        return (SETTINGS / f"nf_conntrack_{name}").read_text().strip()
    except OSError:
        return ""


def set_setting(name: str, value: str) -> bool:
    try:
        (SETTINGS / f"nf_conntrack_{name}").write_text(value)
    except OSError:
        return False
    return True


def _flow(body: memoryview, now: int, family: int) -> Tracked | None:
    found = dict(each_attribute(body))
    try:
        status = int.from_bytes(found[STATUS], "big")
        if not status & DNAT:
            return None
        protocol, client, vip = _tuple(found[ORIGINAL])
        _, server, source = _tuple(found[REPLY])
    except (KeyError, struct.error):  # a protocol without ports
        return None
    name = nest(ORIGINAL, bytes(found[ORIGINAL]))
    for kind in (ID, ZONE):
        if kind in found:
            name += attribute(kind, bytes(found[kind]))
    return Tracked(
        protocol,
        client,
        vip,
        server,
        source,
        *_state(protocol, status, found),
        int.from_bytes(found.get(TIMEOUT, b""), "big"),
        _age(found.get(TIMESTAMP), now),
        *_counts(found.get(COUNTS_ORIGINAL)),
        *_counts(found.get(COUNTS_REPLY)),
        name,
        family,
    )


def _tuple(data: memoryview) -> tuple[int, End, End]:
    outer = dict(each_attribute(data))
    addresses = dict(each_attribute(outer[1]))
    protocol = dict(each_attribute(outer[2]))
    ports = [int.from_bytes(protocol[kind], "big") for kind in (2, 3)]
    if 1 in addresses:
        ends = [int.from_bytes(addresses[kind], "big") | MAPPED for kind in (1, 2)]
    else:
        ends = [int.from_bytes(addresses[kind], "big") for kind in (3, 4)]
    return protocol[1][0], End(ends[0], ports[0]), End(ends[1], ports[1])


def _state(protocol: int, status: int, found: dict[int, memoryview]) -> tuple[str, int]:
    if protocol != TCP:
        return (ESTABLISHED if status & ANSWERED else NEW), (2 if status & ASSURED else 1)
    inside = dict(each_attribute(found.get(PROTOCOL_INFO, memoryview(b""))))
    tcp = dict(each_attribute(inside.get(1, memoryview(b""))))
    step = tcp[1][0] if 1 in tcp else 0
    return (TCP_STATES[step] if step < len(TCP_STATES) else OPENING), step  # 9: both sent SYN


def _counts(data: memoryview | None) -> tuple[int, int]:
    if data is None:
        return 0, 0
    found = dict(each_attribute(data))
    return int.from_bytes(found.get(1, b""), "big"), int.from_bytes(found.get(2, b""), "big")


def _age(data: memoryview | None, now: int) -> int:
    if data is None:
        return -1
    began = int.from_bytes(dict(each_attribute(data)).get(1, b""), "big")
    return max(0, now - began) // 1_000_000 if began else -1
