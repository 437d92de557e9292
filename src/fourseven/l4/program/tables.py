"""The tables that the program shares with the one who loads it: their rows, and how many.

Three are the file's, and only the control plane writes them: `services` (an address that we answer
for), `places` (the picking tables, one after the other) and `servers`. Three are the packets':
`flows`, `pending` (handshakes, which are no flows yet) and `answers`, by which the answer to a
masqueraded handshake finds it. The rest count.

A flow is two rows of one table, found by the packets of the one direction and of the other; where
servers answer past us (DIRECT) it is one. A row says what the ends of its packets become, so the
key of the other row is the same ends, turned round. All that a packet of a known flow needs is in
its row, which of IPv4 is one cache line: no other table is asked. What is asked once a second
stands apart (`births`). How rows are found and taken is told in `slots`.

The rows of flows are memory that the control plane sees as well, and takes rows out of by the same
rules; it writes `places` so, too, where no packet looks. Of every other table a row is written by
one side only, since a whole row is written at once there, and what was counted meanwhile would be
lost. So what the control plane knows about flows that ended unseen (`settled`) stands beside what
the kernel counted (`load`).

Laws: a server and a listener keep their numbers as long as the tables live. A change of any layout
here changes `fingerprint`, and then pinned tables of an older version are not adopted.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from functools import cache

from fourseven.l4.bpf.build import ARRAY, ARRAY_FOR_EACH_CPU, HASH, SHARED, Map, Program
from fourseven.l4.bpf.layout import BE16, BE32, U8, U16, U32, U64, Array, Kind, Struct
from fourseven.l4.kernel_plan import MASQUERADE, KernelPlan
from fourseven.l4.program import wire
from fourseven.l4.program.wire import WAY

WORDS = {4: 1, 6: 4}  # 32-bit words of an address
SERVERS_MAX = 4096  # numbers; taken at once: 300 kB and 130 kB for each processor
LISTENERS_MAX = 1024
SEVERAL = LISTENERS_MAX - 1  # the number of no listener: of addresses that several share
SERVICES_MAX = 4096
SOURCES_MAX = 4096  # addresses to masquerade with
PLACES_MAX = 1 << 21  # 32 Maglev tables of 65,537; 8 MB
PENDING_MAX = 1 << 17  # handshakes at once; a flood of a million SYNs/s leaves each 130 ms
PLACEMENT = b"side by side, by the client's end, a home for each port"  # of rows (slots.py)
BUCKET = 4  # places where one handshake may stand: the oldest makes room
ANSWERS_MAX = 1 << 17

# What a row's `state` says: what is written into its packets, and how its flow ended.
TO_CLIENT, NEW_SOURCE, NEW_DESTINATION, IS_UDP = 1, 2, 4, 8
CLIENT_DONE, SERVER_DONE, RESET = 0x100, 0x200, 0x400  # FIN of the client, of the server; RST
DONE = CLIENT_DONE | SERVER_DONE
# … and about its place, whoever stands there (`slots`).
USED, BUSY = 16, 32  # a row stands there; somebody is writing it or taking it out
VERSION, VERSIONS = 0x10000, 0xFFFF0000  # how often the place was taken, modulo that

# What a handshake waits for.
SYN_SENT, SYN_ANSWERED, MIDWAY, PROVEN, ASKED = 1, 2, 3, 4, 5

# Seconds without a packet after which a flow has ended, whatever its listener says.
CLOSING_S, CLOSED_S = 60, 10
PENDING_S = 30  # a handshake; longer than five retransmissions of a SYN

REASONS = (  # why a packet was not served, by listener (docs/kernel-flows.md has the table)
    "no_server",  # nobody is there to take it
    "no_port",  # masquerade: every port that was tried is taken
    "no_flow",  # midway in a connection that nobody here knows
    "taken",  # its way back belongs to another flow
    "ttl",  # it had come too far; its sender was told
    "too_big",  # longer than its way takes; its sender was told
    "malformed",  # its headers contradict themselves, or break off
    "fragment",  # a later one, of which the first was not seen
    "raced",  # its flow's place became another's just then
)

INDEX = wire.INDEX  # of a row of an array


def ends(family: int) -> dict[str, Kind | Array]:
    """Who talks to whom."""
    address = Array(BE32, WORDS[family])
    return {
        "source": address,
        "destination": address,
        "source_port": BE16,
        "destination_port": BE16,
    }


def _keys(family: int) -> Struct:
    return Struct(f"key{family}", **ends(family), protocol=U8, spare=Array(U8, 3))


def _flow(family: int) -> Struct:
    address = Array(BE32, WORDS[family])
    # The longest packet stands in the upper 16 bits of `tally`, as the count never gets there.
    low = {"bytes_low": U32, "bytes_high": U16, "mtu": U16}
    high = {"mtu": U16, "bytes_high": U16, "bytes_low": U32}
    return Struct(
        f"flow{family}",
        sender=address,  # whose packets these are: its key, apart from the protocol
        receiver=address,
        sender_port=BE16,
        receiver_port=BE16,
        **ends(family),  # what they become
        server=U16,
        listener=U16,
        hop=Array(U32, 3),  # the way, as in HOP
        out=U32,
        checked=U32,  # ticks, as all times: the last packet came then, or within a second after
        state=U32,
        packets=U32,  # of this flow: after 4 billion it begins anew; those of servers do not
        **(low if sys.byteorder == "little" else high),
        **({"spare": Array(U64, 2)} if family == 6 else {}),  # two cache lines
    )


def _tally(family: int) -> Struct:
    """The same row: its bytes as one number."""
    before = FLOWS[family].find("packets").offset + 4
    return Struct(f"tally{family}", before=Array(U64, before // 8), bytes=U64)


def _made(family: int) -> Struct:
    """A flow's row before it is one, on the stack."""
    return Struct(
        f"made{family}", **ends(family), server=U16, listener=U16, idle=U16, spare=U16, state=U32
    )


