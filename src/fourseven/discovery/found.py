"""What a source finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SERVERS_MAX = 10_000  # of one source: more is a mistake, and would take all slots from the others


@dataclass(frozen=True, slots=True)
class Found:
    """One server."""

    address: str  # host:port with an IP address, or unix:/path
    weight: int | None = None  # None: as the file says of the source
    max_in_flight: int | None = None
    name: str = ""  # the host name behind the address: that its certificate stands for
    zone: str = ""  # where it stands; empty: as the file says
    rank: int = 0  # how many ranks its source prefers to it: so many tiers further
    known_as: str = ""  # what a hash orders it by; empty: its address


@dataclass(frozen=True, slots=True)
class Look:
    """What one look has found, and when to look again."""

    servers: tuple[Found, ...]
    again_s: float
    partly: str = ""  # why some may be missing; a whole set that is there is better then
    stamp: Any = None  # changes when another look may find something else; None: always


class Unfound(Exception):
    """The look found nothing that could be used; the text says why."""
