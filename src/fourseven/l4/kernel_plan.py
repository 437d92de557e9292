"""The kernel's plan: which listeners a kernel plane can serve, and with which tables.

A kernel plane rewrites addresses and looks at nothing else, so a listener qualifies when its only
route takes everything, leads to one backend, and the plane can balance as that backend says
(`abilities`). What does not qualify is told in one line; nothing is served half.

The tables are those that the relay uses, and a hash is the relay's hash: a client meets the same
server on either, and on every machine with the same file.

Law: pure. What the host permits comes in as Facts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from fourseven.addresses import bind_parts
from fourseven.l4.facts import UNASKED, Facts
from fourseven.plan import BackendPlan, KernelOptions, ListenerPlan, Plan, ServerPlan

if TYPE_CHECKING:
    from fourseven.l4.abilities import Ability

TCP, UDP = 6, 17  # IANA protocol numbers
TRANSPORTS = {"tcp": TCP, "udp": UDP}
IN_TURN, AT_RANDOM, BY_HASH, BY_LOAD, OF_TWO = 1, 2, 3, 4, 5  # Service.pick
ROUTED, MASQUERADE, DIRECT = 0, 1, 2  # how a server's answers find their way (Service.mode)
MASQUERADE_PORTS = (1024, 32_767)  # below Linux' own ephemeral ports: never a local socket's
MODES = {"masquerade": MASQUERADE, "routed": ROUTED, "direct": DIRECT}
PICKS = {  # an algorithm that is not here needs figures that no kernel plane has
    "round_robin": IN_TURN,
    "random": AT_RANDOM,
    "source_hash": BY_HASH,
    "hash": BY_HASH,
    "maglev": BY_HASH,
    "least_requests": BY_LOAD,
    "power_of_two": OF_TWO,
}
Picked = tuple[tuple["End", ...], tuple[int, ...]]  # servers, and indexes into them
FLOWS_MAX = KernelOptions().flows_max
REDRAWN_MAX = 64  # draws before the table is walked: with 9 of 10 servers out, one in 850 walks
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
    weights: tuple[int, ...] = ()  # of the servers; empty: all alike


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """What a kernel plane serves."""

    services: tuple[Service, ...]
    flows_max: int = FLOWS_MAX
    masquerade_addresses: tuple[int, ...] = ()  # 128 bits each; none: that of the way to a server

    def protocols(self) -> set[int]:
        return {service.protocol for service in self.services}

    def families(self) -> set[int]:
        return {4 if service.vip.is_v4 else 6 for service in self.services}

    def modes(self) -> set[int]:
        return {service.mode for service in self.services}

    def picks(self) -> set[int]:
        return {service.pick for service in self.services}


def kernel_plan(
    plan: Plan, plane: str, own: Sequence[int] = (), down: Collection[tuple[str, str]] = ()
) -> KernelPlan:
    """The listeners that this plane serves, as services.

    `own` is what a wildcard bind stands for; servers in `down`, (backend, address), get no new
    flows.
    """
    backends = {backend.name: backend for backend in plan.backends}
    lowered: dict[str, Picked] = {}  # listeners of one backend share its table, which may be long
    services: list[Service] = []
    for listener in plan.listeners:
        if listener.plane != plane:
            continue
        backend = backends[listener.routes[0].backends[0][0]]
        if not backend.servers:
            continue  # none was found so far: the relay says so to those who come
        if backend.name not in lowered:
            lowered[backend.name] = _picked(backend, down)
        services.extend(_services(listener, backend, lowered[backend.name], own))
    options = plan.kernel
    addresses = tuple(address_bits(address) for address in options.masquerade_addresses)
    return KernelPlan(tuple(services), options.flows_max, addresses)


def unfit(
    listener: ListenerPlan,
    backends: Mapping[str, BackendPlan],
    ability: Ability,
    facts: Facts = UNASKED,
) -> str:
    """Why a plane cannot serve a listener; empty when it can. Of the host only its addresses and
    its forwarding count here."""
    if listener.layer != "L4":
        return f"{listener.layer}: {listener.because}"
    if len(listener.routes) != 1 or len(listener.routes[0].backends) != 1:
        return "routes by address and backends by weight are the relay's"
    route = listener.routes[0]
    if route.fallback:
        return "fallback to another backend is the relay's"
    if route.request_actions or route.response_actions or getattr(route.match, "parts", None) != ():
        return "a match by address is the relay's"
    if listener.connections_max:
        return "connections_max is the relay's"
    backend = backends[route.backends[0][0]]
    return (
        _unfit_backend(backend, ability)
        or _unfit_servers(backend, ability, facts)
        or _unfit_binds(listener, backend, facts)
        or _unfit_families(listener, backend, ability, facts)
    )


def _unfit_backend(backend: BackendPlan, ability: Ability) -> str:
    pick = PICKS.get(backend.algorithm)
    if pick not in ability.picks:
        able = ", ".join(name for name, number in PICKS.items() if number in ability.picks)
        return f"it cannot balance by {backend.algorithm}; it can by {able or 'nothing yet'}"
    if MODES[backend.return_path] not in ability.modes:
        able = ", ".join(name for name, number in MODES.items() if number in ability.modes)
        return f"it has no return_path {backend.return_path}; it has {able or 'none yet'}"
    return _unfit_counts(backend)


def _unfit_counts(backend: BackendPlan) -> str:
    """What no kernel plane keeps books of."""
    if backend.bounded_load_percent:
        return "bounded_load needs counters of its own"
    if any(server.max_in_flight for server in (*backend.servers, *_models(backend))):
        return "max_in_flight is counted by the relay"
    if backend.persistence is not None:
        return "persistence is the relay's; balance: source_hash is what it can do"
    said = backend.resilience
    if said is not None and (said.requests_max or said.connections_max):
        return "limits are counted by the relay"
    if said is not None and said.breaker_of:
        return "a breaker is the relay's; health and ejection are what it can do"
    return "failover to another tier is the relay's" if backend.tiers else ""


def _unfit_servers(backend: BackendPlan, ability: Ability, facts: Facts) -> str:
    for server in backend.servers:
        found = end(server.address)
        if found is None:
            return f"the server {server.address} is no IP address"
        if is_loopback(found.address):
            return f"the server {server.address} is on this host, and none but it gets there"
        if facts.is_local(found.address) and not ability.local_servers:
            return f"the server {server.address} is on this host"
    return ""


def _unfit_binds(  # noqa: PLR0911 - a list
    listener: ListenerPlan, backend: BackendPlan, facts: Facts
) -> str:
    families = _families_of(listener, backend)
    ports = {found.port for s in backend.servers if (found := end(s.address)) is not None}
    for bind in listener.bind:
        if bind.startswith("unix:"):
            return f"{bind} is no address of a network"
        vip = _vip(bind)
        wildcard = is_wildcard(vip.address)
        if vip.port == 0:
            return f"{bind} gets a port of the relay's"
        if is_loopback(vip.address):
            return f"only this host itself comes to {bind}"
        if wildcard and facts.asked and not list(_meant(vip.address, families, facts.own)):
            return f"{bind} is every address, and this host has none but loopback"
        if wildcard and backend.sources:
            return f"{bind} is every address, and its servers are found while it runs"
        if not wildcard and families != {family(vip.address)}:
            return f"{bind} and its servers are of different families"
        if wildcard and len(families) > 1:
            return f"the servers of {bind} are of different families"
        if backend.return_path == "direct" and (backend.sources or ports != {vip.port}):
            return f"return_path direct changes no port, and servers have others than {bind}"
    return ""


def _unfit_families(
    listener: ListenerPlan, backend: BackendPlan, ability: Ability, facts: Facts
) -> str:
    families = _families_of(listener, backend)
    return facts.why_still(families) if ability.needs_forwarding else ""


def _families_of(listener: ListenerPlan, backend: BackendPlan) -> set[int]:
    """Of the servers; those that are found are of the listener's, for no others are taken."""
    families = _families(backend)
    if backend.sources:
        families |= {family(_vip(bind).address) for bind in listener.bind if "://" in bind}
    return families


