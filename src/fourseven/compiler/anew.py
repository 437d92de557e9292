"""A plan with other weights or other servers than its file says, without reading the file again.

An operator gives a server another weight, discovery finds another set of servers: the backend's
algorithm is asked anew for its table, and everything else stays as it was compiled.

Laws: pure. A plan that comes out unchanged is the very same object, and so is each backend that
nothing has changed in. A hash goes by what a server was known as when the file was compiled, so
the ports of one range go on to lead a client to one server.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace

from fourseven.compiler.peers import peer_of
from fourseven.compiler.tiers import tiers_of
from fourseven.plan import BackendPlan, Plan, ServerPlan

Weights = Mapping[tuple[str, str], int]  # (backend, the server's address) -> weight


def with_weights(plan: Plan, weights: Weights) -> Plan:
    """The plan with these weights in place of the file's."""
    if not weights:
        return plan
    backends = tuple(_weighed(backend, weights) for backend in plan.backends)
    alike = all(one is other for one, other in zip(backends, plan.backends, strict=True))
    return plan if alike else replace(plan, backends=backends)


def as_they_stand(plan: Plan, out: Set[tuple[str, str]]) -> Plan:
    """The plan as if its file took out these servers, (backend, address), and nobody else."""

    def stands(name: str, server: ServerPlan) -> ServerPlan:
        if ((name, server.address) in out) is (server.standing != "enable"):
            return server
        taken_out = (name, server.address) in out
        return replace(server, standing="maintenance" if taken_out else "enable")

    backends = tuple(
        replace(one, servers=tuple(stands(one.name, server) for server in one.servers))
        for one in plan.backends
    )
    return replace(plan, backends=backends)


def with_servers(backend: BackendPlan, servers: tuple[ServerPlan, ...]) -> BackendPlan:
    """The backend with these servers. ValueError where its algorithm cannot have them, or where
    one has no name to prove."""
    if servers == backend.servers:
        return backend
    picker = backend.balance.lower([(one.known_as or one.address, one.weight) for one in servers])
    tls = backend.tls
    if tls is not None and tls.rule is not None:
        tls = replace(tls, peers=tuple(peer_of(tls.rule, server) for server in servers))
    tiers = tiers_of(backend.balance, servers, backend.locality)
    return replace(
        backend, servers=servers, pick=picker.pick, table=picker.table, tls=tls, tiers=tiers
    )


def _weighed(backend: BackendPlan, weights: Weights) -> BackendPlan:
    servers = tuple(
        replace(one, weight=weights.get((backend.name, one.address), one.weight))
        for one in backend.servers
    )
    return with_servers(backend, servers)
