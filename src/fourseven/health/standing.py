"""Where one server stands, and what it may do: the words of everybody who has a say, put together.

    the operator    enable, drain, maintenance                  goes before all else
    the file        the same words                              where the operator says nothing
    active checks   up, going down, down, coming up             then
    ejection        how it does with real requests              then
    slow start      a server that is new or back gets its share by and by
    its own word    how busy it says it is makes its share smaller or larger

What follows for the data planes is an Order of four parts:

    usable     new work may go there
    persists   sessions that were bound to it may go on coming, although it takes nothing new
    share      of the new work that would be its by weight, per mille
    cut        connections and flows of Layer 4 are ended

A server that drains is `drained` once nothing is in flight at it: the moment to pull the plug.

Laws: no clock and no I/O; time is passed in. An order follows from the row alone, except that in
panic (control.servers) a row that is able to do nothing is used all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from fourseven.health.state import Judgement, State

WHOLE = 1000  # per mille
FIRST_SHARE = 100  # of a slow start: less, and the caches that it is for are never filled


class Said(StrEnum):
    """What an operator may say of a server."""

    ENABLE = "enable"
    DRAIN = "drain"
    MAINTENANCE = "maintenance"


class Word(NamedTuple):
    """The operator's word, and weight."""

    said: Said | None = None  # None: nothing, so the file's word holds
    until: float | None = None  # of a drain, monotonic: when persistent sessions end too
    weight: int | None = None  # None: the file's
    keep: bool = True  # over reloads and upgrades

    @property
    def is_nothing(self) -> bool:
        return self.said is None and self.weight is None


NOTHING = Word()


class Order(NamedTuple):
    """What a data plane is told of a server."""

    usable: bool = True
    persists: bool = False
    share: int = WHOLE
    cut: bool = False


@dataclass(slots=True)
class Row:
    """All that is known of one server."""

    weight: int  # the file's
    slow_start_ms: int = 0
    cut_when_down: bool = False
    judged: Judgement | None = None  # None: nobody checks it
    word: Word = NOTHING
    in_file: Said = Said.ENABLE  # the file's word
    drain_ms: int = 0  # ... and how long a drain of it lasts; 0: for ever
    file_until: float | None = None  # ... until when, monotonic
    ejected: str = ""  # why; empty: it is not
    ejections: int = 0  # so far
    began: float | None = None  # its slow start; None: it has its whole share
    burden: int = WHOLE  # per mille: the share that follows from how busy it says it is
    idle: bool = False  # it drains, and nothing is in flight at it
    counted: tuple[bool, bool] = (False, False)  # (asked_for, able) as its backend has counted them
    order: Order = field(default_factory=Order)
    state: str = ""
    since: float = 0.0  # of the state, monotonic

    def written(self, said: Said, drain_ms: int, now: float) -> None:
        """The file's word. The time of a drain runs from the load that brought it."""
        if (said, drain_ms) != (self.in_file, self.drain_ms):
            self.in_file, self.drain_ms, self.idle = said, drain_ms, False
            self.file_until = now + drain_ms / 1000 if drain_ms else None

    @property
    def said(self) -> Said:
        """The operator's word, or the file's."""
        return self.word.said or self.in_file

    @property
    def until(self) -> float | None:
        """When the kept sessions of a drain end, monotonic."""
        return self.file_until if self.word.said is None else self.word.until

    @property
    def asked_for(self) -> bool:
        """Nobody has taken it out."""
        return self.said is Said.ENABLE

    @property
    def well(self) -> bool:
        """No check says otherwise."""
        return self.judged is None or self.judged.in_use

    @property
    def able(self) -> bool:
        """It would take new work, were it for itself alone."""
        return self.asked_for and self.well and not self.ejected

    def share(self, now: float) -> int:
        """Grows evenly over the slow start, and follows its own word on how busy it is."""
        return max(1, self.grown(now) * self.burden // WHOLE)

    def grown(self, now: float) -> int:
        """The share of a slow start."""
        if self.began is None:
            return WHOLE
        grown = WHOLE * (now - self.began) * 1000 / self.slow_start_ms
        return max(FIRST_SHARE, min(WHOLE, int(grown)))

    def ordered(self, now: float, panic: bool) -> Order:
        """What follows from all this."""
        said, until = self.said, self.until
        over = until is not None and now >= until
        usable = self.asked_for and (panic or self.able)
        fallen = self.cut_when_down and not self.well and not panic
        return Order(
            usable=usable,
            persists=said is Said.DRAIN and not over and self.well,
            share=self.share(now),
            cut=fallen or said is Said.MAINTENANCE or (said is Said.DRAIN and over),
        )

    def stands(self) -> tuple[str, str]:
        """(state, why), for people."""
        who = "the file says so" if self.word.said is None else "the operator says so"
        if self.said is Said.MAINTENANCE:
            return "maintenance", who
        if self.said is Said.DRAIN:
            return ("drained" if self.idle else "draining"), who
        if self.judged is not None and self.judged.state not in (State.UNKNOWN, State.UP):
            return self.judged.state.value, self.judged.reason
        if self.ejected:
            return "ejected", self.ejected
        if self.began is not None:
            return "starting", "it gets its share by and by"
        unknown = self.judged is not None and self.judged.state is State.UNKNOWN
        return "up", "not checked yet" if unknown else ""