def _pending(family: int) -> Struct:
    address = Array(BE32, WORDS[family])
    return Struct(
        f"pending{family}",
        client=address,
        vip=address,
        source=address,  # the client, as the server sees it
        target=address,
        client_port=BE16,
        vip_port=BE16,
        source_port=BE16,
        target_port=BE16,
        server=U16,
        listener=U16,
        idle=U16,
        protocol=U8,
        waits=U8,
        mode=U8,
        spare=Array(U8, 3),
        since=U32,
        acknowledged=U32,  # what the client's ACK must say
    )


def _vip(family: int) -> Struct:
    return Struct(
        f"vip{family}", target=Array(BE32, WORDS[family]), port=BE16, protocol=U8, zero=U8
    )


KEYS = {family: _keys(family) for family in WORDS}
FLOWS = {family: _flow(family) for family in WORDS}
TALLIES = {family: _tally(family) for family in WORDS}
BYTES = (1 << 48) - 1  # of a tally
MADE = {family: _made(family) for family in WORDS}
BIRTH = Struct("birth", began=U32, idle=U16, spare=U16)  # idle: seconds without a packet
PENDING = {family: _pending(family) for family in WORDS}
VIPS = {family: _vip(family) for family in WORDS}

SERVICE = Struct(
    "service",
    first=U32,  # in `places`
    length=U32,
    pick=U8,
    mode=U8,
    listener=U16,
    idle=U16,  # seconds
    spare=U16,
    mask=Array(BE32, 4),
    turn=U64,
)
SERVER = Struct(
    "server",
    target=Array(BE32, 4),  # IPv4 in the last
    port=BE16,
    weight=U16,
    first_source=U16,  # in `sources`
    sources=U16,
    used=U32,  # 0: nobody ever had this number
    backend=U32,  # a hash of its name: with the address, whose number this is
)
SOURCE = Struct("source", target=Array(BE32, 4))
LOAD = Struct("load", began=U64, ended=U64)
SETTLED = Struct("settled", ended=U64, evicted=U64)  # ended unseen, by their time; and pushed out
TRAFFIC = Struct("traffic", packets_in=U64, bytes_in=U64, packets_out=U64, bytes_out=U64)
LISTENER = Struct(
    "listener",
    packets_in=U64,
    bytes_in=U64,
    packets_out=U64,
    bytes_out=U64,
    began=U64,
    ended=U64,
    passed=U64,
    **dict.fromkeys(REASONS, U64),
)
OWN = {family: Struct(f"own{family}", target=Array(BE32, WORDS[family])) for family in WORDS}
NEAR = Struct("near", homes=U64)  # eight of them, a byte each: where the rows of a home stand
NAME = Struct("name", used=U32, hash=U32)  # of a listener: whose number this is
SEED = Struct("seed", number=U64)  # of the flows' hash, so that nobody outside can foresee it


