"""A data path that holds everything itself: the program, its tables, and the interfaces.

    with Standalone(plan) as path:       built, verified and loaded; nothing meets it yet
        path.attach("eth0")              from now on it does
        path.apply(other_plan)           other servers, weights, listeners; flows stay

A plan that needs what the program does not have (another way of picking, UDP) gets a new program on
the same tables, swapped in between two packets.

Law: nothing is pinned: the kernel removes everything when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
from typing import Self

from fourseven.errors import FoursevenError
from fourseven.l4.bpf.kernel import Link, Loaded, Table
from fourseven.l4.datapath import DataPath
from fourseven.l4.kernel_plan import KernelPlan
from fourseven.l4.program.decide import program
from fourseven.l4.program.tables import PLACES_MAX

SIOCGIFHWADDR = 0x8927
ETHERNET_TYPES = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK: those with an Ethernet header


class Standalone:
    """The tcx program of a plan, loaded, with its rows."""

    def __init__(self, plan: KernelPlan, places: int = PLACES_MAX) -> None:
        self.plan, self.places = plan, places
        self.links: dict[str, Link] = {}
        self.tables: dict[str, Table] = {}
        with contextlib.ExitStack() as opened:  # what was opened closes if what follows fails
            self._open = opened
            self.loaded = self._load(plan)
            self.rows = DataPath(self.tables)
            opened.callback(self.rows.close)
            self.rows.apply(plan)
            self._open = opened.pop_all()

    def _load(self, plan: KernelPlan) -> Loaded:
        written = program(plan, self.places)
        for name, form in written.maps.items():
            if name not in self.tables:
                self.tables[name] = self._open.enter_context(Table(form))
        return self._open.enter_context(Loaded(written.assemble(), self.tables))

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
        """Other tables, and another program where this one does not suffice."""
        if not covers(self.plan, plan):
            if plan.families() - self.plan.families() or plan.modes() - self.plan.modes():
                raise FoursevenError("the tables were made for other listeners; start it anew")
            self.loaded = self._load(plan)
            for link in self.links.values():
                link.update(self.loaded)
            self.plan = plan
        self.rows.apply(plan)


def covers(built: KernelPlan, wanted: KernelPlan) -> bool:
    """Has the program of one plan all that another needs?"""
    return (
        wanted.families() <= built.families()
        and wanted.protocols() <= built.protocols()
        and wanted.picks() <= built.picks()
        and wanted.modes() <= built.modes()
    )


def hardware(interface: str) -> int:
    """Its kind of link, asked of a socket: /sys may be that of another network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        request = struct.pack("=16s24x", interface.encode())
        return int(struct.unpack_from("=H", fcntl.ioctl(asking, SIOCGIFHWADDR, request), 16)[0])
