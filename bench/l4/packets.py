"""One core's packet rate: frames that the kernel believes to have received, one after the other.

BPF_PROG_RUN runs an xdp program on frames of the balancer's interface, and what the program decides
happens. The feeder is such a program: it makes each frame the next packet of the next flow (a frame
that was sent comes back to it rewritten, so it writes every header anew) and passes it on. Up into
the kernel it meets what a received packet meets: tcx, netfilter, routing, the veth.

Counted is what arrives at the servers' interfaces, where a program of ours drops it: nothing is
counted that was lost on the way, and no socket is part of the figure. Everything happens on one
core, the feeder's 10 to 20 ns too; the time is the CPU's, so a neighbour's share does not count.

Source: the kernel's Documentation/bpf/bpf_prog_run.rst, "live" frames.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence

from bench.l4.ways import UDP, VIP, XDP
from fourseven.demo.processes import cpu_us
from fourseven.l4.bpf.build import ARRAY, Program
from fourseven.l4.bpf.kernel import NATIVE, TCX_INGRESS, Loaded, Table
from fourseven.l4.bpf.kernel import XDP as XDP_HOOK
from fourseven.l4.bpf.layout import BE16, U16, U32, U64, Array, Header, Struct
from fourseven.l4.headers import SKB, XDP_MD
from support.lab import BALANCER, Lab, many

INDEX = Struct("index", number=U32)
COUNT = Struct("count", number=U64)
ETHERTYPE = Header("ethertype", ends=Array(U16, 6), type=BE16)
XDP_DROP, XDP_PASS, TC_DROP, TC_NEXT = 1, 2, 2, 0xFFFFFFFF
UDP_FRAME = Header(
    "udp_frame",
    start=Array(BE16, 12),  # up to the IPv4 header's checksum
    checksum=BE16,
    source_high=BE16,
    source_low=BE16,
    destination=Array(BE16, 2),
    source_port=BE16,
    rest=Array(BE16, 2),
    sum=BE16,
)
CHUNK = 1 << 16  # frames of one call
FIRST_PORT, PORTS = 10_240, 1024  # a flow is a port and, beyond, the lower half of an address
NEW_APART = 4099  # a round's new flows begin that many addresses on
FRAME = 60  # the smallest, without its check sequence


def base_frame(source: str, target: str, to_mac: bytes, from_mac: bytes, port: int) -> bytes:
    """A datagram of flow 0: the words that never change, and sums over them."""
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    size = FRAME - 14
    ip = struct.pack(">BBHHHBBH", 0x45, 0, size, 1, 0, 64, 17, 0) + ends
    udp = struct.pack(">HHHH", 0, port, size - 20, 0)
    pseudo = ends + struct.pack(">HH", 17, size - 20)
    payload = bytes(FRAME - 14 - 20 - 8)
    ip = ip[:10] + struct.pack(">H", folded(ip)) + ip[12:]
    udp = udp[:6] + struct.pack(">H", folded(pseudo + udp + payload))
    return to_mac + from_mac + b"\x08\x00" + ip + udp + payload


def folded(data: bytes) -> int:
    """The sum of the words, not yet turned over."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def feeder(base: bytes, flows: int, spread: int) -> Program:
    """Makes a frame the next packet: of `flows` flows in turn, or of a new one each when 0."""
    p = Program("bench_feeder", XDP_MD)
    counts = p.map("fed", ARRAY, INDEX, COUNT, 1)
    row = p.lookup(counts, "row", p.stack("key", INDEX))
    with p.when(row.missing):
        p.exit(XDP_DROP)
    number = p.let("number", row.number)
    p.set(row.number, row.number + 1)
    if flows:
        p.set(number, number & (flows - 1))
    frame = p.packet("frame", 0, UDP_FRAME, XDP_DROP)
    words = struct.unpack(">21H", base[:42])
    port = p.let("port", (number & (PORTS - 1)) + FIRST_PORT)
    low = p.let("low", ((number >> 10) + spread) & 0xFFFF)
    for at in range(12):
        p.set(frame.start[at], words[at])
    p.set(frame.source_high, words[13])
    p.set(frame.source_low, low.to(U16).wire())
    for at in range(2):
        p.set(frame.destination[at], words[15 + at])
        p.set(frame.rest[at], words[18 + at])
    p.set(frame.source_port, port.to(U16).wire())
    for field, start, changed in (
        (frame.checksum, words[12], low),
        (frame.sum, words[20], low + port),
    ):
        total = p.let("total", changed + start)
        for _ in range(2):
            p.set(total, (total & 0xFFFF) + (total >> 16))
        p.set(field, (~total).to(U16).wire())
    p.exit(XDP_PASS)
    return p