def places_for(flows_max: int) -> int:
    """Of rows of flows: twice as many as there may be, so that a home is mostly free."""
    return 1 << (4 * flows_max - 1).bit_length()


class Tables:
    """The tables of a program, declared; those of a family by its number."""

    def __init__(self, p: Program, plan: KernelPlan, places: int = PLACES_MAX) -> None:
        self.services: dict[int, Map] = {}
        self.flows: dict[int, Map] = {}
        self.births: dict[int, Map] = {}
        self.near: dict[int, Map] = {}
        self.pending: dict[int, Map] = {}
        self.own: dict[int, Map] = {}  # by address alone: whose it is
        for family in sorted(plan.families()):
            size = places_for(plan.flows_max)
            self.services[family] = p.map(
                f"services{family}", HASH, VIPS[family], SERVICE, SERVICES_MAX
            )
            self.own[family] = p.map(f"own{family}", HASH, OWN[family], INDEX, SERVICES_MAX)
            self.flows[family] = p.map(f"flows{family}", ARRAY, INDEX, FLOWS[family], size, SHARED)
            self.births[family] = p.map(f"births{family}", ARRAY, INDEX, BIRTH, size, SHARED)
            self.near[family] = p.map(f"near{family}", ARRAY, INDEX, NEAR, size // 8, SHARED)
            self.pending[family] = p.map(
                f"pending{family}", ARRAY, INDEX, PENDING[family], PENDING_MAX
            )
        self.seed = p.map("seed", ARRAY, INDEX, SEED, 1)
        self.places = p.map("places", ARRAY, INDEX, INDEX, places, SHARED)
        self.servers = p.map("servers", ARRAY, INDEX, SERVER, SERVERS_MAX)
        self.names = p.map("names", ARRAY, INDEX, NAME, LISTENERS_MAX)
        self.ways = p.map("ways", ARRAY, INDEX, WAY, SERVERS_MAX)
        self.load = p.map("load", ARRAY, INDEX, LOAD, SERVERS_MAX)
        self.settled = p.map("settled", ARRAY, INDEX, SETTLED, SERVERS_MAX + LISTENERS_MAX)
        self.traffic = p.map("traffic", ARRAY_FOR_EACH_CPU, INDEX, TRAFFIC, SERVERS_MAX)
        self.listeners = p.map("listeners", ARRAY_FOR_EACH_CPU, INDEX, LISTENER, LISTENERS_MAX)
        if MASQUERADE in plan.modes():
            self.sources = p.map("sources", ARRAY, INDEX, SOURCE, SOURCES_MAX)
            self.answers = p.map("answers", ARRAY, INDEX, INDEX, ANSWERS_MAX)


def fingerprint(maps: Iterable[Map]) -> str:
    """Changes with every change of a table's form, and of where a flow's row stands in it: what is
    pinned fits, or is another version's."""
    digest = hashlib.sha256(PLACEMENT)
    for one in sorted(maps, key=lambda one: one.name):
        fields = one.key.fields, one.value.fields
        digest.update(repr((one.name, one.type, one.size, one.flags, *fields)).encode())
    return digest.hexdigest()[:16]


@cache
def name_hash(name: str) -> int:
    """A name in a row: 32 bits that are the same in every process."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
