"""One core's packet rate: frames that the kernel believes to have received, one after the other.

BPF_PROG_RUN runs an xdp program on frames of the balancer's interface, and what the program decides
happens. The feeder is such a program: it makes each frame the next packet of the next flow (a frame
that was sent comes back to it rewritten, so it writes every header anew) and passes it on. Up into
the kernel it meets what a received packet meets: tcx, netfilter, routing, the veth. For the xdp
plane it goes on (a tail call) in the program that stands before that interface.

Counted is what arrives at the servers' interfaces, where a program of ours drops it: nothing is
counted that was lost on the way, and no socket is part of the figure. Everything happens on one
core, the feeder's 10 to 20 ns too; the time is the CPU's, so a neighbour's share does not count.

Source: the kernel's Documentation/bpf/bpf_prog_run.rst, "live" frames.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import time
from collections.abc import Iterator, Sequence

from bench.l4.frames import COUNT, INDEX, XDP_DROP, XDP_PASS, base, feeder
from bench.l4.frames import UDP as UDP_PROTOCOL
from bench.l4.ways import UDP, VIP, XDP
from fourseven.demo.processes import Failed, cpu_us
from fourseven.l4.bpf.build import ARRAY, Program
from fourseven.l4.bpf.kernel import NATIVE, TCX_INGRESS, Descriptor, Loaded, Table, bpf
from fourseven.l4.bpf.kernel import XDP as XDP_HOOK
from fourseven.l4.bpf.layout import BE16, U16, Array, Header, Struct
from fourseven.l4.headers import SKB, XDP_MD
from support.lab import BALANCER, Lab, many

ETHERTYPE = Header("ethertype", ends=Array(U16, 6), type=BE16)
TC_DROP, TC_NEXT = 2, 0xFFFFFFFF
PROG_GET_FD_BY_ID = 13
CHUNK = 1 << 16  # frames of one call
NEW_APART = 4099  # a round's new flows begin that many addresses on


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


def macs(lab: Lab) -> tuple[bytes, bytes]:
    """The balancer's and the client's on the link between them."""
    return mac(lab, BALANCER, "to-client"), mac(lab, "client", "eth")


def mac(lab: Lab, name: str, device: str) -> bytes:
    said = lab.run(name, "ip", "-o", "link", "show", device).stdout
    return bytes.fromhex(said.partition("link/ether ")[2].split()[0].replace(":", ""))


def attached_xdp(lab: Lab, device: str) -> Descriptor:
    """The xdp program that stands before an interface of the balancer."""
    said = lab.run(BALANCER, "ip", "-o", "link", "show", device).stdout
    found = re.search(r"prog/xdp id (\d+)", said)
    if found is None:
        raise Failed(f"no xdp program stands before {device}: {said.strip()}")
    wanted = struct.pack("=II", int(found[1]), 0)
    return Descriptor(bpf(PROG_GET_FD_BY_ID, wanted, "opening the xdp program")[0])


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
    made = base(UDP_PROTOCOL, source, (VIP, UDP), macs(lab))
    spread = turn * NEW_APART if not flows else 0
    written = feeder(made, flows, spread, goes_on=way == XDP)
    with contextlib.ExitStack() as stack:
        arrived = Counted(lab, way == XDP, stack)
        tables = {n: stack.enter_context(Table(form)) for n, form in written.maps.items()}
        if way == XDP:
            program = stack.enter_context(attached_xdp(lab, "to-client"))
            tables["next"].put(INDEX.pack(number=0), INDEX.pack(number=program.number))
        loaded = stack.enter_context(Loaded(written.assemble(), tables, XDP_HOOK))
        stack.enter_context(one_core(core))
        stack.enter_context(lab.inside(BALANCER))
        interface = socket.if_nametoindex("to-client")
        loaded.flood(made.frame, interface, max(CHUNK // 4, 3 * flows))  # the flows are made

        def clock() -> float:
            return 1e6 * time.thread_time() + sum(map(cpu_us, softirq))

        before, begun, sent = arrived.read(), clock(), 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            loaded.flood(made.frame, interface, CHUNK)
            sent += CHUNK
        return clock() - begun, arrived.read() - before, sent
