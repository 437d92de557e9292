"""What a kernel plane gets of a plan: of the servers that were found those that it can have, and of
a server that starts slowly less weight.

What the file names is known when a plane is chosen, and another is chosen where it does not fit.
What is found later has to fit the plane: an address of the listener's family, not of loopback, of
this host only where the plane can go there, and without a limit that only the relay counts. Others
are left out, and told.

A worker spares a server that starts for a part of its picks; a kernel plane has nothing but its
table. So there a slow start is ten tables, one after the other, each with a tenth more.

Law: pure. A plan without sources, and with nobody who starts, comes out as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fourseven.addresses import bind_parts
from fourseven.compiler.anew import with_servers
from fourseven.control.health import Key
from fourseven.l4.abilities import ABILITIES
from fourseven.l4.kernel_plan import address_bits, end, family, is_loopback
from fourseven.plan import Plan, ServerPlan

TENTHS = 10


def fitted(plan: Plan, plane: str, own: Sequence[int]) -> tuple[Plan, list[str]]:
    """The plan with those that this plane can have; a line for each that it cannot."""
    families: dict[str, int] = {}
    for listener in plan.listeners:
        if listener.plane == plane:
            bits = address_bits(bind_parts(listener.bind[0])[1])
            families.setdefault(listener.routes[0].backends[0][0], family(bits))
    backends, left = list(plan.backends), []
    for at, backend in enumerate(plan.backends):
        if not backend.sources or backend.name not in families:
            continue
        wanted = families[backend.name]
        reasons = {one: _why_not(one, plane, wanted, own) for one in backend.servers}
        left += [f"{backend.name}: {one.address}: {why}" for one, why in reasons.items() if why]
        fit = tuple(one for one in backend.servers if not reasons[one])
        backends[at] = with_servers(backend, fit)
    alike = all(one is other for one, other in zip(backends, plan.backends, strict=True))
    return (plan if alike else replace(plan, backends=tuple(backends))), left


def eased(plan: Plan, tenths: Mapping[Key, int]) -> Plan:
    """The plan with so many tenths of their weights for these servers, and ten for all others."""
    backends = tuple(
        with_servers(
            backend,
            tuple(
                replace(one, weight=one.weight * tenths.get((backend.name, one.address), TENTHS))
                for one in backend.servers
            ),
        )
        if any((backend.name, one.address) in tenths for one in backend.servers)
        else backend
        for backend in plan.backends
    )
    return replace(plan, backends=backends) if tenths else plan


def _why_not(server: ServerPlan, plane: str, wanted: int, own: Sequence[int]) -> str:
    found = end(server.address)
    if found is None:
        return "no IP address"
    if is_loopback(found.address):
        return "it is on this host, and none but it gets there"
    if found.address in own and not ABILITIES[plane].local_servers:
        return "it is on this host"
    if family(found.address) != wanted:
        return "of another family than its listener"
    return "max_in_flight is counted by the relay" if server.max_in_flight else ""
