"""Sweeps over the flows: those whose time is over leave, those that were pushed out are counted.

The kernel counts what begins and what ends before its eyes. It does not see a flow that falls
silent, and its table says nothing when it makes room by evicting the row that was used longest ago.
So the control plane walks over all rows now and then, in parts: what is over is removed and, unless
the kernel has counted its end, counted here; and when the rows that were met are fewer than there
should be, the rest was evicted.

Two may sweep at once for some seconds (an upgrade): who removes a row counts it.

Limits: a flow whose rows vanish while a sweep is under way is counted by the next one.
"""

from __future__ import annotations

import struct
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from fourseven.l4 import scan
from fourseven.l4.bpf.build import Program
from fourseven.l4.bpf.kernel import Loaded, Table, hertz
from fourseven.l4.bpf.layout import U32
from fourseven.l4.headers import SKB
from fourseven.l4.kernel_plan import MAPPED, End
from fourseven.l4.kernel_plane import CLOSED, CLOSING, ESTABLISHED, FlowFilter, FlowRecord
from fourseven.l4.program.tables import (
    DONE,
    FLOWS,
    INDEX,
    KEYS,
    LISTENERS_MAX,
    RESET,
    SERVERS_MAX,
    SETTLED,
    WORDS,
)

CHUNKS = 4  # of some thousand rows each, in one step: a few milliseconds
STAGES = {ESTABLISHED: 1, CLOSING: 2, CLOSED: 4}  # as scan.pxd has them
CLOCK_PACKET = bytes(64)  # a test run wants one


def form(family: int) -> bytes:
    """Where the fields stand, as scan.pxd's Form."""
    key, row = KEYS[family], FLOWS[family]
    keyed = ("destination", "source_port", "destination_port", "protocol")
    told = ("destination", "destination_port", "server", "listener", "seen", "state", "idle")
    return struct.pack(
        "=14I",
        key.size,
        row.size,
        4 * WORDS[family],
        *(key.find(name).offset for name in keyed),
        *(row.find(name).offset for name in told),
    )


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


class Over:
    """The keys of rows that leave: those nobody need count, and those whose flow ends so."""

    def __init__(self, family: int, count: int) -> None:
        self.done, self.late = (bytearray(count * KEYS[family].size) for _ in range(2))
        self.whose = array("I", bytes(4 * count))
        self.found = (0, 0)


class Sweep:
    """The walks over the flows of one set of tables."""

    def __init__(self, tables: Mapping[str, Table], families: Sequence[int]) -> None:
        self.tables, self.families = tables, families
        self.forms = {family: form(family) for family in families}
        self.second = hertz()
        self.clock = Clock()
        self._walk: Iterator[None] | None = None

    def close(self) -> None:
        self.clock.close()

    def step(self) -> bool:
        """A part of a sweep, or the begin of one; is there more to do at once?"""
        if self._walk is None:
            self._walk = self._sweep()
        for _ in range(CHUNKS):
            if next(self._walk, self) is self:
                self._walk = None
                return False
        return True

    def _sweep(self) -> Iterator[None]:
        before = self._sums()
        live = array("I", bytes(4 * SERVERS_MAX)), array("I", bytes(4 * LISTENERS_MAX))
        for family in self.families:
            table = self.tables[f"flows{family}"]
            for keys, rows, count in table.chunks():
                over = Over(family, count)
                over.found = scan.walk(
                    self.forms[family],
                    keys,
                    rows,
                    count,
                    self.clock.now(),
                    self.second,
                    over.done,
                    over.late,
                    over.whose,
                    *live,
                )
                self._leave(table, over)
                yield
        self._evicted(before, [*live[0], *live[1]])

    def _leave(self, table: Table, over: Over) -> int:
        """Removes rows; how many flows ended with it."""
        done, late = over.found
        size = table.form.key.size
        for _ in table.remove_all(bytes(over.done[: done * size]), done):
            pass
        ended: Counter[int] = Counter()
        many = 0
        for i in table.remove_all(bytes(over.late[: late * size]), late):
            many += 1
            ended[over.whose[i] & 0xFFFF] += 1
            ended[SERVERS_MAX + (over.whose[i] >> 16)] += 1
        for number, more in ended.items():
            self._settle(number, ended=more)
        return many

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
        found: set[int] = set()
        for family in self.families:
            size, at = FLOWS[family].size, FLOWS[family].find("server").offset
            for _, rows, count in self.tables[f"flows{family}"].chunks():
                found.update(struct.unpack_from("=H", rows, i * size + at)[0] for i in range(count))
        return found

    def cut(self, server: int) -> int:
        """Removes every flow of a server; how many had not ended."""
        many = 0
        for family in self.families:
            table = self.tables[f"flows{family}"]
            for keys, rows, count in table.chunks():
                over = Over(family, count)
                over.found = scan.of_server(
                    self.forms[family], keys, rows, count, server, over.done, over.late, over.whose
                )
                many += self._leave(table, over)
        return many


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
        "=16s16s16s16s2s2sBBBBI",
        client.to_bytes(16, "big"),
        mask.to_bytes(16, "big"),
        *(one.address.to_bytes(16, "big") for one in ends),
        *(one.port.to_bytes(2, "big") for one in ends),
        wanted.client is not None,
        wanted.vip is not None,
        wanted.server is not None,
        wanted.protocol or 0,
        sum(STAGES.get(state, 8) for state in wanted.states),
    )


