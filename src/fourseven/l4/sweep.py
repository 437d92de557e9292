"""Sweeps over the flows: those whose time is over leave, those that were pushed out are counted.

The kernel counts what begins and what ends before its eyes. It does not see a flow that falls
silent, and says nothing when it makes room by giving the place of the row that was used longest ago
to another. So the control plane walks over all rows now and then, in parts: what is over is removed
and, unless the kernel has counted its end, counted here; and when the rows that were met are fewer
than there should be, the rest was evicted. The rows are the kernel's own memory (`scan`).

Two may sweep at once for some seconds (an upgrade): who removes a row counts it.

Limits: a flow whose rows vanish while a sweep is under way is counted by the next one.
"""

from __future__ import annotations

import mmap
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from fourseven.l4 import records, scan
from fourseven.l4.bpf.build import Program
from fourseven.l4.bpf.kernel import Loaded, Table, hertz
from fourseven.l4.bpf.layout import U32
from fourseven.l4.headers import SKB
from fourseven.l4.kernel_plan import End
from fourseven.l4.kernel_plane import FlowFilter
from fourseven.l4.program.tables import (
    BIRTH,
    FLOWS,
    INDEX,
    KEYS,
    LISTENERS_MAX,
    SERVERS_MAX,
    SETTLED,
    TALLIES,
    WORDS,
)

PART = 1 << 15  # places that are looked at in one step: a millisecond or two
CLOCK_PACKET = bytes(64)  # a test run wants one
NUMBERS = SERVERS_MAX + LISTENERS_MAX  # of servers, and of listeners beyond them


def form(family: int, places: int, seed: int) -> bytes:
    """Where the fields stand, as scan.pxd's Form."""
    row, births = FLOWS[family], BIRTH.find("idle").offset
    told = "receiver sender_port receiver_port source destination source_port destination_port"
    told += " server listener checked state packets"
    places_of = (row.find(name).offset for name in told.split())
    tally = TALLIES[family].find("bytes").offset
    sizes = KEYS[family].size, row.size, 4 * WORDS[family]
    return struct.pack("=2Q17I4x", places, seed, *sizes, *places_of, tally, births)


class Rows:
    """The flows of one family, as memory."""

    def __init__(self, tables: Mapping[str, Table], family: int) -> None:
        self.family = family
        self.places = tables[f"flows{family}"].form.size
        seed = tables["seed"].get(INDEX.pack(number=0))
        self.form = form(family, self.places, seed["number"] if seed else 0)
        self.rows = tables[f"flows{family}"].memory()
        self.births = tables[f"births{family}"].memory()
        self.near = tables[f"near{family}"].memory()

    def close(self) -> None:
        self.rows.close()
        self.births.close()
        self.near.close()

    @property
    def all(self) -> tuple[bytes, mmap.mmap, mmap.mmap, mmap.mmap]:
        """As the functions of `scan` take it."""
        return self.form, self.rows, self.births, self.near


class Clock:
    """The kernel's clock as the program reads it: ticks of 32 bits."""

    def __init__(self) -> None:
        asked = Program("fourseven_clock", SKB)
        asked.exit(asked.call("jiffies64", name="ticks").to(U32))
        self.loaded = Loaded(asked.assemble(), {})

    def now(self) -> int:
        return self.loaded.run(CLOCK_PACKET)[0]

    def close(self) -> None:
        self.loaded.close()


class Sums(NamedTuple):
    """Of a server or a listener: what the kernel and we have counted."""

    began: int
    ended: int
    settled: int
    evicted: int

    @property
    def gone(self) -> int:
        return self.ended + self.settled


