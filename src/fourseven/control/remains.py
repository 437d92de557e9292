"""What stands in the kernel by a fourseven, seen from outside of it: to look at, or to take away.

    found()             each home of this network namespace, and which planes are there
    look(runtimes)      each plane as it is, to be asked for flows and counts; nothing changes
    clean(home)         takes all of it out of the kernel

`fourseven flows` and `l4 clean` work by this, whether a fourseven runs or not; and the tables of
OPENERS and REMOVERS are those of the engine.

Law: who only looks changes nothing; what is in use is removed by its owner alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.control.host import facts_for
from fourseven.control.runtime import Runtime
from fourseven.l4 import host, pins, plane
from fourseven.l4.kernel_plan import kernel_plan
from fourseven.l4.kernel_plane import Home, KernelPlane
from fourseven.l4.nftables import plane as nftables
from fourseven.l4.nftables import table

Opener = Callable[[Home], KernelPlane]
Remover = Callable[[Home], bool]

OPENERS: dict[str, Opener] = {
    "tcx": lambda home: plane.BpfPlane(home, "tcx"),
    "xdp": lambda home: plane.BpfPlane(home, "xdp"),
    "nftables": nftables.open_plane,
}
REMOVERS: dict[str, Remover] = {
    "tcx": lambda home: plane.remove(home, "tcx"),
    "xdp": lambda home: plane.remove(home, "xdp"),
    "nftables": nftables.remove,
}


def found() -> list[tuple[Home, list[str]]]:
    """Every home of this network namespace with the planes that are there."""
    folders = dict(pins.homes())
    tables = table.names()
    homes = []
    for name in sorted({*folders, *tables}):
        folder = folders.get(name)
        pinned = [one.name for one in sorted(folder.iterdir())] if folder is not None else []
        planes = [one for one in pinned if one in OPENERS]
        homes.append((Home(name, folder), planes + ["nftables"] * (name in tables)))
    return homes


def look(runtimes: list[Path], every: bool) -> Iterator[tuple[str, KernelPlane]]:
    """(name of the plane, the plane) of each that is there: of these runtime directories, and with
    `every` of all that are pinned.

    What is pinned says all by itself. nftables' flows are those of conntrack that are ours by the
    file in force, so its runtime directory must be among these.
    """
    known = {pins.home_name(path.resolve()): Runtime(path) for path in runtimes}
    for home, planes in found():
        for one in planes:
            if one != "nftables" and (every or home.name in known):
                yield one, plane.BpfPlane(home, one, look=True)
            elif home.name in known and (kept := known[home.name].in_force()) is not None:
                yield one, _nftables(home, *kept)


def _nftables(home: Home, file: str, raw: bytes) -> KernelPlane:
    looking = nftables.open_plane(home)  # asks and no more until a plan is applied
    config = loads(raw, file)
    looking.plan = kernel_plan(compile_plan(config, facts_for(config)), "nftables", host.own())
    return looking


def clean(home: Home) -> list[str]:
    """Takes everything of one home out of the kernel; which planes there were."""
    removed = [name for name, remove in REMOVERS.items() if remove(home)]
    if home.pins is not None:
        pins.leave(home.pins)
    return removed
