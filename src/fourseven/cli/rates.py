"""Rates out of two states: what happened between them, divided by the time between.

`status` and `top` look at a window; with one state alone it is all since the engine started. A row
that was not there before, or whose engine is another one now, began at nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fourseven.observe.latency import quantile_s

State = dict[str, Any]
NO_ROW: dict[str, Any] = {"counters": {}, "answers": {}, "latency": {"counts": []}}


@dataclass(frozen=True, slots=True)
class Row:
    """A listener, route, backend or server over the window. Rates are of a second."""

    what: Mapping[str, Any]  # the row of the later state
    work: float  # requests; connections or flows where there are none
    unit: str
    failures: float  # answers of 5xx, requests without an answer, what a server did wrong
    bytes_in: float
    bytes_out: float
    open: int
    p50_s: float | None
    p99_s: float | None
    mean_s: float | None  # of servers, which have no histogram


class Window:
    """Two states of one engine, or one."""

    def __init__(self, after: State, before: State | None = None) -> None:
        self.after = after
        alike = before is not None and before["process"]["pid"] == after["process"]["pid"]
        self.before = before if alike else None
        since = self.before["at_s"] if self.before is not None else self._start_s()
        self.seconds: float = max(after["at_s"] - since, 1e-3)
        self._listeners = _named(self.before, "listeners")
        self._backends = _named(self.before, "backends")

    def _start_s(self) -> float:
        process = self.after["process"]
        up_s: float = process["now"] - process["started_at"]
        return float(self.after["at_s"]) - up_s

    def listeners(self) -> Iterator[Row]:
        for one in self.after["listeners"]:
            yield self._row(one, self._listeners.get(one["name"], NO_ROW), LISTENER)

    def backends(self) -> Iterator[Row]:
        for one in self.after["backends"]:
            yield self._row(one, self._backends.get(one["name"], NO_ROW), SERVER)

    def servers(self, backend: str) -> Iterator[Row]:
        now = next(one for one in self.after["backends"] if one["name"] == backend)
        before = self._backends.get(backend, {"servers": []})
        known = {one["address"]: one for one in before["servers"]}
        for one in now["servers"]:
            yield self._row(one, known.get(one["address"], NO_ROW), SERVER)

    def _row(self, now: Mapping[str, Any], then: Mapping[str, Any], names: Names) -> Row:
        def rate(*counters: str) -> float:
            grown: int = sum(
                now["counters"].get(one, 0) - then["counters"].get(one, 0) for one in counters
            )
            return grown / self.seconds

        def answered(*classes: str) -> float:
            grown: int = sum(
                now["answers"].get(one, 0) - then["answers"].get(one, 0) for one in classes
            )
            return grown / self.seconds

        work = {unit: rate(*counters) for unit, counters in names.work.items()}
        unit = max(work, key=lambda one: work[one])
        counts = now.get("latency", {}).get("counts", [])
        earlier = then.get("latency", {}).get("counts", []) or [0] * len(counts)
        grown = [a - b for a, b in zip(counts, earlier, strict=True)]
        answers = answered("1xx", "2xx", "3xx", "4xx", "5xx")
        return Row(
            what=now,
            work=work[unit],
            unit=unit,
            failures=answered("5xx", "none") + rate(*names.failures),
            bytes_in=rate(*names.bytes_in),
            bytes_out=rate(*names.bytes_out),
            open=now.get("in_flight", 0)
            + sum(now["counters"].get(one, 0) for one in ("sessions", "flows_active")),
            p50_s=quantile_s(grown, 0.5),
            p99_s=quantile_s(grown, 0.99),
            mean_s=rate("latency_ns") / 1e9 / answers if answers else None,
        )


@dataclass(frozen=True, slots=True)
class Names:
    """What a kind of row calls its counters."""

    work: dict[str, tuple[str, ...]]  # by unit, the first where nothing has happened
    bytes_in: tuple[str, ...]
    bytes_out: tuple[str, ...]
    failures: tuple[str, ...] = ()


LISTENER = Names(
    {"req": ("requests",), "conn": ("accepted",), "flow": ("flows", "flows_new")},
    ("bytes_in",),
    ("bytes_out",),
)
SERVER = Names(
    {"req": ("requests",), "conn": ("connects",), "flow": ("flows_new",)},
    ("bytes_to",),
    ("bytes_from",),
    ("connect_errors", "timeouts", "resets", "bad_answers", "tls_failed"),
)


def _named(state: State | None, what: str) -> dict[str, Any]:
    return {} if state is None else {one["name"]: one for one in state[what]}
