"""Ranges of ports: one listener and one backend for each port, where servers have ranges too.

    bind: 10.0.0.1:8000-8100        one listener with 101 binds
    servers: [10.0.1.1:9000-9100]   8000 goes to 9000, 8001 to 9001 …: 101 listeners and backends

Every plane then serves them as if the file had spelt them out. They are called `name:port` by the
listener's first bind, which no name in a file can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fourseven.addresses import spread
from fourseven.plan import BackendPlan, ListenerPlan, RoutePlan


def width(addresses: Iterable[str]) -> int:
    """How many ports the longest range among these has."""
    return max((len(spread(address)) for address in addresses), default=1)


def spread_backend(plan: BackendPlan) -> Iterator[BackendPlan]:
    """The backend for each port of its servers' ranges; itself if they have none."""
    ports = width(server.address for server in plan.servers)
    if ports == 1:
        yield plan
        return
    for at in range(ports):
        servers = (
            replace(server, address=all_[min(at, len(all_) - 1)], known_as=server.address)
            for server in plan.servers
            for all_ in (spread(server.address),)
        )
        yield replace(plan, name=part(plan.name, at), servers=tuple(servers))


def spread_listener(plan: ListenerPlan, ranged: set[str]) -> Iterator[ListenerPlan]:
    """The listener, or one for each port if it leads to a backend in `ranged`."""
    binds = [spread(bind) for bind in plan.bind]
    if not any(name in ranged for route in plan.routes for name in reaches(route)):
        yield replace(plan, bind=tuple(bind for all_ in binds for bind in all_))
        return
    for at, first in enumerate(binds[0]):
        routes = (
            replace(
                route,
                backends=tuple(
                    (part(name, at) if name in ranged else name, weight)
                    for name, weight in route.backends
                ),
                fallback=part(route.fallback, at) if route.fallback in ranged else route.fallback,
            )
            for route in plan.routes
        )
        yield replace(
            plan,
            name=f"{plan.name}:{first.rpartition(':')[2]}",
            bind=tuple(all_[at] for all_ in binds),
            routes=tuple(routes),
        )


def reaches(route: RoutePlan) -> Iterator[str]:
    """Every backend that may serve it."""
    yield from (name for name, _ in route.backends)
    if route.fallback:
        yield route.fallback


def part(name: str, at: int) -> str:
    """What one port of a ranged backend is called."""
    return f"{name}:{at}"


def said(name: str) -> str:
    """The name in the file of a listener or a backend of a plan."""
    return name.partition(":")[0]
