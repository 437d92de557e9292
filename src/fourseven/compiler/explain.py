"""What was decided for each listener, as plain data: `fourseven explain FILE` prints it.

Layer, plane and reason come from the plan, so this cannot say anything but what is done. A match
is shown as the user wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from fourseven.compiler.layer import SEES, decide
from fourseven.model import Config
from fourseven.plan import BackendPlan, ListenerPlan, Plan, TlsPlan
from fourseven.snapshot.layout import ListenerMode

COSTS = {
    "http": "each request's head is parsed, routed and rewritten; bodies are forwarded, not kept",
    "relay": "each connection is taken and made anew in user space; its bytes are spliced",
    "relay udp": "each flow's datagrams are taken and sent on in user space",
}
HIDES = {
    "http": "servers see this host's address; the client's is told in headers",
    "relay": "servers see this host's address and not the client's",
}


@dataclass(frozen=True, slots=True)
class RouteReport:
    """One line of a listener's table."""

    name: str
    match: str  # as in the file; empty: takes everything
    filters: tuple[str, ...]
    backends: tuple[tuple[str, int], ...]
    source: str


@dataclass(frozen=True, slots=True)
class ListenerReport:
    """One listener: how it is served, and why."""

    name: str
    bind: tuple[str, ...]
    layer: str
    plane: str
    because: str
    sees: str
    costs: tuple[str, ...]
    refused: tuple[str, ...]
    wish: str  # what came of the plane that the file asks for
    routes: tuple[RouteReport, ...]
    backends: tuple[BackendReport, ...]


@dataclass(frozen=True, slots=True)
class BackendReport:
    """A backend that a listener leads to."""

    name: str
    algorithm: str
    servers: tuple[tuple[str, int], ...]  # (address, weight)


def report(config: Config, plan: Plan) -> tuple[ListenerReport, ...]:
    """One report for each listener, in the order of the file."""
    backends = {backend.name: backend for backend in plan.backends}
    return tuple(_listener(config, listener, backends) for listener in plan.listeners)


def _listener(
    config: Config, plan: ListenerPlan, backends: dict[str, BackendPlan]
) -> ListenerReport:
    wish = config.listeners[plan.name].plane
    names = dict.fromkeys(name for route in plan.routes for name, _ in route.backends)
    work = "relay udp" if plan.mode == ListenerMode.MODE_RELAY_UDP else plan.plane
    costs = [COSTS[work], HIDES[plan.plane]]
    if plan.tls is not None:
        costs.append(_tls_cost(plan.tls))
    if plan.body_prefix_max:
        costs.append(f"up to {plan.body_prefix_max} bytes of a body wait for a payload match")
    return ListenerReport(
        name=plan.name,
        bind=plan.bind,
        layer=plan.layer,
        plane=plan.plane,
        because=plan.because,
        sees=SEES[decide(config, plan.name).need],
        costs=tuple(costs),
        refused=plan.refused,
        wish=f"{wish} was asked for; {plan.plane} serves instead" if _denied(wish, plan) else "",
        routes=tuple(_routes(config, plan)),
        backends=tuple(_backend(backends[name]) for name in names),
    )


def _tls_cost(tls: TlsPlan) -> str:
    if tls.client_authority:
        return "TLS ends here: a full handshake for each connection, for clients show certificates"
    return "TLS ends here: a handshake for each connection, a short one for those who come back"


def _denied(wish: str, plan: ListenerPlan) -> bool:
    return wish not in ("auto", plan.plane)


def _routes(config: Config, plan: ListenerPlan) -> list[RouteReport]:
    said = config.listeners[plan.name].all_routes
    return [
        RouteReport(
            name=route.name,
            match=match_as_written(config, plan.name, i),
            filters=tuple(form.feature.key for form in said[i].filters),
            backends=route.backends,
            source=route.source,
        )
        for i, route in enumerate(plan.routes)
    ]


def match_as_written(config: Config, listener: str, number: int) -> str:
    """The match of a route on one line, in the user's words; empty where there is none."""
    if config._source is not None:
        routes: Any = config._source.data["listeners"][listener].get("routes")
        match = routes[number].get("match") if routes else None
    else:
        found = config.listeners[listener].all_routes[number].match
        match = found.model_dump(mode="json", by_alias=True, exclude_unset=True) if found else None
    if not match:
        return ""
    text = yaml.safe_dump(
        match, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False
    )
    return text.strip().removeprefix("{").removesuffix("}")


def _backend(plan: BackendPlan) -> BackendReport:
    servers = tuple((server.address, server.weight) for server in plan.servers)
    return BackendReport(plan.name, plan.algorithm, servers)
