"""The eBPF planes, tcx and xdp, over their whole life: loaded, pinned, adopted, swapped, removed.

What a packet meets is a program (program/), its tables are written by a DataPath (datapath). This
file holds both, and the places before the interfaces, and gives all of it names (pins), so that it
goes on without a process and the next process goes on with it.

    tables of a kind that fits      adopted with every flow in them
    tables of another version       removed; their flows end
    a program                       made anew by each process, and put into the places of the old
                                    one between two packets: it never matters who loaded it
    a link whose interface is gone  removed

A program is made for what plans need (families, protocols, picks, ways back), of this plan and of
those before it: a flow of a listener that has left is still translated. What the program that was
found could do stands in the name of its pin.

On xdp the tcx program stands behind: it gets what is not plain enough for xdp.

Laws: `apply` is refused before anything has changed. Nothing here is touched that a fourseven of
this home did not make.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fourseven.errors import FoursevenError
from fourseven.l4 import host, netlink, pins
from fourseven.l4.bpf.build import Program
from fourseven.l4.bpf.kernel import TCX_INGRESS, XDP, BpfError, Hook, Link, Loaded, Table
from fourseven.l4.datapath import DataPath, held
from fourseven.l4.kernel_plan import MAPPED, End, KernelPlan, Service
from fourseven.l4.kernel_plane import FlowFilter, FlowRecord, Home, PlaneCounts
from fourseven.l4.program.decide import program
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.tables import PLACES_MAX, fingerprint
from fourseven.l4.program.wire import INDEX, INTERFACES_MAX, NO_TX, SHORT, Wire
from fourseven.l4.program.xdp import XdpWire

HOOKS: dict[str, tuple[tuple[Hook, type[Wire]], ...]] = {  # the one that is met last comes first
    "tcx": ((TCX_INGRESS, SkbWire),),
    "xdp": ((TCX_INGRESS, SkbWire), (XDP, XdpWire)),
}
LEFT = "the kernel planes' tables were of another form; their flows end"
IDLE_S = 60.0  # between two calls where nothing is served


@dataclass(frozen=True, slots=True)
class Shape:
    """What a program must know of."""

    families: frozenset[int] = frozenset()
    protocols: frozenset[int] = frozenset()
    picks: frozenset[int] = frozenset()
    modes: frozenset[int] = frozenset()

    @classmethod
    def of(cls, plan: KernelPlan) -> Shape:
        parts = (plan.families(), plan.protocols(), plan.picks(), plan.modes())
        return cls(*(frozenset(part) for part in parts))

    def __or__(self, other: Shape) -> Shape:
        return Shape(*(a | b for a, b in zip(self.parts(), other.parts(), strict=True)))

    def __le__(self, other: Shape) -> bool:
        return all(a <= b for a, b in zip(self.parts(), other.parts(), strict=True))

    def parts(self) -> tuple[frozenset[int], ...]:
        return self.families, self.protocols, self.picks, self.modes

    def __str__(self) -> str:
        """Letters for a name: f4-6_p6-17_k1_m0."""
        words = ("-".join(map(str, sorted(part))) for part in self.parts())
        return "_".join(letter + word for letter, word in zip("fpkm", words, strict=True))

    @classmethod
    def read(cls, text: str) -> Shape:
        """Of such letters."""
        words = (word[1:].split("-") for word in text.split("_"))
        return cls(*(frozenset(int(one) for one in word if one) for word in words))

    def plan(self, flows_max: int) -> KernelPlan:
        """A plan that needs just this, and serves nobody."""
        addresses = {4: MAPPED, 6: 0}
        services = tuple(
            Service("", End(addresses[family], 0), protocol, pick, (), (), 0, 0, mode)
            for family, protocol, pick, mode in itertools.product(*self.parts())
        )
        return KernelPlan(services, flows_max)


class BpfPlane:
    """tcx or xdp, as control sees it."""

    def __init__(self, home: Home, name: str = "tcx", *, look: bool = False) -> None:
        """`look`: to see what is there, and change nothing."""
        self.name = name
        self.pins = home.pins / name if home.pins is not None else None
        self.shape = Shape()
        self.flows_max = 0  # of the tables, which keep their size
        self.texts: dict[tuple[Shape, int, type[Wire]], Program] = {}
        self.tables: dict[str, Table] = {}
        self.rows: DataPath | None = None
        self.programs: dict[str, Loaded] = {}  # by hook
        self.links: dict[tuple[int, str], Link] = {}  # by interface and hook
        if self.pins is not None and self.pins.is_dir():
            if look:
                with contextlib.suppress(BpfError, ValueError, StopIteration):
                    self._adopt_tables(self.pins)
            else:
                self._adopt(self.pins)
        self.adopted = self.rows is not None

    # ---- what a predecessor left ----

    def _adopt(self, path: Path) -> None:
        """Takes over what fits, and removes what does not."""
        try:
            self._adopt_tables(path)
        except (BpfError, ValueError, StopIteration):
            self._forget()
            pins.empty(path)
            return
        for one in sorted(path.glob("link-*")):
            _, hook, number = one.name.split("-")
            link = Link.open(one)
            if link.interface() == int(number):
                self.links[int(number), hook] = link
            else:  # its interface is gone
                link.close()
                one.unlink()

    def _adopt_tables(self, path: Path) -> None:
        _, version, said = next(path.glob("shape-*")).name.split("-", 2)
        letters, _, flows_max = said.partition("_n")
        shape = Shape.read(letters)
        maps = self._text(shape, int(flows_max)).maps
        if version != fingerprint(maps.values()):
            raise ValueError(LEFT)
        for name, form in maps.items():
            self.tables[name] = Table(form, path / name)
        self.shape, self.flows_max = shape, int(flows_max)
        self.rows = DataPath(self.tables)

    def _text(self, shape: Shape, flows_max: int, wire: type[Wire] = SkbWire) -> Program:
        """A program for a shape; writing it takes as long as all the rest, so it is kept a while:
        who adopts tables needs it twice."""
        key = shape, flows_max, wire
        if key not in self.texts:
            self.texts[key] = program(shape.plan(flows_max), PLACES_MAX, wire)
        return self.texts[key]

    def _forget(self) -> None:
        if self.rows is not None:
            self.rows.close()
        for one in (*self.links.values(), *self.programs.values(), *self.tables.values()):
            one.close()
        self.rows, self.shape = None, Shape()
        for all_ in (self.links, self.programs, self.tables):
            all_.clear()

    # ---- a plan ----

    def apply(self, plan: KernelPlan) -> None:
        """Serves these services from now on; FoursevenError: all is as it was."""
        if not plan.services and self.rows is None:
            return
        with _refusals():
            wanted = self.shape | Shape.of(plan)
            self.flows_max = self.flows_max or plan.flows_max
            if self.rows is not None and self.programs and wanted == self.shape:
                self.rows.apply(plan)
                return
            with contextlib.ExitStack() as fresh:
                self._widen(wanted, plan, fresh)

    def _widen(self, wanted: Shape, plan: KernelPlan, fresh: contextlib.ExitStack) -> None:
        """Other programs, over more tables if that is needed, in the places of the old ones."""
        texts = {hook: self._text(wanted, self.flows_max, wire) for hook, wire in HOOKS[self.name]}
        maps = next(iter(texts.values())).maps
        tables = dict(self.tables)
        for name, form in maps.items():
            if name not in tables:
                tables[name] = fresh.enter_context(Table(form))
        programs = {
            _word(hook): fresh.enter_context(Loaded(text.assemble(), tables, hook))
            for hook, text in texts.items()
        }
        rows = DataPath(tables)
        fresh.callback(rows.close)
        rows.apply(plan)
        self._pin(tables, f"shape-{fingerprint(maps.values())}-{wanted}_n{self.flows_max}")
        fresh.pop_all()
        self.texts.clear()
        # From here on nothing is refused.
        for (_, hook), link in self.links.items():
            link.update(programs[hook])
        for old in self.programs.values():
            old.close()
        if self.rows is not None:
            self.rows.close()
        self.tables, self.programs, self.rows, self.shape = tables, programs, rows, wanted

    def _pin(self, tables: dict[str, Table], shape: str) -> None:
        """Names for the tables, and one that says what they were made for."""
        if self.pins is None:
            return
        self.pins.mkdir(mode=0o700, exist_ok=True)
        for name, table in tables.items():
            if not (self.pins / name).exists():
                table.pin(self.pins / name)
        # The tables first: a name of the shape without them would be adopted.
        said = self.pins / shape
        before = [one for one in self.pins.glob("shape-*") if one != said]
        if not said.exists():
            next(iter(tables.values())).pin(said)
        for one in before:
            one.unlink()

    # ---- interfaces ----

    def stand(self, interfaces: Sequence[str]) -> list[str]:
        """Before these interfaces and no others; says where that cannot be."""
        links = netlink.links()
        self._tell(links)
        there = {one.name: one for one in links}
        wanted = {there[name].number: name for name in interfaces if name in there}
        problems = [f"there is no interface {name!r}" for name in interfaces if name not in there]
        for key in [key for key in self.links if key[0] not in wanted or self._lost(key)]:
            self._leave(key)
        for number, name in wanted.items():
            for hook, loaded in self.programs.items():
                if (number, hook) in self.links:
                    continue
                try:
                    self._enter(number, hook, loaded)
                except BpfError as error:
                    problems.append(f"{name}: {self.name} cannot stand there: {error.strerror}")
        return problems

    def _tell(self, links: Sequence[netlink.Interface]) -> None:
        """What the program must know of some interfaces."""
        if "interfaces" not in self.tables:
            return
        straight = set(host.short(links))
        wanted = {
            INDEX.pack(number=one.number): INDEX.pack(
                number=NO_TX | (SHORT if one.number in straight else 0)
            )
            for one in links
            if one.kind == "veth"
        }
        table = self.tables["interfaces"]
        there = dict(held(table, INDEX.size))
        for key in there.keys() - wanted.keys():
            table.remove(key)
        for key in sorted(wanted)[:INTERFACES_MAX]:
            if there.get(key) != wanted[key]:
                table.put(key, wanted[key])

    def _lost(self, key: tuple[int, str]) -> bool:
        return self.links[key].interface() != key[0]

    def _enter(self, number: int, hook: str, loaded: Loaded) -> None:
        link = loaded.attach(number)
        if self.pins is not None:
            link.pin(self.pins / f"link-{hook}-{number}")
        self.links[number, hook] = link

    def _leave(self, key: tuple[int, str]) -> None:
        number, hook = key
        link = self.links.pop(key)
        with contextlib.suppress(BpfError):  # the interface is gone already
            link.detach()
        link.close()
        if self.pins is not None:
            (self.pins / f"link-{hook}-{number}").unlink(missing_ok=True)

    # ---- what goes on ----

    def moved(self) -> bool:
        return self.rows is not None and self.rows.moved()

    def tick(self) -> float:
        return self.rows.tick() if self.rows is not None else IDLE_S

    def drain(self) -> None:
        if self.rows is not None:
            self.rows.drain()

    def busy(self) -> int:
        return self.rows.busy() if self.rows is not None else 0

    def counters(self) -> PlaneCounts:
        return self.rows.counters() if self.rows is not None else PlaneCounts()

    def flows(self, wanted: FlowFilter | None = None) -> Iterator[FlowRecord]:
        return self.rows.flows(wanted) if self.rows is not None else iter(())

    def records(self, wanted: FlowFilter) -> Iterator[bytes]:
        return self.rows.records(wanted) if self.rows is not None else iter(())

    def cut(self, server: tuple[str, End]) -> int:
        return self.rows.cut(server) if self.rows is not None else 0

    def close(self, remove: bool) -> None:
        if remove:
            for key in list(self.links):
                self._leave(key)
        self._forget()
        if remove and self.pins is not None and self.pins.is_dir():
            pins.empty(self.pins)


def remove(home: Home, name: str) -> bool:
    """Takes out what a fourseven of this home left; was there anything?"""
    path = home.pins / name if home.pins is not None else None
    if path is None or not path.is_dir():
        return False
    for one in path.glob("link-*"):
        with contextlib.suppress(BpfError), Link.open(one) as link:
            link.detach()
    pins.empty(path)
    return True


def _word(hook: Hook) -> str:
    """A hook in the name of a pin: tcx, xdp."""
    return hook.name.partition(" ")[0]


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What the kernel refuses, as a line for the user."""
    try:
        yield
    except BpfError as error:
        raise FoursevenError(error.strerror or str(error)) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.ENOENT, errno.EPERM, errno.EACCES):
            raise FoursevenError(f"{error.filename}: {error.strerror}") from None
        raise
