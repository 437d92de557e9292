"""Frames that a program of ours makes in place: datagrams of many flows, and SYNs of nobody.

A flow is a port and the lower half of an address: 1,024 ports and 65,536 addresses. The base frame
is that of flow 0, with sums not yet turned over; the feeder writes every word of it anew, since a
frame that was sent comes back to it rewritten, adds the flow's two words and finishes the sums.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from fourseven.l4.bpf.build import ARRAY, Program
from fourseven.l4.bpf.layout import BE16, U16, U32, U64, Array, Header, Struct
from fourseven.l4.bpf.values import MapHandle
from fourseven.l4.headers import XDP_MD

INDEX = Struct("index", number=U32)
COUNT = Struct("count", number=U64)
PROGRAMS = 3  # BPF_MAP_TYPE_PROG_ARRAY
XDP_DROP, XDP_PASS = 1, 2
FIRST_PORT, PORTS = 10_240, 1024
SIZE = 60  # the smallest frame, without its check sequence
IP_SUM, SOURCE_LOW, SOURCE_PORT = 12, 14, 17  # in words of 16 bits
UDP, TCP = 17, 6
SUM_AT = {UDP: 20, TCP: 25}
SYN = struct.pack(">IIBBHHH", 1, 0, 5 << 4, 2, 64_240, 0, 0)  # from the sequence number on


@dataclass(frozen=True, slots=True)
class Base:
    """A frame of flow 0."""

    frame: bytes
    protocol: int


def base(protocol: int, source: str, target: tuple[str, int], macs: tuple[bytes, bytes]) -> Base:
    """From a network's first address (its lower half is the flow's) to an address and port;
    `macs`: to whom, from whom."""
    ends = socket.inet_aton(source)[:2] + b"\0\0" + socket.inet_aton(target[0])
    size = SIZE - 14 if protocol == UDP else 40
    ports = struct.pack(">HH", 0, target[1])
    payload = ports + (struct.pack(">HH", size - 20, 0) if protocol == UDP else SYN)
    payload = payload.ljust(size - 20, b"\0")
    ip = struct.pack(">BBHHHBBH", 0x45, 0, size, 1, 0, 64, protocol, 0) + ends
    pseudo = ends + struct.pack(">HH", protocol, size - 20)
    words = list(struct.unpack(f">{(14 + size) // 2}H", b"".join(macs) + b"\x08\0" + ip + payload))
    words[IP_SUM] = folded(ip)
    words[SUM_AT[protocol]] = folded(pseudo + payload)
    return Base(struct.pack(f">{len(words)}H", *words).ljust(SIZE, b"\0"), protocol)


def folded(data: bytes) -> int:
    """The sum of the words, not yet turned over."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def feeder(
    made: Base, flows: int, spread: int = 0, *, pairs: bool = False, goes_on: bool = False
) -> Program:
    """Makes a frame the next packet: of `flows` flows in turn, or of a new one each when 0, each
    flow once or twice running; the first address is `spread` on. Then it is passed up into the
    kernel, or goes on in the program that stands in the map `next`."""
    p = Program("bench_feeder", XDP_MD)
    counts = p.map("fed", ARRAY, INDEX, COUNT, 1)
    row = p.lookup(counts, "row", p.stack("key", INDEX))
    with p.when(row.missing):
        p.exit(XDP_DROP)
    number = p.let("number", row.number)
    p.set(row.number, row.number + 1)
    if pairs:
        p.set(number, number >> 1)
    if flows:
        p.set(number, number & (flows - 1))
    sum_at = SUM_AT[made.protocol]
    count = sum_at + 1
    frame = p.packet("frame", 0, Header("frame", words=Array(BE16, count)), XDP_DROP)
    words = struct.unpack(f">{count}H", made.frame[: 2 * count])
    port = p.let("port", (number & (PORTS - 1)) + FIRST_PORT)
    low = p.let("low", ((number >> 10) + spread) & 0xFFFF)
    for at in set(range(count)) - {IP_SUM, SOURCE_LOW, SOURCE_PORT, sum_at}:
        p.set(frame.words[at], words[at])
    p.set(frame.words[SOURCE_LOW], low.to(U16).wire())
    p.set(frame.words[SOURCE_PORT], port.to(U16).wire())
    for at, changed in ((IP_SUM, low), (sum_at, low + port)):
        total = p.let("total", changed + words[at])
        for _ in range(2):
            p.set(total, (total & 0xFFFF) + (total >> 16))
        p.set(frame.words[at], (~total).to(U16).wire())
    if goes_on:
        following = p.map("next", PROGRAMS, INDEX, INDEX, 1)
        p.do("tail_call", p.context, MapHandle(following.name), 0)
    p.exit(XDP_DROP if goes_on else XDP_PASS)  # a tail call that comes back has failed
    return p