def _models(backend: BackendPlan) -> Iterator[ServerPlan]:
    """What the servers are like that are found."""
    return (said.server for said in backend.sources)


def _families(backend: BackendPlan) -> set[int]:
    ends = [end(server.address) for server in backend.servers]
    return {family(found.address) for found in ends if found is not None}


def _meant(wildcard: int, families: set[int], own: Sequence[int]) -> Iterator[int]:
    """The addresses that a wildcard stands for: [::] takes IPv4 too."""
    for address in own:
        if family(address) in families and (wildcard == 0 or family(address) == 4):
            yield address


def _picked(backend: BackendPlan, down: Collection[tuple[str, str]]) -> Picked:
    """The servers, and the table by which one is picked."""
    servers = tuple(found for s in backend.servers if (found := end(s.address)) is not None)
    out = {i for i, s in enumerate(backend.servers) if (backend.name, s.address) in down}
    for tier in backend.tiers:  # found by discovery: those of the first tier that has any
        if used := set(tier.members) - out:
            out = set(range(len(servers))) - used
            break
    pick = PICKS[backend.algorithm]
    if pick == BY_LOAD:  # looks at each
        usable = (i for i, server in enumerate(backend.servers) if server.weight and i not in out)
        return servers, tuple(usable)
    return servers, _without(tuple(backend.table or ()), out, pick)


