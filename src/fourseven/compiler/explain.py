"""What was decided for each listener, as plain data: `fourseven explain FILE` prints it.

Layer, plane and reason come from the plan, so this cannot say anything but what is done. A match
is shown as the user wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from fourseven.compiler.layer import SEES, decide
from fourseven.compiler.ranges import said
from fourseven.l4.abilities import ABILITIES
from fourseven.l4.kernel_plan import BY_HASH, PICKS
from fourseven.model import Config
from fourseven.plan import BackendPlan, ListenerPlan, Plan, TlsPlan
from fourseven.snapshot.layout import ListenerMode

IN_KERNEL = "packets are rewritten in the kernel and reach no process; about what routing costs"
COSTS = {
    "http": "each request's head is parsed, routed and rewritten; bodies are forwarded, not kept",
    "relay": "each connection is taken and made anew in user space; its bytes are spliced",
    "relay udp": "each flow's datagrams are taken and sent on in user space",
    "tcx": IN_KERNEL,
    "xdp": "packets are rewritten by the interface's driver, before the kernel makes anything of"
    " them; large segments are not merged there",
    "nftables": "packets are rewritten by netfilter, and each flow is an entry of conntrack",
}
HIDES = {
    "http": "servers see this host's address; the client's is told in headers",
    "relay": "servers see this host's address and not the client's",
    "masquerade": "servers see an address of this host and not the client's",
    "routed": "servers see the client's address; they must have this host as their gateway",
    "direct": "servers see the client's address and answer past this host; they must hold the"
    " listener's address",
}
JHASH = (
    "netfilter hashes otherwise (jhash) than the relay, tcx and xdp: a client may meet another"
    " server than there, and the same one on every machine that serves this file by nftables"
)
WITHIN = "clients on this host are served by the same rules"
BESIDE = "clients on this host, and what the kernel passes on, are served by the relay beside it"
ALONE = "{} is no address of this host, so clients on this host itself are not served"


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
    once = {said(listener.name): listener for listener in reversed(plan.listeners)}
    return tuple(_listener(config, once[name], backends) for name in config.listeners)


def _listener(
    config: Config, plan: ListenerPlan, backends: dict[str, BackendPlan]
) -> ListenerReport:
    name = said(plan.name)
    names = dict.fromkeys(name for route in plan.routes for name, _ in route.backends)
    relayed = plan.plane == "relay" and plan.mode == ListenerMode.MODE_RELAY_UDP
    costs = [COSTS["relay udp" if relayed else plan.plane]]
    if plan.plane in ABILITIES:
        costs += _kernel_costs(plan, backends[next(iter(names))])
    else:
        costs.append(HIDES[plan.plane])
    if plan.tls is not None:
        costs.append(_tls_cost(plan.tls))
    if plan.hello:
        costs.append("each connection's TLS ClientHello is waited for and looked at first")
    if plan.body_prefix_max:
        costs.append(f"up to {plan.body_prefix_max} bytes of a body wait for a payload match")
    return ListenerReport(
        name=name,
        bind=config.listeners[name].bind,
        layer=plan.layer,
        plane=plan.plane,
        because=plan.because,
        sees=SEES[decide(config, name).need],
        costs=tuple(costs),
        refused=plan.refused,
        routes=tuple(_routes(config, plan)),
        backends=tuple(_backend(backends[name]) for name in names),
    )


def _kernel_costs(plan: ListenerPlan, backend: BackendPlan) -> Iterator[str]:
    yield HIDES[backend.return_path]
    if plan.plane == "nftables":
        yield WITHIN
        if PICKS.get(backend.algorithm) == BY_HASH:
            yield JHASH
    else:
        yield ALONE.format(", ".join(plan.unheard)) if plan.unheard else BESIDE
    yield from plan.notes


def _tls_cost(tls: TlsPlan) -> str:
    if tls.client_authority:
        return "TLS ends here: a full handshake for each connection, for clients show certificates"
    return "TLS ends here: a handshake for each connection, a short one for those who come back"


def _routes(config: Config, plan: ListenerPlan) -> list[RouteReport]:
    name = said(plan.name)
    written = config.listeners[name].all_routes
    return [
        RouteReport(
            name=route.name,
            match=match_as_written(config, name, i),
            filters=("TLS as it is",)
            if route.passthrough
            else tuple(form.feature.key for form in written[i].filters),
            backends=route.backends,
            source=route.source,
        )
        for i, route in enumerate(plan.routes)
    ]


def match_as_written(config: Config, listener: str, number: int) -> str:
    """The match of a route on one line, in the user's words; empty where there is none."""
    listener = said(listener)
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
    servers += tuple((said.source.words(), said.server.weight) for said in plan.sources)
    return BackendReport(plan.name, plan.algorithm, servers)
