"""The data path's rows: a plan is written into the kernel's tables, and what they tell is read.

    path = DataPath(tables)      new tables, or those that another process filled and left
    path.apply(plan)             other servers, weights, listeners; flows stay where they are
    path.moved()                 ways to servers begin elsewhere: apply again?
    path.tick()                  flows whose time is over leave; how long until the next call
    path.counters()              …; path.flows(…), path.cut(server), path.drain()

Nothing is kept here that the tables don't say: whoever opens them later goes on with them. A server
is its backend and address, and keeps its number while anything is known of it.

A picking table is written where nothing is read, then the services' rows are swapped for such that
point there; what they pointed to is written over at the next change at the earliest. So a packet
sees the old table or the new one, and what has not changed is not written.

Law: every refusal comes before the first write.
"""

from __future__ import annotations

import secrets
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from fourseven.errors import FoursevenError
from fourseven.l4 import netlink, places, records
from fourseven.l4.bpf.kernel import Table
from fourseven.l4.kernel_plan import IN_TURN, MAPPED, MASQUERADE, End, KernelPlan, Service
from fourseven.l4.kernel_plane import Counts, FlowFilter, FlowRecord, ListenerCounts, PlaneCounts
from fourseven.l4.program.tables import (
    INDEX,
    NAME,
    OWN,
    REASONS,
    SEED,
    SERVER,
    SERVERS_MAX,
    SERVICE,
    SERVICES_MAX,
    SETTLED,
    SEVERAL,
    SOURCE,
    SOURCES_MAX,
    VIPS,
    WORDS,
    name_hash,
)
from fourseven.l4.sweep import Sweep, counted, told

IDLE_MAX = 0xFFFF  # seconds: 18 hours, as wide as the row's field
AT_REST_S = 20.0  # between two sweeps over the flows: one that is over is met once or twice
SLICE_S = 0.05  # between two parts of one
PICK_AT = SERVICE.find("pick").offset


