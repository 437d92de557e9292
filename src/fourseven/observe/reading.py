"""How metrics are read out of what was counted: a Reading in, samples out.

The table (metrics.py) names one of these functions for each family. A sample is the values of the
labels with a number or a histogram.

Law: pure, and cheap: a thousand servers are read in milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fourseven.observe.latency import BOUNDS_S
from fourseven.plan import Plan

Key = tuple[str, str]
CODES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")  # of the status rows in worker.h


class Word(Protocol):
    """What is known of a server's state."""

    @property
    def state(self) -> str: ...
    @property
    def usable(self) -> bool: ...
    @property
    def weight(self) -> int: ...
    @property
    def ejections(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment."""

    plan: Plan
    loaded_at: float  # seconds since 1970
    workers: int
    counted: Mapping[str, Any]  # as DataPlane.counters()
    words: Mapping[Key, Word] = field(default_factory=dict)
    draining: bool = False
    sources: Sequence[Mapping[str, Any]] = ()  # as Discovery.seen()

    @property
    def listeners(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.counted["listeners"]
        return found

    @property
    def servers(self) -> Mapping[Key, Mapping[str, Any]]:
        found: Mapping[Key, Mapping[str, Any]] = self.counted["servers"]
        return found

    @property
    def routes(self) -> Mapping[Key, Mapping[str, Any]]:
        """By (listener, route)."""
        found: Mapping[Key, Mapping[str, Any]] = self.counted.get("routes", {})
        return found

    @property
    def backends(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.counted.get("backends", {})
        return found

    @property
    def totals(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.counted["workers"]
        return found


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by upper bound; one more count than bounds: what is above all of them."""

    bounds: tuple[str, ...]
    counts: Sequence[int]
    sum: float


Value = int | float | Histogram
Sample = tuple[tuple[str, ...], Value]
Read = Callable[[Reading], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One family."""

    name: str
    kind: str  # counter, gauge or histogram
    help: str
    labels: tuple[str, ...]
    read: Read


# ---- how rows are read ----


def one(value: Callable[[Reading], Value]) -> Read:
    """A single number."""

    def read(reading: Reading) -> Iterator[Sample]:
        yield (), value(reading)

    return read


def total(name: str, scale: float = 1) -> Read:
    """A counter over all workers."""

    def read(reading: Reading) -> Iterator[Sample]:
        if name in reading.totals:
            yield (), reading.totals[name] if scale == 1 else reading.totals[name] * scale

    return read


def totals(**by_label: str) -> Read:
    """Several counters of the workers as one family: label value -> counter."""

    def read(reading: Reading) -> Iterator[Sample]:
        for label, name in by_label.items():
            if name in reading.totals:
                yield (label,), reading.totals[name]

    return read


def group(name: str, *before: str) -> Read:
    """A group of counters of the workers, by the names in it; zeros are left out."""

    def read(reading: Reading) -> Iterator[Sample]:
        for label, value in reading.totals.get(name, {}).items():
            if value:
                yield (*before, label), value

    return read


def both(*reads: Read) -> Read:
    def read(reading: Reading) -> Iterator[Sample]:
        for some in reads:
            yield from some(reading)

    return read


def of_listener(name: str, *after: str) -> Read:
    """A counter of each listener that has it."""

    def read(reading: Reading) -> Iterator[Sample]:
        for listener, row in reading.listeners.items():
            if name in row:
                yield (listener, *after), row[name]

    return read


def of_server(name: str, *after: str, scale: float = 1) -> Read:
    """A counter of each server that has it."""

    def read(reading: Reading) -> Iterator[Sample]:
        for key, row in reading.servers.items():
            value = row.get(name)
            if value is not None:
                yield (*key, *after), value if scale == 1 else value * scale

    return read


def by_code(labels: tuple[str, ...], row: Mapping[str, Any]) -> Iterator[Sample]:
    """A row's answers by class: 2xx always, so that its rate begins at 0; others as they come."""
    for code, value in zip(CODES, row.get("status", ()), strict=False):
        if value or code == "2xx":
            yield (*labels, code), value


def answers_of_listeners(reading: Reading) -> Iterator[Sample]:
    for listener, row in reading.listeners.items():
        yield from by_code((listener,), row)


def answers_of_routes(reading: Reading) -> Iterator[Sample]:
    for key, row in reading.routes.items():
        yield from by_code(key, row)


def of_route(name: str, *after: str) -> Read:
    """A counter of each route that was asked for."""

    def read(reading: Reading) -> Iterator[Sample]:
        for key, row in reading.routes.items():
            if name in row:
                yield (*key, *after), row[name]

    return read


def in_flight_of_routes(reading: Reading) -> Iterator[Sample]:
    for key, row in reading.routes.items():
        yield key, row["begun"] - row["ended"]


def reasons(reading: Reading) -> Iterator[Sample]:
    for key, row in reading.routes.items():
        for reason, value in row.get("reasons", {}).items():
            yield (*key, reason), value


def of_backend(name: str) -> Read:
    def read(reading: Reading) -> Iterator[Sample]:
        for backend, row in reading.backends.items():
            if name in row:
                yield (backend,), row[name]

    return read


def histogram(row: Mapping[str, Any]) -> Histogram:
    """A row's latencies, two classes in one: every scrape carries them."""
    counts = row["latencies"]
    pairs = [counts[0], *(sum(counts[at : at + 2]) for at in range(1, len(counts), 2))]
    return Histogram(BUCKETS, pairs, row["latency_ns"] / 1e9)


def durations_of_routes(reading: Reading) -> Iterator[Sample]:
    for key, row in reading.routes.items():
        if row["ended"]:
            yield key, histogram(row)


def durations_of_backends(reading: Reading) -> Iterator[Sample]:
    for backend, row in reading.backends.items():
        if row.get("latency_ns"):
            yield (backend,), histogram(row)


def answers_of_servers(reading: Reading) -> Iterator[Sample]:
    for key, row in reading.servers.items():
        yield from by_code(key, row)


def answers_of_backends(reading: Reading) -> Iterator[Sample]:
    sums: dict[str, list[int]] = {}
    for (backend, _), row in reading.servers.items():
        before = sums.setdefault(backend, [0] * len(CODES))
        for at, value in enumerate(row.get("status", ())):
            before[at] += value
    for backend, values in sums.items():
        yield from by_code((backend,), {"status": values})


def in_flight_of_backends(reading: Reading) -> Iterator[Sample]:
    sums = dict.fromkeys((one.name for one in reading.plan.backends), 0)
    for (backend, _), row in reading.servers.items():
        sums[backend] = sums.get(backend, 0) + row.get("in_flight", 0)
    for backend, value in sums.items():
        yield (backend,), value


def waiting_of_backends(reading: Reading) -> Iterator[Sample]:
    for backend, row in reading.backends.items():
        yield (backend,), row.get("waiting", 0)


def usable_of_backends(reading: Reading) -> Iterator[Sample]:
    yield from _of_words(reading, lambda word: word.usable)


def servers_of_backends(reading: Reading) -> Iterator[Sample]:
    yield from _of_words(reading, lambda _: True)


def _of_words(reading: Reading, counts: Callable[[Word], bool]) -> Iterator[Sample]:
    sums = dict.fromkeys((one.name for one in reading.plan.backends), 0)
    for (backend, _), word in reading.words.items():
        sums[backend] = sums.get(backend, 0) + counts(word)
    for backend, value in sums.items():
        yield (backend,), value


def backend_counters(**by_label: str) -> Read:
    """Several counters of a backend as one family."""

    def read(reading: Reading) -> Iterator[Sample]:
        for backend, row in reading.backends.items():
            for label, name in by_label.items():
                if name in row:
                    yield (backend, label), row[name]

    return read


def found(reading: Reading) -> Iterator[Sample]:
    for one in reading.sources:
        yield (one["backend"], one["source"]), one["servers"]


def failing(reading: Reading) -> Iterator[Sample]:
    for one in reading.sources:
        yield (one["backend"], one["source"]), int(bool(one["failure"]))


def word_of(value: Callable[[Word], Value]) -> Read:
    def read(reading: Reading) -> Iterator[Sample]:
        for key, word in reading.words.items():
            yield key, value(word)

    return read


def states(reading: Reading) -> Iterator[Sample]:
    for key, word in reading.words.items():
        yield (*key, word.state), 1


def planes(reading: Reading) -> Iterator[Sample]:
    for listener in reading.plan.listeners:
        yield (listener.name, listener.layer, listener.plane), 1


def accepted_by_worker(reading: Reading) -> Iterator[Sample]:
    for at, value in enumerate(reading.totals.get("accepted_by_worker", ())):
        yield (str(at),), value


def drops(reading: Reading) -> Iterator[Sample]:
    for listener, row in reading.listeners.items():
        for reason, value in row.get("drops", {}).items():
            yield (listener, reason), value


def plane_drops(reading: Reading) -> Iterator[Sample]:
    for plane, row in reading.counted.get("kernel", {}).items():
        for reason, value in row.items():
            yield (plane, reason), value


def events(reading: Reading) -> Iterator[Sample]:
    """Counters of the workers for which no row was written."""
    for name, value in reading.totals.items():
        if isinstance(value, int) and name not in NAMED:
            yield (name,), value


def descriptors(_: Reading) -> Iterator[Sample]:
    """Linux 6.2 and later count them for us; listing a million would take too long."""
    if count := os.stat("/proc/self/fd").st_size:
        yield (), count


BUCKETS = tuple(f"{bound:.9f}" for bound in BOUNDS_S[::2])
# Counters of the workers that have rows of their own, or that are sums of what those read.
NAMED = {
    "accepted", "accept_errors", "sessions_opened", "sessions_closed", "requests", "own_answers",
    "upgrades", "retries", "buffers_large", "buffers_small", "pipes", "upstream_idle",
    "memory_refused", "pick_failed", "timeouts_head", "timeouts_body", "timeouts_idle",
    "timeouts_send", "timeouts_hello", "tls_handshakes", "tls_resumed", "tls_failed", "arrivals",
    "hello_refused", "proxy_refused", "http2_sessions", "http2_streams", "http2_resets",
    "http2_calmed", "turns", "filters_held", "mirror_copies", "mirror_failed", "mirror_skipped",
    "mirror_given_up",
    "compressed", "compressed_in", "compressed_out", "compressors",
    "bandwidth_waits",
}  # fmt: skip
