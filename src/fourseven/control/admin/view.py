"""The state of everything, as the API shows it: plan, counters and servers' states in one document.

The types here are the document's description too: the OpenAPI page is made of them.

Counters are sums since the engine started; who wants rates asks twice and divides by the
difference of `at_s`. What a counter is called is what the data plane calls it (worker.h); answers
stand apart, by class, and so do drops, by reason.

Law: pure. Everything comes in as plain data.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Mapping
from typing import Any

from typing_extensions import TypedDict

from fourseven import __version__
from fourseven.compiler.explain import match_as_written
from fourseven.control.admin.subject import InForce, Key, ServerWord
from fourseven.model import Config
from fourseven.plan import BackendPlan, ListenerPlan, RoutePlan

Counters = dict[str, int]
ANSWERS = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")  # none: closed without one
PAGE = os.sysconf("SC_PAGE_SIZE")


class Share(TypedDict):
    """A backend of a route, with its share of the route's requests."""

    backend: str
    weight: int


class RouteState(TypedDict):
    """One line of a listener's table."""

    name: str
    match: str
    filters: list[str]
    backends: list[Share]
    source: str
    counters: Counters
    answers: Counters


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
    routes: list[RouteState]


class ServerState(TypedDict):
    """One server of a backend."""

    address: str
    state: str
    reason: str
    usable: bool
    word: str
    remaining_s: float | None
    weight: int
    weight_in_file: int
    max_in_flight: int
    in_flight: int
    latency_s: float
    counters: Counters
    answers: Counters


class BackendState(TypedDict):
    """Servers that are alike."""

    name: str
    algorithm: str
    checked: bool
    usable: int
    in_flight: int
    counters: Counters
    answers: Counters
    servers: list[ServerState]


class ProcessState(TypedDict):
    """The engine."""

    version: str
    pid: int
    file: str
    loaded_at: float
    workers: int
    draining: bool
    cpu_s: float
    memory_bytes: int


class Change(TypedDict):
    """What an operator has changed against the file."""

    backend: str
    server: str
    word: str
    weight: int | None
    deadline_s: float | None
    keep: bool
    since: float


class WorkersState(TypedDict):
    """All workers together."""

    counters: Counters
    groups: dict[str, Counters]


class State(TypedDict):
    """Everything at one moment; `at_s` is a clock for rates."""

    at_s: float
    process: ProcessState
    warnings: list[str]
    changes: list[Change]
    listeners: list[ListenerState]
    backends: list[BackendState]
    workers: WorkersState
    kernel: dict[str, Counters]


def state(
    force: InForce,
    config: Config,
    counted: Mapping[str, Any],
    words: Mapping[Key, ServerWord],
    changes: Iterable[Change],
    draining: bool,
) -> State:
    """The whole document."""
    counters, groups = split(counted.get("workers", {}))
    return {
        "at_s": time.monotonic(),
        "process": process(force, draining),
        "warnings": list(force.plan.warnings),
        "changes": list(changes),
        "listeners": [
            _listener(one, config, force, counted["listeners"].get(one.name, {}))
            for one in force.plan.listeners
        ],
        "backends": [_backend(one, counted["servers"], words) for one in force.plan.backends],
        "workers": {"counters": counters, "groups": groups},
        "kernel": dict(counted.get("kernel", {})),
    }


def process(force: InForce, draining: bool) -> ProcessState:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "version": __version__,
        "pid": os.getpid(),
        "file": force.file,
        "loaded_at": force.since,
        "workers": force.workers,
        "draining": draining,
        "cpu_s": used.ru_utime + used.ru_stime,
        "memory_bytes": resident_bytes(),
    }


def resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as stream:
        return int(stream.read().split()[1]) * PAGE


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


def _listener(
    plan: ListenerPlan, config: Config, force: InForce, row: Mapping[str, Any]
) -> ListenerState:
    routes = row.get("routes", [])
    counters, groups = split({name: value for name, value in row.items() if name != "routes"})
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
        "routes": [
            _route(one, match_as_written(config, plan.name, at), _at(routes, at))
            for at, one in enumerate(plan.routes)
        ],
    }


def _at(rows: Any, at: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = rows[at] if at < len(rows) else {}
    return found


def _route(plan: RoutePlan, match: str, row: Mapping[str, Any]) -> RouteState:
    counters, groups = split(row)
    return {
        "name": plan.name,
        "match": match,
        "filters": ["TLS as it is"] if plan.passthrough else [],
        "backends": [{"backend": name, "weight": weight} for name, weight in plan.backends],
        "source": plan.source,
        "counters": counters,
        "answers": groups.get("answers", {}),
    }


def _backend(
    plan: BackendPlan, rows: Mapping[Key, Any], words: Mapping[Key, ServerWord]
) -> BackendState:
    servers: list[ServerState] = []
    for server in plan.servers:
        key = (plan.name, server.address)
        word = words.get(key) or ServerWord("unchecked", "", True, server.weight)
        counters, groups = split(rows.get(key, {}))
        servers.append(
            {
                "address": server.address,
                "state": word.state,
                "reason": word.reason,
                "usable": word.usable,
                "word": word.word,
                "remaining_s": word.remaining_s,
                "weight": word.weight,
                "weight_in_file": server.weight,
                "max_in_flight": server.max_in_flight,
                "in_flight": counters.pop("in_flight", 0),
                "latency_s": counters.pop("ewma_ns", 0) / 1e9,
                "counters": counters,
                "answers": groups.get("answers", {}),
            }
        )
    return {
        "name": plan.name,
        "algorithm": plan.algorithm,
        "checked": plan.health is not None,
        "usable": sum(one["usable"] for one in servers),
        "in_flight": sum(one["in_flight"] for one in servers),
        "counters": _sum(one["counters"] for one in servers),
        "answers": _sum(one["answers"] for one in servers),
        "servers": servers,
    }


def _sum(rows: Iterable[Counters]) -> Counters:
    sums: Counters = {}
    for row in rows:
        for name, value in row.items():
            sums[name] = sums.get(name, 0) + value
    return sums
