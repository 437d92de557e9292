"""What stands in the kernel by a fourseven, seen from outside of it: to look at, or to take away.

    found()             each home of this network namespace, and which planes are there
    look(names)         each plane as it is, to be asked for flows and counts; nothing changes
    clean(home)         takes all of it out of the kernel

`fourseven flows` and `l4 clean` work by this, whether a fourseven runs or not; and the tables of
OPENERS and REMOVERS are those of the engine.

Law: who only looks changes nothing; what is in use is removed by its owner alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from fourseven.l4 import pins, plane
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
LOOKERS: dict[str, Opener] = {
    "tcx": lambda home: plane.BpfPlane(home, "tcx", look=True),
    "xdp": lambda home: plane.BpfPlane(home, "xdp", look=True),
    "nftables": nftables.open_plane,  # asks, and no more until a plan is applied
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


def look(names: Collection[str] = ()) -> Iterator[tuple[str, KernelPlane]]:
    """(name of the plane, the plane) of each that is there, in these homes; none named: in all."""
    for home, planes in found():
        for one in planes if not names or home.name in names else ():
            yield one, LOOKERS[one](home)


def clean(home: Home) -> list[str]:
    """Takes everything of one home out of the kernel; which planes there were."""
    removed = [name for name, remove in REMOVERS.items() if remove(home)]
    if home.pins is not None:
        pins.leave(home.pins)
    return removed
