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
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fourseven.l4.kernel_plan import TCP, End
from fourseven.l4.kernel_plane import CLOSED, CLOSING, ESTABLISHED, NEW, OPENING
from fourseven.l4.nftables.netlink import (
    CONNTRACK,
    ROOM,
    Message,
    Netlink,
    attribute,
    attributes,
    nest,
    number,
)
from fourseven.l4.nftables.scan import ENDED, ROW, rows

GET, DELETE, STATISTICS = 1, 2, 4  # IPCTNL_MSG_CT_GET, _DELETE, _GET_STATS_CPU
INSERT_FAILED = 9  # CTA_STATS_INSERT_FAILED
ORIGINAL, STATUS, ID, ZONE, STATUS_MASK = 1, 3, 12, 18, 26  # CTA_*
DNAT = 0x20  # IPS_DST_NAT
TCP_STATES = (NEW, OPENING, OPENING, ESTABLISHED, CLOSING, CLOSING, CLOSING, CLOSED, CLOSED)
SETTINGS = Path("/proc/sys/net/netfilter")
AF = {4: 2, 6: 10}
AT_ONCE = ROOM // 64  # flows in one read: each takes more than half a row

KEY = slice(3, 22)  # of a row: the service (protocol, address, port)
SERVER = slice(22, 40)  # who answers
WHO = slice(0, 40)  # what flows are counted by
FIELDS = struct.Struct(">BBBB16sH16sH16sH16sHIQQQQQIHBx")
assert FIELDS.size == ROW


class Tracked(NamedTuple):
    """A flow, as conntrack has it: a row of scan.py."""

    step: int  # of TCP's states, as conntrack numbers them; of UDP 1, and 2 once it goes on
    answered: int
    family: int  # 4 or 6
    protocol: int
    vip: bytes
    vip_port: int
    server: bytes  # who answers
    server_port: int
    client: bytes
    client_port: int
    source: bytes  # to whom the answers go
    source_port: int
    left_s: int  # until conntrack forgets it, if nothing comes
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    began_ns: int  # 0: not known
    id: int
    zone: int
    has_zone: int

    @property
    def state(self) -> str:
        return state_of(self.protocol, self.step, self.answered)

    def age_ms(self, now_ns: int) -> int:
        """-1: not known."""
        return max(0, now_ns - self.began_ns) // 1_000_000 if self.began_ns else -1

    def name(self) -> bytes:
        """What the kernel knows it by."""
        size, first = (4, 1) if self.family == 4 else (16, 3)
        ends = attribute(first, self.client[-size:]) + attribute(first + 1, self.vip[-size:])
        ports = (self.client_port, self.vip_port)
        carried = attribute(1, bytes((self.protocol,)))
        carried += b"".join(attribute(2 + i, struct.pack(">H", p)) for i, p in enumerate(ports))
        found = nest(ORIGINAL, nest(1, ends), nest(2, carried)) + number(ID, self.id)
        return found + (attribute(ZONE, struct.pack(">H", self.zone)) if self.has_zone else b"")


def state_of(protocol: int, step: int, answered: int) -> str:
    if protocol != TCP:
        return ESTABLISHED if answered else NEW
    return TCP_STATES[step] if step < len(TCP_STATES) else OPENING  # 9: both sent SYN


def key_of(protocol: int, end: End) -> bytes:
    """A service as rows have it."""
    return bytes((protocol,)) + end_of(end)


def end_of(end: End) -> bytes:
    """An address and a port as rows have them."""
    return end.address.to_bytes(16, "big") + end.port.to_bytes(2, "big")


def listing(version: int) -> Iterator[bytes]:
    """The rows of all flows of a family (4 or 6) whose destination was changed, some at a time."""
    wanted = number(STATUS, DNAT) + number(STATUS_MASK, DNAT)
    into = bytearray(ROW * AT_ONCE)
    with Netlink(CONNTRACK) as asking:
        asking.begin(Message(GET, wanted, family=AF[version]))
        found = 0
        while not found & ENDED:
            found = rows(asking.read(), into)
            yield bytes(memoryview(into)[: (found & ~ENDED) * ROW])


def tally(version: int) -> Counter[bytes]:
    """How many flows there are of each step, service and server: by WHO of their rows."""
    found = Counter[bytes]()
    for some in listing(version):
        found.update([some[at : at + 40] for at in range(0, len(some), ROW)])
    return found


def tracked(version: int, keys: Iterable[bytes]) -> Iterator[Tracked]:
    """The flows of these services."""
    wanted = frozenset(keys)
    for some in listing(version):
        for at in range(0, len(some), ROW):
            if some[at + 3 : at + 22] in wanted:
                yield Tracked._make(FIELDS.unpack_from(some, at))


def end_flows(flows: Iterable[Tracked]) -> int:
    """Makes the kernel forget flows; how many of them it still knew."""
    with Netlink(CONNTRACK) as asking:
        return asking.each(Message(DELETE, flow.name(), family=AF[flow.family]) for flow in flows)


def not_inserted() -> int:
    """How many packets that began a flow were dropped, since another flow had its ends already: of
    this network namespace, whoever's they were."""
    with Netlink(CONNTRACK) as asking:
        of_each_cpu = asking.dump(Message(STATISTICS, b"", family=0))
        found = [attributes(row).get(INSERT_FAILED) for row in of_each_cpu]
    return sum(int.from_bytes(count, "big") for count in found if count is not None)


def now_ns() -> int:
    """The clock by which conntrack notes when a flow began."""
    return time.time_ns()


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
