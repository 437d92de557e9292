"""From the model to the plan. Pure: the same model gives the same plan, on any host.

Each part has its file: `layer` decides how a listener is served, `routes`, `listeners` and
`backends` say what is done there. Nothing here knows a feature by name.
"""

from __future__ import annotations

from fourseven.compiler.backends import compile_backend
from fourseven.compiler.listeners import compile_listener
from fourseven.model import Config
from fourseven.plan import Plan


def compile_plan(config: Config) -> Plan:
    """Everything that the data planes need to know. The config has passed `check`."""
    return Plan(
        listeners=tuple(compile_listener(config, name) for name in config.listeners),
        backends=tuple(compile_backend(name, said) for name, said in config.backends.items()),
        workers=config.workers,
    )
