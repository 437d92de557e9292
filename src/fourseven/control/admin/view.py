"""The state of everything, as the API shows it: plan, counters and servers' states in one document.

The types here are the document's description too: the OpenAPI page is made of them.

Counters are sums since the engine started; who wants rates asks twice and divides by the
difference of `at_s`. What a counter is called is what the data plane calls it (worker.h); answers
stand apart, by class, and so do drops, by reason.

Law: pure. Everything comes in as plain data.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from typing_extensions import TypedDict

from fourseven import __version__
from fourseven.compiler.explain import match_as_written
from fourseven.compiler.ranges import said
from fourseven.control.admin.subject import InForce
from fourseven.control.health import Key
from fourseven.control.servers import Seen
from fourseven.model import Config, Route
from fourseven.observe.latency import BOUNDS_S, quantile_s
from fourseven.observe.process import cpu_s, resident_bytes, started_at
from fourseven.plan import BackendPlan, ListenerPlan, Plan, RoutePlan

Counters = dict[str, int]
Texts = dict[str, list[tuple[str, list[str]]]]  # listener -> its routes: match, filters
ANSWERS = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")  # none: closed without one


class Share(TypedDict):
    """A backend of a route, with its share of the route's requests."""

    backend: str
    weight: int


class Latency(TypedDict):
    """A histogram since the engine started: how many fell into each class (see latency_bounds_s),
    and quantiles of all of them. Who wants those of a window takes the difference of counts."""

    counts: list[int]
    sum_s: float
    p50_s: float | None
    p99_s: float | None


class RouteState(TypedDict):
    """One line of a listener's table."""

    name: str
    match: str
    filters: list[str]
    backends: list[Share]
    source: str
    in_flight: int
    counters: Counters
    answers: Counters
    reasons: Counters
    latency: Latency


class ListenerState(TypedDict):
    """Where clients come in."""

    name: str
    bind: list[str]
    addresses: list[str]
    layer: str
    plane: str
    because: str
    refused: list[str]
    counters: Counters
    answers: Counters
    drops: Counters
    reasons: Counters
    latency: Latency
    routes: list[RouteState]


class ServerState(TypedDict):
    """One server of a backend. Times are seconds since 1970."""

    address: str
    state: str
    why: str
    since: float
    usable: bool
    word: str
    word_in_file: str
    until: float | None
    share: float
    weight: int
    weight_in_file: int
    max_in_flight: int
    in_flight: int
    latency_s: float
    checked_at: float | None
    check_s: float | None
    check: str
    ejections: int
    circuit_open: bool
    counters: Counters
    answers: Counters


class SourceState(TypedDict):
    """Where servers are found (docs/discovery.md). failure: empty when all is well."""

    source: str
    servers: int
    failure: str


class BackendState(TypedDict):
    """Servers that are alike."""

    name: str
    algorithm: str
    checked: bool
    usable: int
    in_flight: int
    circuit_open: bool
    counters: Counters
    answers: Counters
    latency: Latency
    sources: list[SourceState]
    servers: list[ServerState]


class ProcessState(TypedDict):
    """The engine."""

    version: str
    pid: int
    file: str
    now: float
    started_at: float
    loaded_at: float
    workers: int
    draining: bool
    cpu_s: float
    memory_bytes: int


class Change(TypedDict):
    """What an operator has changed against the file. word: null, where only the weight is another.
    keep: it survives reloads."""

    backend: str
    server: str
    word: str | None
    weight: int | None
    until: float | None
    keep: bool


class WorkersState(TypedDict):
    """All workers together."""

    counters: Counters
    groups: dict[str, Counters]


class State(TypedDict):
    """Everything at one moment; `at_s` is a clock for rates."""

    at_s: float
    latency_bounds_s: list[float]
    process: ProcessState
    warnings: list[str]
    changes: list[Change]
    listeners: list[ListenerState]
    backends: list[BackendState]
    workers: WorkersState
    kernel: dict[str, Counters]


