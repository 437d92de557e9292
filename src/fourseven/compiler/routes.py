"""Routes: a match becomes an expression, filters become actions, backends weighted choices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fourseven.compiler.prefix import prefix_of
from fourseven.compiler.reads import Reads
from fourseven.errors import Problem
from fourseven.features import Filter
from fourseven.forms import MatchForm
from fourseven.matching.rows import lower_rows
from fourseven.model import Config, Route
from fourseven.plan import Action, All, Any_, Expression, GatePlan, Not, RoutePlan
from fourseven.scalars import Path as Place
from fourseven.snapshot.layout import GATES_MAX, ActionKind, GateKind, PartKind

ALWAYS = All()
HOLDS_MAX = 6  # l7.records.HELD_MAX: what a stream has room for
MIRRORS_MAX = 8  # l7.gate_mirror.MIRRORS_MAX: likewise
PACES_MAX = 4  # l7.records.PACES_MAX: likewise
TELLING = (PartKind.PART_CERTIFICATE, PartKind.PART_VERIFIED)


def compile_routes(config: Config, listener: str, problems: list[Problem]) -> tuple[RoutePlan, ...]:
    """The routes of a listener in the order of the file; what cannot be built is in `problems`."""
    said = config.listeners[listener]
    file = config._source.file if config._source is not None else ""
    reads = Reads(Path(file).parent)
    found = []
    for i, route in enumerate(said.all_routes):
        path: Place = ("listeners", listener, *(("routes", i) if said.routes else ("backend",)))
        name = route.name or f"routes[{i}]"
        try:
            _speak_for_nobody(config, route)
            found.append(_route(route, name, config.at(*path), reads))
        except ValueError as error:
            problems.append(config.problem(path, str(error)))
    named = {name.encode() for step in _all_steps(said.all_routes) for name in step.tells()}
    return _sealed(found, named)


def _speak_for_nobody(config: Config, route: Route) -> None:
    """A request of our own has no client whose address a PROXY header could tell (l7.aside)."""
    for form in route.filters:
        for name in form.feature.backends():
            if config.backends[name].proxy_protocol is not None:
                raise ValueError(
                    f"{name} gets requests of {form.feature.key}, which speak for no client;"
                    " give it a backend without proxy_protocol"
                )


def _all_steps(routes: tuple[Route, ...]) -> Iterator[Filter]:
    return (form.feature for route in routes for form in route.filters)


def _sealed(routes: list[RoutePlan], named: set[bytes]) -> tuple[RoutePlan, ...]:
    """Headers in which one route tells who the client is are taken off the client's own requests
    in all routes: a server that believes them gets them from nobody else."""
    telling = {
        action.name.lower(): action.name
        for route in routes
        for action in route.request_actions
        if any(part.kind in TELLING for part in action.value)
    }
    telling |= {name.lower(): name for name in sorted(named)}
    strip = tuple(Action(ActionKind.ACTION_REMOVE_HEADER, name) for name in telling.values())
    if not strip:
        return tuple(routes)
    return tuple(
        replace(route, request_actions=(*strip, *route.request_actions))
        if route.backends
        else route
        for route in routes
    )


def _route(route: Route, name: str, source: str, reads: Reads) -> RoutePlan:
    match = expression(route.match) if route.match is not None else ALWAYS
    lower_rows(match)  # it raises where the matcher would refuse the route
    below = prefix_of(match) if route.filters else b""
    steps = [form.feature.under(below).read(reads) for form in route.filters]
    return RoutePlan(
        name=name,
        match=match,
        backends=tuple((backend, weight) for backend, weight in route.choices if weight),
        request_actions=tuple(action for step in steps for action in step.request_actions()),
        response_actions=tuple(action for step in steps for action in step.response_actions()),
        source=source,
        gates=_gates(steps),
        sticky=route.sticky.kind if route.sticky else 0,
        sticky_key=route.sticky.lower() if route.sticky else None,
        fallback=route.fallback or "",
        passthrough=route.tls == "passthrough",
    )


def _gates(steps: list[Filter]) -> tuple[GatePlan, ...]:
    gates = tuple(gate for step in steps for gate in step.gates())
    if len(gates) > GATES_MAX:
        raise ValueError(f"{len(gates)} gates on one route; {GATES_MAX} are the most")
    if sum(gate.holds for gate in gates) > HOLDS_MAX:
        raise ValueError(f"more than {HOLDS_MAX} limits of requests at once on one route")
    mirrors = sum(gate.kind == GateKind.GATE_MIRROR for gate in gates)
    if mirrors > MIRRORS_MAX:
        raise ValueError(f"{mirrors} mirrors on one route; {MIRRORS_MAX} are the most")
    if mirrors and any(step.terminal for step in steps):
        raise ValueError("mirror copies what goes to a backend, and this route answers itself")
    directions = sum(_paces(gate) for gate in gates)
    if directions > PACES_MAX:
        raise ValueError(f"{directions} limits of bandwidth on one route; {PACES_MAX} are the most")
    return gates


def _paces(gate: GatePlan) -> int:
    """Limits of bytes a second: each direction counts."""
    if gate.kind != GateKind.GATE_BANDWIDTH:
        return 0
    return sum(rate > 0 for rate in gate.numbers[:2])


def expression(match: MatchForm) -> Expression:
    """All its keys hold: the features, in the order of the registry, then all, any, not."""
    parts = [feature.lower() for feature in match.features()]
    parts += [expression(part) for part in match.all_]
    if match.any_:
        parts.append(Any_(tuple(expression(part) for part in match.any_)))
    if match.not_ is not None:
        parts.append(Not(expression(match.not_)))
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def body_prefix(match: MatchForm | None) -> int:
    """Bytes of a body that must be there before this match can be decided."""
    if match is None:
        return 0
    return max((feature.body_prefix() for feature in match.everything()), default=0)
