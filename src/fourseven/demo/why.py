"""Why a request goes where it goes, in the compiler's own words.

The plan that the engine serves is compiled here once more from the same file, and asked.
"""

from __future__ import annotations

from pathlib import Path

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import load
from fourseven.demo.scene import Visit


class Reasons:
    """The reasons of one file."""

    def __init__(self, file: Path) -> None:
        plan = compile_plan(load(file))
        self.listeners = {listener.name: listener for listener in plan.listeners}

    def of(self, visit: Visit) -> tuple[str, str]:
        """The layer of the visit's listener, and why it goes to its backend."""
        listener = self.listeners[visit.listener]
        return listener.layer, listener.because
