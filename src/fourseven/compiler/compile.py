"""From the model to the plan. The same model and the same facts of a host give the same plan: only
the files of certificates and tokens are read (`tls`, `outward`, `admin`).

Each part has its file: `layer` decides how a listener is served, `routes`, `listeners` and
`backends` say what is done there, `ranges` spells out ranges of ports, and `planes` chooses who
serves. Nothing here knows a feature by name.

Law: a plan can be packed. What a feature or the matcher refuses only now (more servers than a
table holds, more conditions than a route may have) is a ConfigErrors with its place, like any
other error, and all of them come at once.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fourseven.compiler.admin import compile_admin
from fourseven.compiler.backends import compile_backend
from fourseven.compiler.listeners import compile_listener
from fourseven.compiler.observe import compile_log, compile_tracing
from fourseven.compiler.outward import compile_outward
from fourseven.compiler.planes import choose, with_plane
from fourseven.compiler.ranges import said, spread_backend, spread_listener, width
from fourseven.compiler.resilience import with_secrets
from fourseven.errors import ConfigErrors, Problem
from fourseven.l4.facts import UNASKED, Facts
from fourseven.model import Config
from fourseven.plan import BackendPlan, KernelOptions, ListenerPlan, Plan


def compile_plan(config: Config, facts: Facts = UNASKED) -> Plan:
    """Everything that the data planes need to know. ConfigErrors says what cannot be built."""
    problems: list[Problem] = []
    whole = [compile_listener(config, name, problems) for name in config.listeners]
    backends = _backends(config, problems)
    admin = compile_admin(config, problems)
    log = compile_log(config, problems)
    if problems:
        raise ConfigErrors(problems)
    ranged = {one.name for one in backends if width(server.address for server in one.servers) > 1}
    spelt = [one for backend in backends for one in spread_backend(backend)]
    listeners = [one for listener in whole for one in spread_listener(listener, ranged)]
    listeners = _planes(config, listeners, spelt, facts)
    kernel = config.kernel
    return Plan(
        listeners=tuple(listeners),
        backends=tuple(spelt),
        kernel=KernelOptions(
            interfaces=() if kernel.interfaces == "auto" else kernel.interfaces,
            flows_max=kernel.flows_max,
            masquerade_addresses=kernel.masquerade_addresses,
        ),
        workers=config.workers,
        shutdown_timeout_ms=config.shutdown_timeout_ms,
        admin=admin,
        access_log=log,
        tracing=compile_tracing(config),
    )


def _planes(
    config: Config, listeners: list[ListenerPlan], spelt: list[BackendPlan], facts: Facts
) -> list[ListenerPlan]:
    """Who serves each listener. ConfigErrors where it cannot be who was asked for."""
    backends = {backend.name: backend for backend in spelt}
    problems: list[Problem] = []
    found = []
    for listener in listeners:
        if listener.layer != "L4":
            found.append(listener)
            continue
        name = said(listener.name)
        own = config.listeners[name].plane
        wish = own if own != "auto" else config.kernel.plane
        choice = choose(listener, backends, wish, facts)
        if choice.conflict and own != "auto":
            text = f"{wish} cannot serve this listener: {choice.conflict}; plane: auto takes"
            problems.append(config.problem(("listeners", name, "plane"), f"{text} what can"))
        found.append(with_plane(listener, choice, facts))
    if problems:
        raise ConfigErrors(problems)
    return found


def _backends(config: Config, problems: list[Problem]) -> tuple[BackendPlan, ...]:
    found = []
    for name, backend in config.backends.items():
        tls = compile_outward(config, name, problems)
        try:
            plan = compile_backend(name, backend, config.folder, config.zone)
        except ValueError as error:
            problems.append(config.problem(("backends", name, "balance"), str(error)))
            continue
        try:
            persistence = with_secrets(plan.persistence, Path(config.folder))
        except ValueError as error:
            path = ("backends", name, "persistence", "cookie", "secret_file")
            problems.append(config.problem(path, str(error)))
            continue
        found.append(replace(plan, tls=tls, persistence=persistence))
    return tuple(found)
