"""What the programs cost by themselves: nanoseconds a packet, with no network around them.

    python bench/l4/alone.py [--wires tcx] [--only "64 flows,life"] [--repeat 2000000]

A feeder makes a frame the next packet of the next flow and goes on (a tail call) in the program;
BPF_PROG_RUN repeats that, and the verdict goes nowhere. The feeder's own time, measured by itself,
is taken off. So it tells what a change of the program costs or saves, within a nanosecond or two,
on a machine that has other things to do: the shortest of several runs counts.

    N flows        datagrams of so many flows in turn, all known
    new            each a datagram of a flow that nobody has seen
    life           TCP: whole connections, one after the other, eight packets each
    life again     the same by clients whose ports come again while the closed flow still stands

It is no bar of the issue: no driver, no routing and no socket is in it.
"""

from __future__ import annotations

import argparse
import contextlib
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "tests")]

from bench.l4.frames import COUNT, FIRST_PORT, INDEX, PORTS, PROGRAMS  # noqa: E402
from fourseven.l4.bpf.build import ARRAY, Program  # noqa: E402
from fourseven.l4.bpf.kernel import Loaded, Table  # noqa: E402
from fourseven.l4.bpf.layout import BE16, U16, U32, U64, Array, Header, Struct  # noqa: E402
from fourseven.l4.bpf.values import MapHandle  # noqa: E402
from fourseven.l4.kernel_plan import BY_HASH, ROUTED, TCP, UDP, End, KernelPlan, Service  # noqa: E402
from fourseven.l4.program import WIRES  # noqa: E402
from support.one_way import Stage, one_way  # noqa: E402
from support.packets_l4 import datagram, segment  # noqa: E402

RUNS = 5
PLACES = 1 << 12
NEW_APART = 4099  # a run's new flows begin that many addresses on


class Place(NamedTuple):
    """Of an end in a frame, in words of 16 bits: the lower half of its address, and its port."""

    address: int
    port: int


