"""The one book of what each server may do, and the only place that tells the data planes.

Checks, ejection, the operator and slow start each have their say (health.standing puts the words of
one server together); what follows goes out as an Order for each server that it changes anything
for. Changes within one turn of the loop go out together.

    usable = able, or the backend is in panic and the operator has not taken the server out

Panic: of a backend of which fewer than `panic` percent are able, all are used. Most likely the
check is wrong or the net is, and the few that are left would only be crushed. Those that the
operator took out do not count, and are never used.

What is known of a server is kept over a reload if it stays. The operator's words are kept as long
as their backend is there, and `keep` hands them out at each change: the supervisor gives them to
the next engine (`recall`), so that a crash brings nothing back that somebody took out.

Laws: one thread. A word of the operator holds whatever the checks say. Nothing here scans all
servers because one of them has changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from fourseven.control import logs
from fourseven.control.health import Health, Key
from fourseven.errors import FoursevenError
from fourseven.health.standing import NOTHING, WHOLE, Order, Row, Said, Word
from fourseven.plan import BackendPlan, Plan
from fourseven.scalars import WEIGHT_MAX

STEP_S = 0.1  # between two steps of a slow start: a hundredth of the usual ten seconds
DRAIN_LOOK_S = 0.25  # somebody waits for it
DRAINED_LOOK_S = 2.0  # it may stay so for days; sessions that persist may still come


class Outlet(Protocol):
    """Where the book's words go: the engine."""

    def tell(self, changed: dict[Key, Order]) -> None:
        """Other orders for these servers."""

    def reweigh(self) -> None:
        """`weights` has changed."""

    def keep(self, words: list[Any]) -> None:
        """The operator's words, for the next engine."""

    def in_flight(self, keys: set[Key]) -> dict[Key, int]:
        """Requests, connections and flows at these servers."""


class Seen(NamedTuple):
    """A server, for people and programs."""

    state: str  # up, going down, down, coming up, ejected, starting, draining, drained, maintenance
    why: str
    since: float  # of the state; seconds since 1970
    usable: bool
    share: int  # per mille; below 1000 during a slow start
    weight: int  # in force
    file_weight: int
    word: str  # the operator's, or the file's where there is none
    file_word: str
    until: float | None  # of a drain; seconds since 1970
    checked_at: float | None = None  # seconds since 1970; None: not checked (yet)
    check_ms: float | None = None
    check: str = ""  # what the last check found; empty: all well
    ejections: int = 0  # since it is known


@dataclass(slots=True)
class Group:
    """The servers of one backend, counted."""

    plan: BackendPlan
    rows: dict[str, Row] = field(default_factory=dict)  # by address
    able: int = 0
    asked_for: int = 0
    panic: bool = False

    def count(self, row: Row) -> None:
        """A row of ours has changed."""
        asked_for, able = row.counted
        row.counted = row.asked_for, row.able
        self.asked_for += row.counted[0] - asked_for
        self.able += row.counted[1] - able

    @property
    def in_panic(self) -> bool:
        health = self.plan.health
        return health is not None and 100 * self.able < health.panic_percent * self.asked_for


