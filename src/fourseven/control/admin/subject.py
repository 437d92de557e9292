"""What the admin API looks at and changes: the engine, as far as it shows itself.

A Protocol and not the engine, so that the API is tested with a made-up one, and so that it cannot
reach for more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from fourseven.plan import Plan

Key = tuple[str, str]  # (backend, the server's address)


@dataclass(frozen=True, slots=True)
class InForce:
    """The file in force."""

    plan: Plan
    raw: bytes
    file: str
    since: float  # seconds since 1970
    addresses: dict[str, tuple[str, ...]]  # where each listener really listens
    workers: int


@dataclass(frozen=True, slots=True)
class ServerWord:
    """What may be done with a server, and why. States are those of control.servers."""

    state: str
    reason: str
    usable: bool
    weight: int  # in force
    word: str = "enable"  # the operator's: enable, drain or maintenance
    remaining_s: float | None = None  # until a drain cuts


class Subject(Protocol):
    """An engine."""

    @property
    def in_force(self) -> InForce | None:
        """None before the first file is served."""

    @property
    def draining(self) -> bool: ...

    def counters(self) -> dict[str, Any]:
        """As DataPlane.counters(), with the kernel planes' added."""

    def words(self) -> dict[Key, ServerWord]:
        """Of each server of the plan in force."""