class Sweep:
    """The walks over the flows of one set of tables."""

    def __init__(self, tables: Mapping[str, Table], families: Sequence[int]) -> None:
        self.tables = tables
        self.rows = [Rows(tables, family) for family in families]
        self.second = hertz()
        self.clock = Clock()
        self._walk: Iterator[None] | None = None

    def close(self) -> None:
        self.clock.close()
        for one in self.rows:
            one.close()

    def step(self) -> bool:
        """A part of a sweep, or the begin of one; is there more to do at once?"""
        if self._walk is None:
            self._walk = self._sweep()
        if next(self._walk, self) is self:
            self._walk = None
            return False
        return True

    def _sweep(self) -> Iterator[None]:
        before = self._sums()
        live = array("I", bytes(4 * NUMBERS))
        for one in self.rows:
            for first in range(0, one.places, PART):
                ended = array("I", bytes(4 * NUMBERS))
                now = self.clock.now()
                if scan.walk(*one.all, first, PART, now, self.second, live, ended, SERVERS_MAX):
                    self._settle_all(ended)
                yield
        self._evicted(before, live)

    def _settle_all(self, ended: Sequence[int]) -> None:
        for number, more in enumerate(ended):
            if more:
                self._settle(number, ended=more)

    def _settle(self, number: int, ended: int = 0, evicted: int = 0) -> None:
        key = INDEX.pack(number=number)
        row = self.tables["settled"].get(key)
        if row is None:
            return
        now = max(row["ended"] + ended, 0), max(row["evicted"] + evicted, 0)
        self.tables["settled"].put(key, SETTLED.pack(ended=now[0], evicted=now[1]))

    def _sums(self) -> dict[int, Sums]:
        """Of every server, and of every listener beyond them."""
        sums: dict[int, Sums] = {}
        settled = dict(counted(self.tables["settled"]))
        for start, name in ((0, "load"), (SERVERS_MAX, "listeners")):
            for number, row in counted(self.tables[name]):
                known = settled.get(start + number, {"ended": 0, "evicted": 0})
                sums[start + number] = Sums(
                    row["began"], row["ended"], known["ended"], known["evicted"]
                )
        return sums

    def _evicted(self, before: Mapping[int, Sums], live: Sequence[int]) -> None:
        """Compares what was met with what should be there. Flows that began or ended meanwhile may
        have been met or not, so only what is beyond doubt is corrected, in either direction."""
        none = Sums(0, 0, 0, 0)
        for number, now in self._sums().items():
            was = before.get(number, none)
            least = was.began - now.gone - now.evicted
            most = now.began - was.gone - now.evicted
            met = live[number]
            if met < least:
                self._settle(number, evicted=least - met)
            elif met > most:
                self._settle(number, evicted=most - met)

    def numbers(self) -> set[int]:
        """The servers of which there is any row."""
        found = bytearray(SERVERS_MAX)
        for one in self.rows:
            scan.mark(*one.all, found)
        return {number for number, there in enumerate(found) if there}

    def cut(self, server: int) -> int:
        """Removes every flow of a server; how many had not ended."""
        ended = array("I", bytes(4 * NUMBERS))
        for one in self.rows:
            ended[server] += scan.cut(*one.all, server, ended, SERVERS_MAX)
        self._settle_all(ended)
        return ended[server]


def counted(table: Table) -> Iterator[tuple[int, dict[str, int]]]:
    """The rows of an array in which anything was counted, with their numbers."""
    size = table.row_size
    nothing = bytes(size)
    at = 0
    for _, rows, count in table.chunks():
        for i in range(count):
            raw = rows[i * size : (i + 1) * size]
            if raw != nothing:
                yield at + i, table.row(raw)
        at += count


# ---- listing ----


def wanted_bytes(wanted: FlowFilter) -> bytes:
    """A filter as scan.pxd's Wanted."""
    client, mask = wanted.client or (0, 0)
    ends = [one or End(0, 0) for one in (wanted.vip, wanted.server)]
    return struct.pack(
        "=16s16s16s16s2s2sBBBBI4x3Q",
        client.to_bytes(16, "big"),
        mask.to_bytes(16, "big"),
        *(one.address.to_bytes(16, "big") for one in ends),
        *(one.port.to_bytes(2, "big") for one in ends),
        wanted.client is not None,
        wanted.vip is not None,
        wanted.server is not None,
        wanted.protocol or 0,
        sum(records.STAGES[state] for state in wanted.states),
        wanted.older_ms,
        wanted.idle_ms,
        wanted.bytes_least,
    )


def fits_family(family: int, wanted: FlowFilter) -> bool:
    """May a flow of this family be wanted at all?"""
    said = [end.address for end in (wanted.vip, wanted.server) if end is not None]
    if wanted.client is not None and wanted.client[1] >> 32:
        said.append(wanted.client[0])
    return all((address >> 32 == 0xFFFF) == (family == 4) for address in said)


def told(rows: Sequence[Rows], wanted: FlowFilter, clock: Clock) -> Iterator[bytes]:
    """The flows that are wanted, as records, many at a time."""
    asked = wanted_bytes(wanted)
    second, into = hertz(), bytearray(records.FORM.size * PART)
    for one in rows:
        if not fits_family(one.family, wanted):
            continue
        now = clock.now()
        for first in range(0, one.places, PART):
            many = scan.tell(asked, *one.all, first, PART, now, second, into)
            if many:
                yield bytes(memoryview(into)[: many * records.FORM.size])