def fits_family(family: int, wanted: FlowFilter) -> bool:
    """May a flow of this family be wanted at all?"""
    said = [end.address for end in (wanted.vip, wanted.server) if end is not None]
    if wanted.client is not None and wanted.client[1] >> 32:
        said.append(wanted.client[0])
    return all((address >> 32 == 0xFFFF) == (family == 4) for address in said)


def select(
    tables: Mapping[str, Table], families: Sequence[int], wanted: FlowFilter, clock: Clock
) -> Iterator[FlowRecord]:
    """The flows that are wanted."""
    asked = wanted_bytes(wanted)
    for family in families:
        if not fits_family(family, wanted):
            continue
        said, table = form(family), tables[f"flows{family}"]
        reader = Reader(family, table, clock.now())
        for keys, rows, count in table.chunks():
            found = array("I", bytes(4 * count))
            many = scan.choose(said, asked, keys, rows, count, found)
            for i in found[:many]:
                yield reader.record(keys, rows, i)


class Reader:
    """Makes records out of rows."""

    def __init__(self, family: int, table: Table, now: int) -> None:
        self.table, self.now, self.second = table, now, hertz()
        self.key_size, self.row_size = KEYS[family].size, FLOWS[family].size
        size = 4 * WORDS[family]
        self.mapped = MAPPED if family == 4 else 0
        self.ends = struct.Struct(f">{size}s{size}sHHB")
        row = FLOWS[family]
        self.at = {name: row.find(name).offset for name in ("seen", "packets")}
        self.size = size

    def record(self, keys: bytes, rows: bytes, i: int) -> FlowRecord:
        key = keys[i * self.key_size : (i + 1) * self.key_size]
        row = rows[i * self.row_size : (i + 1) * self.row_size]
        client, vip, client_port, vip_port, protocol = self.ends.unpack_from(key)
        source, target, source_port, target_port, _ = self.ends.unpack_from(row)
        seen, began, state = struct.unpack_from("=III", row, self.at["seen"])
        packets, size = struct.unpack_from("=IQ", row, self.at["packets"])
        other = self.table.raw(_turned(row, self.size) + key[-4:])
        out = (0, 0) if other is None else struct.unpack_from("=IQ", other, self.at["packets"])
        masqueraded = (source, source_port) != (client, client_port)
        return FlowRecord(
            protocol,
            self._end(client, client_port),
            self._end(vip, vip_port),
            self._end(target, target_port),
            _stage(state),
            self._ms(began),
            self._ms(seen),
            packets,
            size,
            out[0],
            out[1],
            self._end(source, source_port) if masqueraded else None,
        )

    def _end(self, address: bytes, port: int) -> End:
        return End(int.from_bytes(address, "big") | self.mapped, port)

    def _ms(self, tick: int) -> int:
        since = self.now - tick & 0xFFFFFFFF
        return 0 if since >> 31 else since * 1000 // self.second  # 0: after we looked at the clock


def _turned(row: bytes, size: int) -> bytes:
    """The ends of a row, turned round."""
    return (
        row[size : 2 * size]
        + row[:size]
        + row[2 * size + 2 : 2 * size + 4]
        + row[2 * size : 2 * size + 2]
    )


def _stage(state: int) -> str:
    if state & RESET or state & DONE == DONE:
        return CLOSED
    return CLOSING if state & DONE else ESTABLISHED
