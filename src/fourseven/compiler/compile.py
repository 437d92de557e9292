"""From the model to the plan. The same model gives the same plan, on any host: only the
certificates of a TLS listener are read from their files (`tls`).

Each part has its file: `layer` decides how a listener is served, `routes`, `listeners` and
`backends` say what is done there. Nothing here knows a feature by name.

Law: a plan can be packed. What a feature or the matcher refuses only now (more servers than a
table holds, more conditions than a route may have) is a ConfigErrors with its place, like any
other error, and all of them come at once.
"""

from __future__ import annotations

from fourseven.compiler.backends import compile_backend
from fourseven.compiler.listeners import compile_listener
from fourseven.errors import ConfigErrors, Problem
from fourseven.model import Config
from fourseven.plan import BackendPlan, Plan


def compile_plan(config: Config) -> Plan:
    """Everything that the data planes need to know. ConfigErrors says what cannot be built."""
    problems: list[Problem] = []
    listeners = tuple(compile_listener(config, name, problems) for name in config.listeners)
    backends = _backends(config, problems)
    if problems:
        raise ConfigErrors(problems)
    return Plan(
        listeners=listeners,
        backends=backends,
        workers=config.workers,
        shutdown_timeout_ms=config.shutdown_timeout_ms,
    )


def _backends(config: Config, problems: list[Problem]) -> tuple[BackendPlan, ...]:
    found = []
    for name, backend in config.backends.items():
        try:
            found.append(compile_backend(name, backend))
        except ValueError as error:
            problems.append(config.problem(("backends", name, "balance"), str(error)))
    return tuple(found)