def state(
    force: InForce,
    texts: Texts,
    counted: Mapping[str, Any],
    seen: Mapping[Key, Seen],
    *,
    changes: Iterable[Change],
    draining: bool,
    sources: Iterable[Mapping[str, Any]] = (),
) -> State:
    """The whole document."""
    counters, groups = split(counted.get("workers", {}))
    by_backend: dict[str, list[tuple[Key, Seen]]] = {}
    for key, one in seen.items():
        by_backend.setdefault(key[0], []).append((key, one))
    return {
        "at_s": time.monotonic(),
        "latency_bounds_s": list(BOUNDS_S),
        "process": process(force, draining),
        "warnings": list(force.plan.warnings),
        "changes": list(changes),
        "listeners": [
            _listener(one, texts[one.name], force, counted) for one in force.plan.listeners
        ],
        "backends": [
            _backend(one, counted, by_backend, sources_of(one.name, sources))
            for one in force.plan.backends
        ],
        "workers": {"counters": counters, "groups": groups},
        "kernel": dict(counted.get("kernel", {})),
    }


def texts_of(config: Config, plan: Plan) -> Texts:
    """What stands in the file for each route. Made once for each file: it is slow."""
    found: Texts = {}
    for listener in plan.listeners:
        written = config.listeners[said(listener.name)].all_routes
        found[listener.name] = [
            (match_as_written(config, listener.name, at), _filters(route, written[at]))
            for at, route in enumerate(listener.routes)
        ]
    return found


def _filters(plan: RoutePlan, written: Route) -> list[str]:
    if plan.passthrough:
        return ["TLS as it is"]
    return [form.feature.key for form in written.filters]


def process(force: InForce, draining: bool) -> ProcessState:
    return {
        "version": __version__,
        "pid": os.getpid(),
        "file": force.file,
        "now": time.time(),
        "started_at": started_at(),
        "loaded_at": force.since,
        "workers": force.workers,
        "draining": draining,
        "cpu_s": cpu_s(),
        "memory_bytes": resident_bytes(),
    }


def split(row: Mapping[str, Any]) -> tuple[Counters, dict[str, Counters]]:
    """A row's single numbers, and its groups by name."""
    single: Counters = {}
    groups: dict[str, Counters] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            groups[name] = value
        elif name == "status":
            groups["answers"] = dict(zip(ANSWERS, value, strict=False))
        elif isinstance(value, list):
            groups[name] = {str(at): one for at, one in enumerate(value)}
        else:
            single[name] = value
    return single, groups


def changes_of(words: Iterable[Sequence[Any]]) -> list[Change]:
    """Of what the book of servers hands out."""
    to_1970 = time.time() - time.monotonic()
    return [
        {
            "backend": backend,
            "server": server,
            "word": word,
            "weight": weight,
            "until": None if until is None else until + to_1970,
            "keep": keep,
        }
        for backend, server, word, until, weight, keep in words
    ]


def _listener(
    plan: ListenerPlan,
    texts: list[tuple[str, list[str]]],
    force: InForce,
    counted: Mapping[str, Any],
) -> ListenerState:
    counters, groups = split(counted["listeners"].get(plan.name, {}))
    rows = counted.get("routes", {})
    routes = [
        _route(one, text, rows.get((plan.name, one.name), {}))
        for one, text in zip(plan.routes, texts, strict=True)
    ]
    return {
        "name": plan.name,
        "bind": list(plan.bind),
        "addresses": list(force.addresses.get(plan.name, plan.bind)),
        "layer": plan.layer,
        "plane": plan.plane,
        "because": plan.because,
        "refused": list(plan.refused),
        "counters": counters,
        "answers": groups.get("answers", {}),
        "drops": groups.get("drops", {}),
        "reasons": sums(one["reasons"] for one in routes),
        "latency": all_of([one["latency"] for one in routes]),
        "routes": routes,
    }