def counter(context: Struct, drop: int, go_on: int) -> Program:
    """Counts the IPv4 packets of an interface, and drops them."""
    p = Program("bench_counter", context)
    counts = p.map("counted", ARRAY, INDEX, COUNT, 1)
    ethernet = p.packet("ethernet", 0, ETHERTYPE, go_on)
    with p.when(ethernet.type != 0x0800):
        p.exit(go_on)
    row = p.lookup(counts, "row", p.stack("key", INDEX))
    with p.when(row.present):
        p.set(row.number, row.number + 1)
    p.exit(drop)
    return p


class Counted:
    """Counters before the servers' interfaces; what comes there ends there."""

    def __init__(self, lab: Lab, native: bool, stack: contextlib.ExitStack) -> None:
        hook, written = (
            (XDP_HOOK, counter(XDP_MD, XDP_DROP, XDP_PASS))
            if native
            else (TCX_INGRESS, counter(SKB, TC_DROP, TC_NEXT))
        )
        form = written.maps["counted"]
        self.table = stack.enter_context(Table(form))
        loaded = stack.enter_context(Loaded(written.assemble(), {"counted": self.table}, hook))
        for name in lab.servers:
            with lab.inside(name):
                number = socket.if_nametoindex("eth")
                stack.enter_context(loaded.attach(number, hook, NATIVE if native else 0))

    def read(self) -> int:
        row = self.table.get(INDEX.pack(number=0))
        return int(row["number"]) if row else 0


def mac(lab: Lab, name: str, device: str) -> bytes:
    said = lab.run(name, "ip", "-o", "link", "show", device).stdout
    return bytes.fromhex(said.partition("link/ether ")[2].split()[0].replace(":", ""))


@contextlib.contextmanager
def one_core(core: set[int]) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rate(
    lab: Lab,
    way: str,
    flows: int,
    seconds: float,
    core: set[int],
    turn: int,
    softirq: Sequence[int],
) -> tuple[float, int, int]:
    """CPU time spent in µs, packets that came through, and packets fed."""
    source = str(many("client", socket.AF_INET)[0])
    macs = mac(lab, BALANCER, "to-client"), mac(lab, "client", "eth")
    base = base_frame(source, VIP, *macs, UDP)
    written = feeder(base, flows, turn * NEW_APART if not flows else 0)
    with contextlib.ExitStack() as stack:
        arrived = Counted(lab, way == XDP, stack)
        fed = stack.enter_context(Table(written.maps["fed"]))
        loaded = stack.enter_context(Loaded(written.assemble(), {"fed": fed}, XDP_HOOK))
        stack.enter_context(one_core(core))
        stack.enter_context(lab.inside(BALANCER))
        interface = socket.if_nametoindex("to-client")
        loaded.flood(base, interface, max(CHUNK // 4, 3 * flows))  # the flows are made

        def clock() -> float:
            return 1e6 * time.thread_time() + sum(map(cpu_us, softirq))

        before, begun, sent = arrived.read(), clock(), 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            loaded.flood(base, interface, CHUNK)
            sent += CHUNK
        return clock() - begun, arrived.read() - before, sent
