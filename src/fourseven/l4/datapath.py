"""The data path in the kernel: the program, its tables, and the interfaces that it stands before.

    path = DataPath(plan)        the program is built, verified and loaded; nothing meets it yet
    path.attach("eth0")          from now on it does
    path.apply(other_plan)       other servers, weights, listeners; flows stay where they are
    path.close()                 nothing is left

The picking tables have two halves: a change is written into the one that nobody reads, then each
service's row is swapped for one that points there. A packet sees the old tables or the new ones.

Laws: a server keeps its number as long as the data path lives, so a flow's counts are never
another's. Nothing is pinned: the kernel removes everything when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple, Self

from fourseven.errors import FoursevenError
from fourseven.l4.bpf.kernel import Descriptor, Loaded, Table
from fourseven.l4.kernel_plan import End, KernelPlan, Service
from fourseven.l4.program.decide import (
    COUNTS,
    INDEX,
    KEY,
    PLACES_MAX,
    SERVER,
    SERVERS_MAX,
    SERVICE,
    TO_SERVER,
    VIP,
    program,
)

SIOCGIFHWADDR = 0x8927
ETHERNET_TYPES = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK: those with an Ethernet header


class Flow(NamedTuple):
    """A live flow, from the client's side."""

    protocol: int
    client: End
    vip: End
    server: End
    packets: int
    bytes: int
    closing: bool


class DataPath:
    """The tcx program of a plan, loaded."""

    def __init__(self, plan: KernelPlan, places: int = PLACES_MAX) -> None:
        self.plan = plan
        self.numbers: dict[End, int] = {}
        self.links: dict[str, Descriptor] = {}
        self.half = places // 2
        self.upper = False  # the half that is being read
        self.rows: set[bytes] = set()
        self._open = contextlib.ExitStack()
        written = program(plan, places)
        with contextlib.ExitStack() as opened:  # what was opened closes if what follows fails
            self.tables = {
                name: opened.enter_context(Table(form)) for name, form in written.maps.items()
            }
            self.loaded = opened.enter_context(Loaded(written.assemble(), self.tables))
            self.apply(plan)
            self._open = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Off the interfaces, then out of the kernel."""
        for link in self.links.values():
            link.close()
        self.links.clear()
        self._open.close()

    def attach(self, interface: str) -> None:
        """Puts the program before what an interface receives."""
        try:
            number = socket.if_nametoindex(interface)
            kind = hardware(interface)
        except OSError:
            raise FoursevenError(f"there is no interface {interface!r}") from None
        if kind not in ETHERNET_TYPES:
            raise FoursevenError(f"{interface} has no Ethernet header; tcx needs one")
        self.links[interface] = self.loaded.attach(number)

    def apply(self, plan: KernelPlan) -> None:
        """Other tables for the same program; established flows do not notice."""
        for what in ("families", "picks"):
            more = getattr(plan, what)() - getattr(self.plan, what)()
            if more:
                raise FoursevenError(f"the program was built without {what} {more}; start it anew")
        starts = self._places(plan)
        self._servers(plan)
        rows: set[bytes] = set()
        for service in plan.services:
            key = VIP.pack(
                target=words(service.vip.address),
                port=service.vip.port,
                protocol=service.protocol,
            )
            self.tables["services"].put(key, self._row(service, starts))
            rows.add(key)
        for gone in self.rows - rows:
            self.tables["services"].remove(gone)
        self.rows = rows
        self.upper = not self.upper

    def _row(self, service: Service, starts: dict[tuple[object, ...], int]) -> bytes:
        return SERVICE.pack(
            first=starts[service.servers, service.table],
            length=len(service.table),
            pick=service.pick,
            mask=words(service.mask),
            idle=service.idle_ms * 1_000_000,
        )

    def _places(self, plan: KernelPlan) -> dict[tuple[object, ...], int]:
        """Writes every picking table into the half that nobody reads; where each begins."""
        starts: dict[tuple[object, ...], int] = {}
        at = 0 if self.upper else self.half
        end = at + self.half
        for service in plan.services:
            if (service.servers, service.table) in starts:
                continue
            if at + len(service.table) > end:
                raise FoursevenError(f"the tables need more than {self.half} places")
            ids = [self._number(server) for server in service.servers]
            values = struct.pack(f"={len(service.table)}I", *(ids[i] for i in service.table))
            self.tables["places"].fill(at, values, len(service.table))
            starts[service.servers, service.table] = at
            at += len(service.table)
        return starts

    def _number(self, server: End) -> int:
        if server not in self.numbers and len(self.numbers) == SERVERS_MAX:
            raise FoursevenError(f"more than {SERVERS_MAX} servers were seen; start it anew")
        return self.numbers.setdefault(server, len(self.numbers))

    def _servers(self, plan: KernelPlan) -> None:
        for server in {server for service in plan.services for server in service.servers}:
            row = SERVER.pack(target=words(server.address), port=server.port)
            self.tables["servers"].put(INDEX.pack(number=self._number(server)), row)

    # ---- seeing ----

    def counts(self) -> dict[End, dict[str, int]]:
        """Flows, packets and bytes of each server that was ever among them."""
        found = {}
        for server, number in self.numbers.items():
            row = self.tables["counts"].get(INDEX.pack(number=number))
            found[server] = row if row is not None else COUNTS.unpack(bytes(COUNTS.size))
        return found

    def flows(self) -> Iterator[Flow]:
        """The flows that the kernel remembers, in no order."""
        table = self.tables["flows"]
        for raw in table.keys():  # noqa: SIM118 - a table is no dict
            row = table.get(raw)
            if row is None or row["way"] != TO_SERVER:
                continue
            key = KEY.unpack(raw)
            yield Flow(
                key["protocol"],
                End(number_of(key["source"]), key["source_port"]),
                End(number_of(key["destination"]), key["destination_port"]),
                End(number_of(row["target"]), row["port"]),
                row["packets"],
                row["bytes"],
                bool(row["closing"]),
            )


def hardware(interface: str) -> int:
    """Its kind of link, asked of a socket: /sys may be that of another network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("=16s24x", interface.encode())
        return int(struct.unpack_from("=H", fcntl.ioctl(asking, SIOCGIFHWADDR, request), 16)[0])


def words(address: int) -> tuple[int, ...]:
    """128 bits as the four words of a key."""
    return tuple(address >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0))


def number_of(four: tuple[int, ...]) -> int:
    """Four words of a key as 128 bits."""
    return int.from_bytes(struct.pack(">4I", *four), "big")