def _services(
    listener: ListenerPlan, backend: BackendPlan, picked: Picked, own: Sequence[int]
) -> Iterator[Service]:
    servers, table = picked
    for bind in listener.bind:
        said = _vip(bind)
        vips = [said.address]
        if is_wildcard(said.address):
            vips = list(_meant(said.address, _families(backend), own))
        if backend.sources:  # found for another listener's family
            vips = [vip for vip in vips if family(vip) in _families(backend)]
        for vip in vips:
            bits = 96 + backend.hash_prefix_v4 if family(vip) == 4 else backend.hash_prefix_v6
            yield Service(
                listener.name,
                End(vip, said.port),
                TRANSPORTS[bind_parts(bind)[0]],
                PICKS[backend.algorithm],
                table,
                servers,
                mask=(1 << 128) - (1 << 128 - bits),
                idle_ms=listener.idle_timeout_ms,
                mode=MODES[backend.return_path],
                backend=backend.name,
                weights=tuple(server.weight for server in backend.servers),
            )


def _without(table: tuple[int, ...], out: set[int], pick: int) -> tuple[int, ...]:
    """A picking table without some servers: the others keep their places.

    By hash, a place that loses its server is drawn again, always alike, so its keys spread over
    all others; the relay does the same for each key.
    """
    if not out or pick != BY_HASH:
        return tuple(at for at in table if at not in out)
    if out.issuperset(table):
        return ()
    return tuple(_redrawn(table, i, out) if at in out else at for i, at in enumerate(table))


def _redrawn(table: tuple[int, ...], place: int, out: set[int]) -> int:
    number = place
    for _ in range(REDRAWN_MAX):
        number = (number * 0x5851F42D4C957F2D + 0x14057B7EF767814F) & (1 << 64) - 1  # Knuth's MMIX
        found = table[(number >> 33) % len(table)]
        if found not in out:
            return found
    return next(at for at in (*table[place:], *table) if at not in out)


def _vip(bind: str) -> End:
    _, host, port = bind_parts(bind)
    return End(address_bits(host), port)


def family(address: int) -> int:
    return 4 if address >> 32 == 0xFFFF else 6


def is_wildcard(address: int) -> bool:
    return address in (0, MAPPED)


def is_loopback(address: int) -> bool:
    return address == 1 or address >> 24 == (MAPPED | 127 << 24) >> 24


@lru_cache(maxsize=1 << 16)  # a backend's servers are looked at once for each of its listeners
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