class Servers:
    """All servers of one engine."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._loop = asyncio.get_running_loop()
        self.health = Health(self._judged)
        self._groups: dict[str, Group] = {}
        self._words: dict[Key, Word] = {}
        self._restless: set[Key] = set()  # of whom time alone makes something else
        self._changed: dict[Key, Order] = {}
        self._timer: asyncio.TimerHandle | None = None

    # ---- plans ----

    def use(self, plan: Plan) -> None:
        """From now on the servers of this plan. Whoever published it tells `orders` to all."""
        self.health.use(plan)
        names = {backend.name for backend in plan.backends}
        said = self._words
        self._words = {key: word for key, word in said.items() if key[0] in names}
        before, self._groups = self._groups, {}
        for backend in plan.backends:
            self._groups[backend.name] = self._group(backend, before.get(backend.name))
        if self._words != said:
            self._outlet.keep(self.words())
        self._restless = {key for key in self._restless if self._row(key) is not None}
        self._changed.clear()

    def _group(self, backend: BackendPlan, before: Group | None) -> Group:
        group = Group(backend)
        now = self._loop.time()
        old = before.rows if before is not None else {}
        health = backend.health
        for server in backend.servers:
            key = (backend.name, server.address)
            row = old.get(server.address) or Row(server.weight, since=now)
            row.weight, row.slow_start_ms = server.weight, backend.slow_start_ms
            row.cut_when_down = health is not None and health.on_down == "cut"
            row.judged = self.health.judged.get(key)
            row.written(Said(server.standing), server.drain_ms, now)
            word = self._words.get(key, NOTHING)
            if word.said is row.in_file is Said.ENABLE:  # it was against a file that is gone
                word = word._replace(said=None)
                self._note(key, word)
            row.word = word
            if old and row.able and not row.counted[1]:
                self._begin(key, row)  # new, or back: it comes to others that have all the work
            if not row.slow_start_ms:
                row.began = None
            if not row.asked_for and key not in self._restless:  # an engine before us was told
                self._restless.add(key)
                self._wake(DRAIN_LOOK_S)
            group.rows[server.address] = row
            row.counted = (False, False)
            group.count(row)
        group.panic = group.in_panic
        for row in group.rows.values():
            row.order = row.ordered(now, group.panic)
            self._stands(row)
        return group

    @property
    def orders(self) -> dict[Key, Order]:
        """Of every server."""
        return {key: row.order for key, row in self._rows()}

    def out(self, plan: Plan) -> set[Key]:
        """Servers of a plan (which need not be in use) that get no new work, as far as is known."""
        standings = (
            ((one.name, server.address), Said(server.standing))
            for one in plan.backends
            for server in one.servers
        )
        return {key for key, in_file in standings if not self._expected(key, in_file)}

    def _expected(self, key: Key, in_file: Said) -> bool:
        if (self._words.get(key, NOTHING).said or in_file) is not Said.ENABLE:
            return False
        row = self._row(key)
        return row is None or row.order.usable

    @property
    def weights(self) -> dict[Key, int]:
        """Those that are not the file's."""
        return {key: one.weight for key, one in self._words.items() if one.weight is not None}

    # ---- the operator ----

    def operate(
        self, key: Key, said: str, deadline_s: float | None = None, keep: bool = True
    ) -> None:
        """enable, drain or maintenance. `deadline_s`: how long a draining server still gets its
        persistent sessions; None: as long as they come. `keep`: over reloads and upgrades, too.
        FoursevenError: no such server, no word."""
        row = self._known(key)
        try:
            word = Said(said)
        except ValueError:
            words = ", ".join(Said)
            raise FoursevenError(f"{said!r} is nothing to say of a server; {words} are") from None
        until = None
        if word is Said.DRAIN and deadline_s is not None:
            until = self._loop.time() + max(deadline_s, 0.0)
        before = self._words.get(key, NOTHING)
        as_in_file = word is Said.ENABLE and row.in_file is Said.ENABLE  # nothing to remember
        self._take(key, before._replace(said=None if as_in_file else word, until=until, keep=keep))
        self._tell()  # it holds when the operator gets his answer
        fields = {"deadline_s": deadline_s} if until is not None else {}
        logs.say("server.operated", backend=key[0], server=key[1], word=word.value, **fields)

    def weigh(self, key: Key, weight: int | None, keep: bool = True) -> None:
        """Another weight; None: the file's again. FoursevenError: no such server, no weight."""
        self._known(key)
        if weight is not None and not 0 <= weight <= WEIGHT_MAX:
            raise FoursevenError(f"{weight} is no weight; write one from 0 to {WEIGHT_MAX}")
        self._take(key, self._words.get(key, NOTHING)._replace(weight=weight, keep=keep))
        logs.say("server.weighed", backend=key[0], server=key[1], weight=self._weight(key))
        self._outlet.reweigh()

    def unsay(self, key: Key) -> None:
        """What the operator has said of a server holds no longer, also where it is gone."""
        before = self._words.pop(key, NOTHING)
        if self._row(key) is None:
            self._outlet.keep(self.words())
            return
        self._take(key, NOTHING)
        self._tell()
        logs.say("server.unsaid", backend=key[0], server=key[1])
        if before.weight is not None:
            self._outlet.reweigh()

    def words(self) -> list[Any]:
        """All that the operator has said and that is not the file's, as JSON can carry it:
        [backend, server, word or null, until (monotonic) or null, weight or null, keep]."""
        return [
            [*key, one.said and one.said.value, one.until, one.weight, one.keep]
            for key, one in self._words.items()
        ]

    def recall(self, words: Iterable[Any]) -> None:
        """What a predecessor was told; before the first `use`."""
        for backend, server, said, *rest in words:
            self._words[backend, server] = Word(Said(said) if said else None, *rest)

    def forget_passing(self) -> list[Key]:
        """The file is loaded anew: words that were not to be kept end; whose they were."""
        passing = [key for key, word in self._words.items() if not word.keep]
        for key in passing:
            del self._words[key]
        if passing:
            self._outlet.keep(self.words())
        return passing

    def _note(self, key: Key, word: Word) -> None:
        if word.is_nothing:
            self._words.pop(key, None)
        else:
            self._words[key] = word

    def _take(self, key: Key, word: Word) -> None:
        self._note(key, word)
        row = self._known(key)
        row.word, row.idle = word, False
        self._restless.add(key)  # it leaves by itself
        self._settle(key, row)
        self._wake(_again_s(row, self._loop.time()))
        self._outlet.keep(self.words())

    def _known(self, key: Key) -> Row:
        row = self._row(key)
        if row is not None:
            return row
        group = self._groups.get(key[0])
        if group is None:
            raise FoursevenError(f"there is no backend {key[0]}")
        known = ", ".join(list(group.rows)[:5]) or "none"
        raise FoursevenError(f"backend {key[0]} has no server {key[1]}; it has {known}")

    # ---- those who judge ----

    def eject(self, key: Key, why: str) -> None:
        """No new work for a server that does badly; `why` is empty: it is back."""
        row = self._row(key)
        if row is not None and row.ejected != why:
            row.ejected = why
            row.ejections += bool(why)
            self._settle(key, row)

    def burden(self, key: Key, share: int) -> None:
        """The share of a server, per mille, that follows from how busy it says it is."""
        row = self._row(key)
        if row is not None and row.burden != share:
            row.burden = share
            self._order(key, row, self._groups[key[0]].panic)

    def _judged(self, key: Key) -> None:
        """A check has changed what is thought of a server."""
        row = self._row(key)
        if row is not None:
            self._settle(key, row)

    # ---- what follows ----

    def _settle(self, key: Key, row: Row) -> None:
        """A row has changed: the counts of its backend, its order, and in panic everybody's."""
        group = self._groups[key[0]]
        was_able = row.counted[1]
        group.count(row)
        if row.able and not was_able:
            self._begin(key, row)
        elif not row.able:
            row.began = None
        panic = group.in_panic
        if panic == group.panic:
            self._order(key, row, panic)
            return
        group.panic = panic
        if panic:
            logs.warn("health.panic", backend=key[0], able=group.able, of=group.asked_for)
        else:
            logs.say("health.calm", backend=key[0], able=group.able, of=group.asked_for)
        for address, one in group.rows.items():
            self._order((key[0], address), one, panic)

    def _order(self, key: Key, row: Row, panic: bool) -> None:
        self._stands(row)
        order = row.ordered(self._loop.time(), panic)
        if order == row.order:
            return
        row.order = order
        if not self._changed:
            self._loop.call_soon(self._tell)
        self._changed[key] = order

    def _tell(self) -> None:
        changed, self._changed = self._changed, {}
        if changed:  # a plan that came in between has told everything
            self._outlet.tell(changed)

    def _begin(self, key: Key, row: Row) -> None:
        """A server is new or back: its share grows."""
        if row.slow_start_ms:
            row.began = self._loop.time()
            self._restless.add(key)
            self._wake(STEP_S)

    def _stands(self, row: Row) -> None:
        state, _ = row.stands()
        if state != row.state:
            row.state, row.since = state, self._loop.time()

    # ---- time ----

    def _wake(self, wait_s: float) -> None:
        """Looks again after this time at the latest."""
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + wait_s:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(wait_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        taken_out = {key for key, row in self._restive() if row.said is not Said.ENABLE}
        busy = self._outlet.in_flight(taken_out) if taken_out else {}
        for key, row in list(self._restive()):
            if row.began is not None and row.grown(now) >= WHOLE:
                row.began = None
            if key in taken_out:
                self._drained(key, row, busy.get(key, 0) == 0)
            elif row.began is None:
                self._restless.discard(key)
            self._order(key, row, self._groups[key[0]].panic)
        if waits := {_again_s(row, now) for _, row in self._restive()}:
            self._wake(min(waits))

    def _drained(self, key: Key, row: Row, idle: bool) -> None:
        """Says so once, when the last thing at a server has ended."""
        if idle and not row.idle and row.said is Said.DRAIN:
            logs.say("server.drained", backend=key[0], server=key[1])
        row.idle = idle

    def stop(self) -> None:
        """No more checks, nothing more is told."""
        self.health.stop()
        if self._timer is not None:
            self._timer.cancel()
        self._restless.clear()
        self._changed.clear()

    # ---- seeing ----

    def seen(self) -> dict[Key, Seen]:
        """Every server."""
        to_1970 = time.time() - self._loop.time()
        return {key: self._seen(key, row, to_1970) for key, row in self._rows()}

    def _seen(self, key: Key, row: Row, to_1970: float) -> Seen:
        state, why = row.stands()
        asked = self.health.asked.get(key)
        until = row.until
        return Seen(
            state=state,
            why=why,
            since=row.since + to_1970,
            usable=row.order.usable,
            share=row.order.share,
            weight=self._weight(key),
            file_weight=row.weight,
            word=row.said.value,
            file_word=row.in_file.value,
            until=None if until is None else until + to_1970,
            checked_at=None if asked is None else asked.at + to_1970,
            check_ms=None if asked is None else asked.took_s * 1000,
            check="" if asked is None else asked.failure,
            ejections=row.ejections,
        )

    def _weight(self, key: Key) -> int:
        row, weight = self._known(key), self._words.get(key, NOTHING).weight
        return row.weight if weight is None else weight

    # ---- rows ----

    def _row(self, key: Key) -> Row | None:
        group = self._groups.get(key[0])
        return group.rows.get(key[1]) if group is not None else None

    def _rows(self) -> Iterator[tuple[Key, Row]]:
        for name, group in self._groups.items():
            for address, row in group.rows.items():
                yield (name, address), row

    def _restive(self) -> Iterator[tuple[Key, Row]]:
        for key in self._restless:
            row = self._row(key)
            if row is not None:
                yield key, row


def _again_s(row: Row, now: float) -> float:
    """How soon time alone may make something else of it."""
    if row.began is not None:
        return STEP_S
    if row.idle:
        until = row.until
        return DRAINED_LOOK_S if until is None or until <= now else min(until - now, DRAINED_LOOK_S)
    return DRAIN_LOOK_S