SIZE = 60  # the smallest frame, without its check sequence
STEP = Struct("step", words=Array(U64, 7), rest=U32, answers=U32)
WHOLE = Header("whole", words=Array(U64, 7), rest=U32)
HALVES = Header("halves", halves=Array(BE16, SIZE // 2))
SOURCE, DESTINATION = Place(14, 17), Place(16, 18)
MAPPED = 0xFFFF << 32
CLIENT = End(MAPPED | 0x0A010000, FIRST_PORT)
VIP = {TCP: End(MAPPED | 0x0A020001, 80), UDP: End(MAPPED | 0x0A020001, 53)}
SERVER = End(MAPPED | 0x0A030001, 8080)
FIN, SYN, PUSH, ACK = 1, 2, 8, 16
CONNECTION = (  # is it the server's, and its flags; a power of two of them
    (False, SYN),
    (True, SYN | ACK),
    (False, ACK),
    (False, PUSH | ACK),
    (True, PUSH | ACK),
    (True, FIN | ACK),
    (False, FIN | ACK),
    (True, ACK),
)
AGAIN = 1 << 12  # connections until ports come again


@dataclass(frozen=True, slots=True)
class Load:
    """What the feeder makes: frames in turn, each of a client or of the server that answers it."""

    name: str
    frames: tuple[tuple[bool, bytes], ...]  # does the server send it?
    clients: int  # that come again and again; 0: a new one each time


def loads() -> list[Load]:
    asks = ((False, datagram(CLIENT, VIP[UDP])),)
    life = tuple((answers, segment_of(answers, flags)) for answers, flags in CONNECTION)
    return [
        *(Load(f"{flows:,} flows", asks, flows) for flows in (1, 64, 1 << 14, 1 << 17)),
        Load("new", asks, 0),
        Load("life", life, 0),
        Load("life again", life, AGAIN),
    ]


def segment_of(answers: bool, flags: int) -> bytes:
    if answers:
        return segment(SERVER, CLIENT, flags, 8, 9)
    return segment(CLIENT, VIP[TCP], flags, 9, 9)  # acknowledges what the server's SYN said


def plan() -> KernelPlan:
    more = ((0,), (SERVER,), 0xFFFFFFFF, 60_000, ROUTED, "bench")
    return KernelPlan(
        tuple(Service(f"p{one}", VIP[one], one, BY_HASH, *more) for one in (TCP, UDP))
    )


def feeder(context: Struct, load: Load, spread: int) -> Program:
    """Makes a frame the next one of a load, and goes on in the program of the map `next`."""
    p = Program("bench_feeder", context)
    counts = p.map("fed", ARRAY, INDEX, COUNT, 1)
    steps = p.map("steps", ARRAY, INDEX, STEP, len(load.frames))
    following = p.map("next", PROGRAMS, INDEX, INDEX, 1)
    key = p.stack("key", INDEX)
    row = p.lookup(counts, "row", key)
    with p.when(row.missing):
        p.exit(0)
    number = p.let("number", row.number)
    p.set(row.number, row.number + 1)
    if len(load.frames) > 1:
        p.set(key.number, (number & (len(load.frames) - 1)).to(U32))
        p.set(number, number >> (len(load.frames) - 1).bit_length())
    if load.clients:
        p.set(number, number & (load.clients - 1))
    step = p.lookup(steps, "step", key)
    with p.when(step.missing):
        p.exit(0)
    frame = p.packet("frame", 0, WHOLE, 0)
    p.copy(frame.words, step.words)
    p.set(frame.rest, step.rest)
    halves = frame.seen_as(HALVES).halves
    port = p.let("port", ((number & (PORTS - 1)) + FIRST_PORT).to(U16).wire())
    low = p.let("low", ((number >> 10) + spread).to(U16).wire())
    for answers, at in ((0, SOURCE), (1, DESTINATION)):
        with p.when(step.answers == answers):
            p.set(halves[at.address], low)
            p.set(halves[at.port], port)
    p.do("tail_call", p.context, MapHandle(following.name), 0)
    p.exit(0)
    return p


class Bench:
    """One wire's program, and what feeds it."""

    def __init__(self, wire: str, repeat: int) -> None:
        self.wire, self.hook = WIRES[wire]
        self.repeat = repeat
        self.spread = 0

    def measure(self, load: Load) -> float:
        """Nanoseconds a packet, without the feeder's; in tables of its own."""
        with Stage(plan(), self.wire, PLACES) as stage:
            fed = min(self.run(load, stage, None) for _ in range(RUNS))
            self.run(load, stage, stage.tested)  # flows are made, caches are warm
            whole = min(self.run(load, stage, stage.tested) for _ in range(RUNS))
        return whole - fed

    def run(self, load: Load, stage: Stage, after: Loaded | None) -> float:
        self.spread += NEW_APART if not load.clients else 0
        written = feeder(self.wire.CONTEXT, load, self.spread)
        with contextlib.ExitStack() as opened:
            tables = {n: opened.enter_context(Table(form)) for n, form in written.maps.items()}
            for number, (answers, frame) in enumerate(load.frames):
                *words, rest = struct.unpack("=7QI", frame.ljust(SIZE, b"\0"))
                row = STEP.pack(words=words, rest=rest, answers=int(answers))
                tables["steps"].put(INDEX.pack(number=number), row)
            if after is not None:
                tables["next"].put(INDEX.pack(number=0), INDEX.pack(number=after.number))
            program = opened.enter_context(Loaded(written.assemble(), tables, self.hook))
            return program.nanoseconds(bytes(SIZE), self.repeat, stage.context(SIZE))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wires", default="tcx,xdp")
    parser.add_argument("--only", default="", help="loads whose names begin so")
    parser.add_argument("--repeat", type=int, default=400_000, help="packets of a run")
    options = parser.parse_args()
    with one_way():
        for wire in options.wires.split(","):
            bench = Bench(wire, options.repeat)
            for load in loads():
                if load.name.startswith(tuple(options.only.split(","))):
                    print(f"{wire:4} {load.name:14} {bench.measure(load):6.1f} ns", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
