"""The kernel's plan: which listeners a kernel plane can serve, and with which tables.

A kernel plane rewrites addresses and looks at nothing else, so a listener qualifies when its only
route takes everything, leads to one backend, and that backend's algorithm is a table or chance.
What does not qualify is told in one line; nothing is served half.

The tables are those that the relay uses, and a hash is the relay's hash: a client meets the same
server on either, and on every machine with the same file.

Law: pure. Whether this host permits it is the probe's question (l4/host.py).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from fourseven.addresses import bind_parts
from fourseven.plan import BackendPlan, ListenerPlan, Plan

TCP, UDP = 6, 17  # IANA protocol numbers
TRANSPORTS = {"tcp": TCP, "udp": UDP}
IN_TURN, AT_RANDOM, BY_HASH, BY_LOAD = 1, 2, 3, 4  # Service.pick
ROUTED, MASQUERADE, DIRECT = 0, 1, 2  # how a server's answers find their way (Service.mode)
MASQUERADE_PORTS = (1024, 32_767)  # below Linux' own ephemeral ports: never a local socket's
PICKS = {  # an algorithm that is not here needs counters that the kernel does not see
    "round_robin": IN_TURN,
    "random": AT_RANDOM,
    "source_hash": BY_HASH,
    "hash": BY_HASH,
    "maglev": BY_HASH,
}
FLOWS_MAX = 262_144  # each takes two rows of some 100 bytes: 50 MB at most, taken as they come
MAPPED = 0xFFFF << 32  # IPv4 as ::ffff:a.b.c.d, so that one key serves both


@dataclass(frozen=True, slots=True)
class End:
    """An address and a port; the address as 128 bits."""

    address: int
    port: int

    @property
    def is_v4(self) -> bool:
        return self.address >> 32 == 0xFFFF

    def __str__(self) -> str:
        if self.is_v4:
            return f"{ipaddress.IPv4Address(self.address & 0xFFFFFFFF)}:{self.port}"
        return f"[{ipaddress.IPv6Address(self.address)}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Service:
    """One address that is answered for, and who answers."""

    listener: str
    vip: End
    protocol: int
    pick: int
    table: tuple[int, ...]  # indexes into servers
    servers: tuple[End, ...]
    mask: int  # which bits of a client's address count
    idle_ms: int
    mode: int = ROUTED
    backend: str = ""  # counts are of (backend, server)


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """What a kernel plane serves, and why it leaves the rest."""

    services: tuple[Service, ...]
    refused: tuple[tuple[str, str], ...]  # (listener, reason)
    flows_max: int = FLOWS_MAX
    masquerade_addresses: tuple[int, ...] = ()  # 128 bits each; none: that of the way to a server

    def protocols(self) -> set[int]:
        return {service.protocol for service in self.services}

    def families(self) -> set[int]:
        return {4 if service.vip.is_v4 else 6 for service in self.services}

    def picks(self) -> set[int]:
        return {service.pick for service in self.services}


def kernel_plan(plan: Plan) -> KernelPlan:
    """The listeners of a plan that addresses suffice for, as services of the kernel."""
    backends = {backend.name: backend for backend in plan.backends}
    services: list[Service] = []
    refused: list[tuple[str, str]] = []
    for listener in plan.listeners:
        reason = unfit(listener, backends)
        if reason:
            refused.append((listener.name, reason))
        else:
            services.extend(_services(listener, backends[listener.routes[0].backends[0][0]]))
    return KernelPlan(tuple(services), tuple(refused))


def unfit(listener: ListenerPlan, backends: dict[str, BackendPlan]) -> str:
    """Why the kernel cannot serve a listener; empty when it can."""
    if listener.layer != "L4":
        return f"{listener.layer}: {listener.because}"
    if len(listener.routes) != 1 or len(listener.routes[0].backends) != 1:
        return "routes by address and backends by weight are the relay's"
    route = listener.routes[0]
    if route.request_actions or route.response_actions or getattr(route.match, "parts", None) != ():
        return "a match by address is the relay's"
    if listener.connections_max:
        return "connections_max is the relay's"
    backend = backends[route.backends[0][0]]
    return _unfit_ends(listener.bind, backend)


def _unfit_ends(binds: Iterable[str], backend: BackendPlan) -> str:  # noqa: PLR0911 - a list
    if backend.algorithm not in PICKS:
        return f"{backend.algorithm} needs counters of its own; {', '.join(PICKS)} do not"
    if backend.bounded_load_percent:
        return "bounded_load needs counters of its own"
    if any(server.max_in_flight for server in backend.servers):
        return "max_in_flight is counted by the relay"
    servers = [end(server.address) for server in backend.servers]
    for said, found in zip(backend.servers, servers, strict=True):
        if found is None:
            return f"the server {said.address} is no IP address"
    for bind in binds:
        if bind.startswith("unix:"):
            return f"{bind} is no address of a network"
        vip = _vip(bind)
        if vip.address in (0, MAPPED):
            return f"{bind} is every address; bind to the ones that are meant"
        if any(server is not None and server.is_v4 != vip.is_v4 for server in servers):
            return f"{bind} and its servers are of different families"
    return ""


def _services(listener: ListenerPlan, backend: BackendPlan) -> Iterable[Service]:
    servers = tuple(found for s in backend.servers if (found := end(s.address)) is not None)
    pick = PICKS[backend.algorithm]
    weights = [server.weight for server in backend.servers]
    chance = tuple(i for i, weight in enumerate(weights) for _ in range(weight))
    table = chance if pick == AT_RANDOM else tuple(backend.table or ())
    for bind in listener.bind:
        vip = _vip(bind)
        bits = 96 + backend.hash_prefix_v4 if vip.is_v4 else backend.hash_prefix_v6
        mask = (1 << 128) - (1 << 128 - bits)
        protocol = TRANSPORTS[bind_parts(bind)[0]]
        yield Service(
            listener.name,
            vip,
            protocol,
            pick,
            table,
            servers,
            mask,
            listener.idle_timeout_ms,
            backend=backend.name,
        )


def _vip(bind: str) -> End:
    _, host, port = bind_parts(bind)
    return End(address_bits(host), port)


def end(text: str) -> End | None:
    """A server's `address:port`; None for a name or a path."""
    host, _, port = text.rpartition(":")
    try:
        return End(address_bits(host.strip("[]")), int(port))
    except ValueError:
        return None


def address_bits(text: str) -> int:
    """An address as 128 bits."""
    found = ipaddress.ip_address(text)
    return int(found) | (MAPPED if found.version == 4 else 0)