class DataPath:
    """The rows of the tables of one program."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.tables = tables
        self.families = [family for family in WORDS if f"flows{family}" in tables]
        self.backends: dict[int, str] = {}  # by hash; of the plan in force
        self.listeners: dict[int, str] = {}
        self.services: dict[tuple[int, bytes], bytes] = {}  # (family, key): its row, turn apart
        self.numbers: dict[tuple[int, End], int] = {}  # (hash of the backend, address)
        self.rows: dict[int, bytes] = {}  # of the servers, by number
        self.used: set[tuple[int, End]] = set()  # those of the plan in force
        self.named: dict[int, int] = {}  # hash of a listener's name: its number
        self.sources: dict[tuple[int, ...], int] = {}  # addresses of ours: where they begin
        self.ways: dict[int, int | None] = {}  # servers' addresses: ours on the way there, if any
        self.regions: dict[bytes, tuple[int, int]] = {}  # picking table: where it stands
        self.own: dict[tuple[int, bytes], int] = {}  # (family, address): its listener, or SEVERAL
        self.left: list[tuple[int, int]] = []  # regions that a packet may still read
        self._adopt()
        self.places = tables["places"].memory()
        self.sweep = Sweep(tables, self.families)

    def _adopt(self) -> None:
        """What the tables say already."""
        seed = self.tables["seed"].get(INDEX.pack(number=0))
        if not (seed and seed["number"]):
            drawn = SEED.pack(number=secrets.randbits(64) | 1)
            self.tables["seed"].put(INDEX.pack(number=0), drawn)
        for number, raw in enumerate(whole(self.tables["servers"])):
            row = SERVER.unpack(raw)
            if row["used"]:
                server = End(number_of(row["target"]), row["port"])
                self.numbers[row["backend"], server] = number
                self.rows[number] = raw
        self.used = set(self.numbers)
        for number, raw in enumerate(whole(self.tables["names"])):
            row = NAME.unpack(raw)
            if row["used"]:
                self.named[row["hash"]] = number
        for family in self.families:
            for key, raw in held(self.tables[f"own{family}"], OWN[family].size):
                self.own[family, key] = INDEX.unpack(raw)["number"]
            for key, raw in held(self.tables[f"services{family}"], VIPS[family].size):
                self.services[family, key] = raw[: SERVICE.size - 8] + bytes(8)
                row = SERVICE.unpack(raw)
                self.left.append((row["first"], row["length"]))
        if "sources" in self.tables:
            for number, raw in enumerate(whole(self.tables["sources"])):
                address = number_of(SOURCE.unpack(raw)["target"])
                if address:
                    self.sources[address,] = number

    def close(self) -> None:
        """Lets go; the tables are their owner's."""
        self.sweep.close()
        self.places.close()

    # ---- writing a plan ----

    def apply(self, plan: KernelPlan) -> None:
        """Serves these services from now on."""
        more = plan.families() - set(self.families)
        if more:
            raise FoursevenError(f"the tables were made without IPv{more.pop()}; start it anew")
        if len(plan.services) > SERVICES_MAX:
            raise FoursevenError(f"more than {SERVICES_MAX} addresses to answer for")
        names = {name_hash(service.listener): service.listener for service in plan.services}
        backends = {name_hash(service.backend): service.backend for service in plan.services}
        used = self._number_all(plan, names)
        contents = self._contents(plan)
        regions, fresh = self._placed(set(contents.values()))
        servers = self._server_rows(plan)
        # From here on nothing is refused.
        self.backends, self.listeners, self.used = backends, names, used
        for content in fresh:
            places.spread(content, self.places, regions[content][0])
        for number, raw in servers.items():
            if self.rows.get(number) != raw:
                self.tables["servers"].put(INDEX.pack(number=number), raw)
                self.rows[number] = raw
        kept = self._service_rows(plan, contents, regions)
        for family, key in self.services.keys() - kept:
            self.tables[f"services{family}"].remove(key)
            del self.services[family, key]
        self._put_own(plan)
        self.left = [at for content, at in self.regions.items() if content not in regions]
        self.regions = regions

    def _number_all(self, plan: KernelPlan, names: Mapping[int, str]) -> set[tuple[int, End]]:
        """Numbers for the listeners and servers that have none; the servers that are meant."""
        lists = {(s.backend, id(s.servers)): s.servers for s in plan.services}
        wanted: set[tuple[int, End]] = set()
        for (backend, _), servers in lists.items():
            hashed = name_hash(backend)
            wanted.update((hashed, server) for server in servers)
        new = sorted(wanted - self.numbers.keys(), key=lambda one: (one[0], one[1].address))
        if len(self.numbers) + len(new) > SERVERS_MAX:
            self._reclaim(wanted)
        if len(self.numbers) + len(new) > SERVERS_MAX:
            raise FoursevenError(f"more than {SERVERS_MAX} servers, those with flows counted in")
        unnamed = sorted(names.keys() - self.named.keys())
        if len(self.named) + len(unnamed) > SEVERAL:
            for gone in self.named.keys() - names.keys() - self.listeners.keys():
                number = self.named.pop(gone)
                self._clear(LISTENERS, number)
                self.tables["settled"].put(
                    INDEX.pack(number=SERVERS_MAX + number), bytes(SETTLED.size)
                )
        if len(self.named) + len(unnamed) > SEVERAL:
            raise FoursevenError(f"more than {SEVERAL} listeners")
        free = _free(set(self.numbers.values()))
        self.numbers.update({one: next(free) for one in new})
        free = _free(set(self.named.values()))
        for one in unnamed:
            self.named[one] = next(free)
            row = NAME.pack(used=1, hash=one)
            self.tables["names"].put(INDEX.pack(number=self.named[one]), row)
        return wanted

    def _reclaim(self, wanted: set[tuple[int, End]]) -> None:
        """Numbers of servers that have left, and of which no flow is left, are free again; those
        of the plan in force are its own as long as the next one may be refused."""
        busy = self.sweep.numbers()
        for one in self.numbers.keys() - wanted - self.used:
            number = self.numbers[one]
            if number not in busy:
                del self.numbers[one]
                self.rows.pop(number, None)
                self._clear(SERVERS, number)

    def _clear(self, tables: Sequence[str], number: int) -> None:
        """A number begins anew: nothing was counted."""
        for name in tables:
            table = self.tables[name]
            table.put(INDEX.pack(number=number), bytes(table.form.value.size))

    def _contents(self, plan: KernelPlan) -> dict[int, bytes]:
        """The picking table of each service (by its place in the plan), as bytes."""
        made: dict[tuple[int, int, str], bytes] = {}
        found = {}
        for i, service in enumerate(plan.services):
            same = (id(service.table), id(service.servers), service.backend)
            if same not in made:
                backend = name_hash(service.backend)
                ids = array("I", [self.numbers[backend, server] for server in service.servers])
                picked = array("I", bytes(4 * len(service.table)))
                places.gather(service.table, ids, picked)
                made[same] = picked.tobytes()
            found[i] = made[same]
        return found

    def _placed(self, contents: set[bytes]) -> tuple[dict[bytes, tuple[int, int]], list[bytes]]:
        """Where each picking table stands or will stand, and which must be written."""
        placed = {one: at for one, at in self.regions.items() if one in contents}
        fresh = sorted(contents - placed.keys(), key=len, reverse=True)
        taken = sorted([*self.regions.values(), *self.left])
        for content in fresh:
            placed[content] = at = self._gap(taken, len(content) // 4)
            taken = sorted([*taken, at])
        return placed, fresh

    def _gap(self, taken: Sequence[tuple[int, int]], length: int) -> tuple[int, int]:
        at = 0
        for first, size in taken:
            if first - at >= length:
                break
            at = max(at, first + size)
        if at + length > self.tables["places"].form.size:
            raise FoursevenError(
                f"the picking tables need more than {self.tables['places'].form.size} places, "
                "the old ones counted in"
            )
        return at, length

    def moved(self) -> bool:
        """Have the addresses of ours on the ways to servers changed? Then `apply` is due."""
        before, found = self.ways, netlink.sources(self.ways)
        self.ways = {one: found.get(one) for one in before}
        return before != self.ways

    def _ask_ways(self, plan: KernelPlan) -> None:
        """Ours on the ways to the plan's servers: those that are not known are asked, at once."""
        lists = {id(s.servers): s.servers for s in plan.services if s.mode == MASQUERADE}
        meant = {server.address for servers in lists.values() for server in servers}
        known = {one for one, own in self.ways.items() if own is not None}
        fresh = netlink.sources(meant - known)
        self.ways = {one: self.ways[one] if one in known else fresh.get(one) for one in meant}

    def _server_rows(self, plan: KernelPlan) -> dict[int, bytes]:
        rows: dict[int, bytes] = {}
        self._ask_ways(plan)
        sources: dict[int, tuple[int, int]] = {}  # listeners of several modes may share a server
        done: set[tuple[int, str, int]] = set()
        for service in plan.services:
            same = (id(service.servers), service.backend, service.mode)
            if same in done:
                continue
            done.add(same)
            backend = name_hash(service.backend)
            weights = service.weights or (1,) * len(service.servers)
            for server, weight in zip(service.servers, weights, strict=True):
                number = self.numbers[backend, server]
                first, count = sources.get(number, (0, 0))
                if service.mode == MASQUERADE:
                    first, count = sources[number] = self._sources(plan, server)
                rows[number] = server_row(
                    server.address, server.port, min(weight, 0xFFFF), first, count, backend
                )
        return rows

    def _sources(self, plan: KernelPlan, server: End) -> tuple[int, int]:
        """The addresses of ours that a server's flows come from: where they begin, how many."""
        said = tuple(a for a in plan.masquerade_addresses if (a >> 32 == 0xFFFF) == server.is_v4)
        if not said:
            own = self.ways.get(server.address)
            if own is None:
                return 0, 0  # no way there just now: its flows are refused and counted
            said = (own,)
        if said not in self.sources:
            at = max((first + len(one) for one, first in self.sources.items()), default=0)
            if at + len(said) > SOURCES_MAX:
                raise FoursevenError(f"more than {SOURCES_MAX} addresses to masquerade with")
            for i, address in enumerate(said):
                row = SOURCE.pack(target=words(address))
                self.tables["sources"].put(INDEX.pack(number=at + i), row)
            self.sources[said] = at
        return self.sources[said], len(said)

    def _service_rows(
        self,
        plan: KernelPlan,
        contents: Mapping[int, bytes],
        regions: Mapping[bytes, tuple[int, int]],
    ) -> set[tuple[int, bytes]]:
        kept = set()
        for i, service in enumerate(plan.services):
            first, length = regions[contents[i]]
            family, key = vip_key(service)
            listener = self.named[name_hash(service.listener)]
            idle = min(max(-(-service.idle_ms // 1000), 1), IDLE_MAX)
            rest = service_row(service.pick, service.mode, listener, idle, service.mask)
            self._put_service(family, key, struct.pack("=II", first, length) + rest)
            kept.add((family, key))
        return kept

    def _put_service(self, family: int, key: bytes, row: bytes) -> None:
        if self.services.get((family, key)) == row:
            return
        table = self.tables[f"services{family}"]
        turning = row[PICK_AT] == IN_TURN and (family, key) in self.services
        before = table.get(key) if turning else None
        turn = before["turn"] if before is not None else 0
        table.put(key, row[:-8] + struct.pack("=Q", turn))
        self.services[family, key] = row

    def _put_own(self, plan: KernelPlan) -> None:
        """Whose an address is, whatever the port."""
        wanted: dict[tuple[int, bytes], int] = {}
        for service in plan.services:
            family, key = vip_key(service)
            place = family, key[: OWN[family].size]
            listener = self.named[name_hash(service.listener)]
            wanted[place] = listener if wanted.get(place, listener) == listener else SEVERAL
        for family, key in self.own.keys() - wanted.keys():
            self.tables[f"own{family}"].remove(key)
        for (family, key), number in wanted.items():
            if self.own.get((family, key)) != number:
                self.tables[f"own{family}"].put(key, INDEX.pack(number=number))
        self.own = wanted

    def drain(self) -> None:
        """No new flow from now on; what is known goes on."""
        for (family, key), row in list(self.services.items()):
            fields = SERVICE.unpack(row)
            self._put_service(family, key, SERVICE.pack(**{**fields, "length": 0}))

    # ---- ageing ----

    def tick(self) -> float:
        """A part of a sweep over the flows, or its begin."""
        return SLICE_S if self.sweep.step() else AT_REST_S

    def cut(self, server: tuple[str, End]) -> int:
        """Forgets every flow of a server. Its client's next packet finds none: it goes where a new
        flow would, and whoever gets it answers with RST."""
        number = self.numbers.get((name_hash(server[0]), server[1]))
        return 0 if number is None else self.sweep.cut(number)

    # ---- seeing ----

    def busy(self) -> int:
        """Flows that are alive."""
        return sum(row.flows_active for row in self._servers().values())

    def _servers(self) -> dict[int, Counts]:
        """What is counted of each server, by number."""
        traffic, load, settled = (
            filled(self.tables[name]) for name in ("traffic", "load", "settled")
        )
        return {n: _counts(traffic[n], load[n], settled[n]) for n in sorted(self.numbers.values())}

    def counters(self) -> PlaneCounts:
        """Everything, by the names of the plan in force."""
        found = PlaneCounts()
        rows = self._servers()
        for (backend, server), number in self.numbers.items():
            if backend in self.backends:
                found.servers[self.backends[backend], server] = rows[number]
        told, settled = filled(self.tables["listeners"]), filled(self.tables["settled"])
        for hashed, name in self.listeners.items():
            number = self.named[hashed]
            row = told[number]
            counts = _counts(row, row, settled[SERVERS_MAX + number])
            kept = {one: getattr(counts, one) for one in Counts.__dataclass_fields__}
            drops = reasons(row)
            found.listeners[name] = ListenerCounts(**kept, passed=row["passed"], drops=drops)
        found.drops = reasons(told[SEVERAL])
        return found

    def flows(self, wanted: FlowFilter | None = None) -> Iterator[FlowRecord]:
        """The flows that the kernel knows, from the client's side, in no order."""
        return records.flows(self.records(wanted or FlowFilter()))

    def records(self, wanted: FlowFilter) -> Iterator[bytes]:
        """The same, as they are told: rows of records.py."""
        return told(self.sweep.rows, wanted, self.sweep.clock)


SERVERS = ("servers", "ways", "load", "traffic", "settled")
LISTENERS = ("listeners",)


def _counts(traffic: dict[str, Any], load: dict[str, Any], settled: dict[str, Any]) -> Counts:
    gone = load["ended"] + settled["ended"] + settled["evicted"]
    return Counts(
        packets_in=traffic["packets_in"],
        bytes_in=traffic["bytes_in"],
        packets_out=traffic["packets_out"],
        bytes_out=traffic["bytes_out"],
        flows_active=max(load["began"] - gone, 0),
        flows_new=load["began"],
        flows_closed=load["ended"] + settled["ended"],
        flows_evicted=settled["evicted"],
    )


def reasons(row: dict[str, Any]) -> dict[str, int]:
    """What a row counted of packets that were not served."""
    return {reason: row[reason] for reason in REASONS if row[reason]}


def _free(taken: set[int]) -> Iterator[int]:
    """Numbers that nobody has, the lowest first."""
    at = 0
    while True:
        if at not in taken:
            yield at
        at += 1


def whole(table: Table) -> Iterator[bytes]:
    """Every row of an array, in order."""
    size = table.row_size
    for _, rows, count in table.chunks():
        for i in range(count):
            yield rows[i * size : (i + 1) * size]


def held(table: Table, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Every key of a table, of this size, with its row."""
    for keys, rows, count in table.chunks():
        for i in range(count):
            yield (
                keys[i * size : (i + 1) * size],
                rows[i * table.row_size : (i + 1) * table.row_size],
            )


def filled(table: Table) -> dict[int, dict[str, Any]]:
    """The rows of an array in which something was counted; every other is all 0."""
    found = _Default(table.row(bytes(table.row_size)))
    found.update(counted(table))
    return found


class _Default(dict[int, dict[str, Any]]):
    def __init__(self, empty: dict[str, Any]) -> None:
        super().__init__()
        self.empty = empty

    def __missing__(self, _key: int) -> dict[str, Any]:
        return self.empty


def vip_key(service: Service) -> tuple[int, bytes]:
    """The family of a service, and the key of its row."""
    return _vip_key(service.vip.address, service.vip.port, service.protocol)


# Most rows are the same as at the last change: packing each anew would take most of its time.


@lru_cache(maxsize=2 * SERVICES_MAX)
def _vip_key(address: int, port: int, protocol: int) -> tuple[int, bytes]:
    family = 4 if address >> 32 == 0xFFFF else 6
    target = words(address)[-WORDS[family] :]
    return family, VIPS[family].pack(target=target, port=port, protocol=protocol)


@lru_cache(maxsize=2 * SERVICES_MAX)
def service_row(pick: int, mode: int, listener: int, idle: int, mask: int) -> bytes:
    """A service's row from behind `first` and `length` on."""
    numbers = {"pick": pick, "mode": mode, "listener": listener, "idle": idle}
    return SERVICE.pack(**numbers, mask=words(mask))[SERVICE.find("pick").offset :]


@lru_cache(maxsize=2 * SERVERS_MAX)
def server_row(  # noqa: PLR0917 - the fields of a row
    address: int, port: int, weight: int, first_source: int, sources: int, backend: int
) -> bytes:
    return SERVER.pack(
        target=words(address),
        port=port,
        weight=weight,
        first_source=first_source,
        sources=sources,
        used=1,
        backend=backend,
    )


def words(address: int) -> tuple[int, ...]:
    """128 bits as the four words of a row."""
    return tuple(address >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0))


def number_of(four: tuple[int, ...]) -> int:
    """The words of an address as 128 bits."""
    number = int.from_bytes(struct.pack(f">{len(four)}I", *four), "big")
    return number | (MAPPED if len(four) == 1 else 0)