def _route(plan: RoutePlan, text: tuple[str, list[str]], row: Mapping[str, Any]) -> RouteState:
    counters, groups = split(row)
    in_flight = counters.pop("begun", 0) - counters.get("ended", 0)
    return {
        "name": plan.name,
        "match": text[0],
        "filters": text[1],
        "backends": [{"backend": name, "weight": weight} for name, weight in plan.backends],
        "source": plan.source,
        "in_flight": in_flight,
        "counters": counters,
        "answers": groups.get("answers", {}),
        "reasons": groups.get("reasons", {}),
        "latency": latency(row.get("latencies", ()), counters.pop("latency_ns", 0) / 1e9),
    }


def latency(counts: Sequence[int], sum_s: float) -> Latency:
    return {
        "counts": list(counts),
        "sum_s": sum_s,
        "p50_s": quantile_s(counts, 0.5),
        "p99_s": quantile_s(counts, 0.99),
    }


def all_of(some: Sequence[Latency]) -> Latency:
    """Several histograms as one."""
    counts = [
        sum(column)
        for column in zip(*(one["counts"] for one in some if one["counts"]), strict=True)
    ]
    return latency(counts, sum(one["sum_s"] for one in some))


def _backend(
    plan: BackendPlan,
    counted: Mapping[str, Any],
    seen: Mapping[str, list[tuple[Key, Seen]]],
    sources: list[SourceState],
) -> BackendState:
    limits = {server.address: server.max_in_flight for server in plan.servers}
    servers = [
        _server(key[1], one, counted["servers"].get(key, {}), limits.get(key[1], 0))
        for key, one in seen.get(plan.name, ())
    ]
    row = counted.get("backends", {}).get(plan.name, {})
    own = {name: one for name, one in split(row)[0].items() if name not in NOT_OWN}
    return {
        "name": plan.name,
        "algorithm": plan.algorithm,
        "checked": plan.health is not None,
        "usable": sum(one["usable"] for one in servers),
        "in_flight": sum(one["in_flight"] for one in servers),
        "circuit_open": bool(row.get("circuit_open", 0)),
        "counters": sums(one["counters"] for one in servers) | own,
        "answers": sums(one["answers"] for one in servers),
        "latency": latency(row.get("latencies", ()), row.get("latency_ns", 0) / 1e9),
        "sources": sources,
        "servers": servers,
    }


def sources_of(backend: str, sources: Iterable[Mapping[str, Any]]) -> list[SourceState]:
    return [
        {"source": one["source"], "servers": one["servers"], "failure": one["failure"]}
        for one in sources
        if one["backend"] == backend
    ]


NOT_OWN = {"requests", "in_flight", "latency_ns", "circuit_open"}  # told elsewhere


def _server(address: str, seen: Seen, row: Mapping[str, Any], limit: int) -> ServerState:
    counters, groups = split(row)
    return {
        "address": address,
        "state": seen.state,
        "why": seen.why,
        "since": seen.since,
        "usable": seen.usable,
        "word": seen.word,
        "word_in_file": seen.file_word,
        "until": seen.until,
        "share": seen.share / 1000,
        "weight": seen.weight,
        "weight_in_file": seen.file_weight,
        "max_in_flight": limit,
        "in_flight": counters.pop("in_flight", 0),
        "latency_s": counters.pop("ewma_ns", 0) / 1e9,
        "checked_at": seen.checked_at,
        "check_s": None if seen.check_ms is None else seen.check_ms / 1000,
        "check": seen.check,
        "ejections": seen.ejections,
        "circuit_open": bool(counters.pop("circuit_open", 0)),
        "counters": counters,
        "answers": groups.get("answers", {}),
    }


def sums(rows: Iterable[Counters]) -> Counters:
    """Counters of the same names, added."""
    added: Counters = {}
    for row in rows:
        for name, value in row.items():
            added[name] = added.get(name, 0) + value
    return added
