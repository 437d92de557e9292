"""What a kernel plane is, as control sees it: tcx, xdp and nftables are three of one kind.

A plane is opened in a `Home` (where it keeps what outlives the process), is given a plan and the
interfaces, and from then on works by itself; control only looks after it:

    plane = open_plane(home)         adopts what a predecessor left there, or begins empty
    plane.apply(plan)                its services and servers; all of it or nothing
    plane.stand(interfaces)          before these interfaces and no others
    plane.moved()                    the host's routes have changed; is `apply` due?
    plane.tick()                     what is due now and then (ageing); says when to come again
    plane.drain()                    no new flows from now on
    plane.busy()                     flows that a drain waits for
    plane.close(remove=True)         out of the kernel; remove=False: it goes on without us

Laws: every refusal is a FoursevenError in one line, and then nothing has changed. Flows stay with
their servers over `apply`, whatever it changes. `close(remove=False)` leaves a plane that needs no
process (where the home allows it), and `close(remove=True)` nothing at all. One thread calls.

A server is (backend, address): its counts are those of the backend, over all listeners.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fourseven.l4.kernel_plan import End, KernelPlan

NEW, OPENING, ESTABLISHED, CLOSING, CLOSED = "new", "opening", "established", "closing", "closed"


@dataclass(frozen=True, slots=True)
class Home:
    """Where a plane keeps what outlives this process."""

    name: str  # of this fourseven: letters, digits, - and _; unique in this network namespace
    pins: Path | None = None  # a directory of a bpffs, ours alone; None: nothing outlives us


@dataclass(slots=True)
class Counts:
    """Of a listener or of a server, since its plane began; flows_active is a gauge."""

    packets_in: int = 0  # from clients
    bytes_in: int = 0
    packets_out: int = 0  # from servers
    bytes_out: int = 0
    flows_active: int = 0
    flows_new: int = 0
    flows_closed: int = 0  # ended or timed out
    flows_evicted: int = 0  # made room for others


@dataclass(slots=True)
class ListenerCounts(Counts):
    """Of a listener; drops by reason (no_server, no_port, ttl, malformed, fragment, …)."""

    passed: int = 0  # packets that were left to the host's own stack
    drops: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class PlaneCounts:
    """Everything that a plane has counted."""

    listeners: dict[str, ListenerCounts] = field(default_factory=dict)
    servers: dict[tuple[str, End], Counts] = field(default_factory=dict)  # by (backend, address)
    drops: dict[str, int] = field(default_factory=dict)  # that belong to no listener


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """A live flow. Times are of the monotonic clock's distance to now."""

    protocol: int  # IANA
    client: End
    vip: End
    server: End
    state: str  # one of the words above
    age_ms: int  # since it began; -1 where the plane does not know
    idle_ms: int  # since its last packet
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    source: End | None = None  # what the server sees as its client, where that is masqueraded


@dataclass(frozen=True, slots=True)
class FlowFilter:
    """Which flows are asked for; what is None is not asked about."""

    protocol: int | None = None
    client: tuple[int, int] | None = None  # address and mask, 128 bits each
    vip: End | None = None  # port 0: any
    server: End | None = None  # port 0: any
    states: frozenset[str] = frozenset()  # empty: any
    older_ms: int = 0  # since it began, at least
    idle_ms: int = 0  # since its last packet, at least
    bytes_least: int = 0  # both ways together


class KernelPlane(Protocol):
    """What control asks of a plane. `name` is tcx, xdp or nftables."""

    name: str
    adopted: bool  # it found what a predecessor left, and goes on with it

    def apply(self, plan: KernelPlan) -> None:
        """Serves these services from now on; FoursevenError: all is as it was."""

    def stand(self, interfaces: Sequence[str]) -> list[str]:
        """Works on these interfaces and no others; says, a line each, where it cannot."""

    def moved(self) -> bool:
        """Routes or addresses of this host have changed: must the plan be applied anew?"""

    def tick(self) -> float:
        """Ages flows; seconds until it wants to be called again."""

    def drain(self) -> None:
        """Takes no new flow; what it has goes on."""

    def busy(self) -> int:
        """Flows that are alive."""

    def counters(self) -> PlaneCounts:
        """Sums since it began, over restarts of the process where the home allows it."""

    def flows(self, wanted: FlowFilter | None = None) -> Iterator[FlowRecord]:
        """Live flows, in no order."""

    def records(self, wanted: FlowFilter) -> Iterator[bytes]:
        """The same as rows of `records`, many at a time: no object is made of one."""

    def cut(self, server: tuple[str, End]) -> int:
        """Ends every flow of a server (RST where the plane can); how many there were."""

    def close(self, remove: bool) -> None:
        """Lets go. remove: everything of ours leaves the kernel, flows too."""
