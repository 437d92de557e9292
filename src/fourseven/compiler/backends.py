"""Backends: the algorithm is asked once for its compiled form; the rest is copied.

`balance` left out is round_robin: the one that needs no live figures and surprises nobody.
"""

from __future__ import annotations

from fourseven.compiler.resilience import (
    compile_load,
    compile_locality,
    compile_persistence,
    compile_resilience,
    tries,
)
from fourseven.compiler.tiers import tiers_of
from fourseven.features import Algorithm
from fourseven.forms_ejection import compile_ejection
from fourseven.forms_health import Health
from fourseven.model import Backend, Server
from fourseven.plan import BackendPlan, HealthPlan, ServerPlan, SourcePlan
from fourseven.registry import ALGORITHMS

DEFAULT = "round_robin"


def compile_backend(
    name: str, backend: Backend, folder: str = "", zone: str | None = None
) -> BackendPlan:
    """The servers, and the function that picks one. `folder` is the file's, `zone` ours."""
    algorithm = backend.balance.feature if backend.balance is not None else default_algorithm()
    health = compile_health(backend.health) if backend.health is not None else None
    locality = compile_locality(backend, zone)
    said = [(server, _server(server, health)) for server in backend.servers]
    servers = tuple(plan for server, plan in said if server.source is None)
    picker = algorithm.lower([(server.address, server.weight) for server in servers])
    return BackendPlan(
        name=name,
        servers=servers,
        algorithm=algorithm.key,
        pick=picker.pick,
        table=picker.table,
        hash_field=picker.hash_field,
        hash_name=picker.hash_name,
        hash_prefix_v4=picker.hash_prefix_v4,
        hash_prefix_v6=picker.hash_prefix_v6,
        bounded_load_percent=picker.bounded_load_percent,
        connect_timeout_ms=backend.connect_timeout_ms,
        response_timeout_ms=backend.response_timeout_ms,
        read_timeout_ms=backend.read_timeout_ms,
        idle_timeout_ms=backend.idle_timeout_ms,
        idle_max=backend.idle_max,
        proxy_protocol=int(backend.proxy_protocol[1:]) if backend.proxy_protocol else 0,
        retries=tries(backend),
        http2=backend.protocol == "h2",
        return_path=backend.return_path,
        health=health,
        balance=algorithm,
        sources=tuple(
            SourcePlan(server.source, folder, plan)
            for server, plan in said
            if server.source is not None
        ),
        slow_start_ms=backend.slow_start_ms,
        ejection=compile_ejection(backend.ejection) if backend.ejection is not None else None,
        persistence=compile_persistence(name, backend.persistence),
        resilience=compile_resilience(backend),
        tiers=tiers_of(algorithm, servers, locality),
        locality=locality,
        load=compile_load(backend),
    )


def _server(server: Server, health: HealthPlan | None) -> ServerPlan:
    own = server.health
    if own is not None and health is None:
        raise ValueError("a server says how it is checked, and its backend has no health")
    return ServerPlan(
        address=server.address,
        weight=server.weight,
        max_in_flight=server.max_in_flight,
        max_connections=server.max_connections,
        tier=server.stage,
        zone=server.zone or "",
        health=own.over(health) if own and health is not None else None,
        unchecked=own is False,
        standing=server.standing,
        drain_ms=server.drain_ms or 0,
    )


def compile_health(health: Health) -> HealthPlan:
    """The check and its pace. ValueError where they contradict each other."""
    given = "fast_interval_ms" in health.model_fields_set
    if given and health.fast_interval_ms > health.interval_ms:
        raise ValueError("fast_interval is longer than interval; it is for servers in doubt")
    return HealthPlan(
        check=health.feature,
        interval_ms=health.interval_ms,
        fast_interval_ms=min(health.fast_interval_ms, health.interval_ms),
        timeout_ms=health.timeout_ms,
        rise=health.rise,
        fall=health.fall,
        port=health.port,
        panic_percent=health.panic_percent,
        on_down=health.on_down,
        jitter_percent=health.jitter_percent,
    )


def default_algorithm() -> Algorithm:
    """The algorithm of a backend that names none."""
    return next(one for one in ALGORITHMS if one.key == DEFAULT)()
