"""What the admin API looks at and changes: the engine, as far as it shows itself.

A Protocol and not the engine, so that the API is tested with a made-up one, and so that it cannot
reach for more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from fourseven.control.health import Key
from fourseven.control.servers import Seen
from fourseven.plan import Plan


@dataclass(frozen=True, slots=True)
class InForce:
    """The file in force."""

    plan: Plan
    raw: bytes
    file: str
    since: float  # seconds since 1970
    addresses: dict[str, tuple[str, ...]]  # where each listener really listens
    workers: int


class Subject(Protocol):
    """An engine."""

    @property
    def in_force(self) -> InForce | None:
        """None before the first file is served."""

    @property
    def draining(self) -> bool: ...

    def running(self) -> Plan:
        """The plan as it is served now: servers that were found, weights, who gets no new work."""

    def counters(self) -> dict[str, Any]:
        """As DataPlane.counters(), with the kernel planes' added."""

    def seen(self) -> dict[Key, Seen]:
        """Every server, as the book of servers has it."""

    def sources(self) -> list[dict[str, Any]]:
        """As Discovery.seen()."""

    def words(self) -> list[Any]:
        """What an operator has said, as Servers.words()."""

    def operate(
        self, key: Key, said: str, deadline_s: float | None = None, keep: bool = True
    ) -> None:
        """enable, drain or maintenance; FoursevenError: that is nobody's, or no word."""

    def unsay(self, key: Key) -> None:
        """What was said of a server holds no longer, also where it is gone."""

    def weigh(self, key: Key, weight: int | None, keep: bool = True) -> None:
        """Another weight, or the file's again."""

    def on_disk(self) -> bytes | None:
        """The file as it is now; None where it cannot be read."""
