"""What must hold of every request of a chaos run, and why one may have failed.

A request is *saved* if another try could serve it: it is idempotent, its answer had not begun, and
during its whole life one server stood that was well and that the balancer knew to be usable. The
scene sees to the last condition at all times (its anchor), so every GET of a small answer is saved,
and must get it whole. The others may fail in the ways of the table below, each only while a server
was being harmed in that way.

Where the machine let a server that was well wait for its turn longer than a try takes, none was
well: a request that fails then is not a fault of the balancer's.

Excepted are requests on connections that the engine held when it was killed, and no others: a
connection that broke then and was not held is a fault.

Every request that is not excepted stands in the access log exactly once, with the status that the
client saw and a reason that the product names. Lines that the engine had not written when it was
killed are lost with it: they are of requests that ended in its last second.

    who      status  reason        because a server
    POST     500     -             was made to fail: its own answer, which is passed on
    POST     502     reset         was killed with the request in its hands
    POST     504     server_time   hung or was slow
    large    200     cut           was killed amid its answer
    large    200     server_time   hung amid its answer, or did while others waited for it
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import erfc, exp, pi, sqrt
from typing import Any

from chaos.clients import LARGE, Request
from fourseven.worker.worker import Reason

NAMED = {reason.name.removeprefix("REASON_").lower() for reason in Reason}
UNWRITTEN_S = 1.0  # the log's thread writes several times a second, if it gets its turn
MARGIN_S = 1.0  # between what happened to a server and when a client could see it
Why = tuple[str, int, str | None]
ALLOWED: dict[Why, set[str]] = {
    ("POST", 500, None): {"errors"},
    ("POST", 502, "reset"): {"kill"},
    ("POST", 504, "server_time"): {"hang", "slow"},
    ("large", 200, "cut"): {"kill", "hang"},
    ("large", 200, "server_time"): {"hang"},
}


@dataclass(slots=True)
class Harm:
    """What was done to a server, from when to when (monotonic); None: still so."""

    peer: str
    how: str
    began: float
    ended: float | None = None

    def overlaps(self, began: float, ended: float) -> bool:
        return self.began <= ended and (self.ended is None or self.ended >= began)


@dataclass(slots=True)
class Kill:
    """The engine's end: when, and the clients' ports of the connections that it held."""

    at: float
    held: set[int]


@dataclass
class Run:
    """A round, as the clients and the access log saw it."""

    requests: list[Request]
    lines: list[dict[str, Any]]
    harms: list[Harm]
    kill: Kill | None = None
    stalls: list[tuple[float, float]] = field(default_factory=list)  # of the machine, from and to
    outcomes: Counter[Why] = field(default_factory=Counter)
    excepted: int = 0
    stalled: int = 0
    unwritten: int = 0


def faults(run: Run) -> list[str]:
    """Everything that must not be, one line each; empty is good."""
    by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in run.lines:
        by_id[line["target"].partition("?")[0].lstrip("/")].append(line)
    found = []
    for request in run.requests:
        found += [f"{wrong}: {request} {by_id[request.id]}" for wrong in _of(run, request, by_id)]
    found += [f"no name for a reason: {line}" for line in run.lines if not _named(line)]
    asked = {request.id for request in run.requests}
    found += [f"nobody asked for {one!r}" for one in by_id if one and one not in asked]
    return found


def _named(line: dict[str, Any]) -> bool:
    return line["reason"] is None or line["reason"] in NAMED


def _of(run: Run, request: Request, by_id: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """What is wrong with one request."""
    if excepted(run.kill, request):
        run.excepted += 1
        return
    lines = by_id[request.id]
    if not lines and unwritten(run.kill, request):
        run.unwritten += 1
        if not request.whole and not explained(run, request):
            yield "failed, and nothing says why"
        return
    if len(lines) != 1:
        yield f"{len(lines)} lines in the access log"
        return
    line = lines[0]
    if line["status"] != request.status:
        yield "the log has another status"
    why = (kind_of(request), request.status, line["reason"])
    run.outcomes[why] += 1
    if request.whole:
        if line["reason"] is not None:
            yield "served, and yet a reason"
        return
    if stalled(run.stalls, request):
        run.stalled += 1
    elif why not in ALLOWED:
        yield "failed, and a retry could have saved it"
    elif not ALLOWED[why] & harmed(run.harms, request):
        yield "failed, and nobody was harmed so"


def excepted(kill: Kill | None, request: Request) -> bool:
    """Lost with the engine: it broke, on a connection that the engine held."""
    if kill is None or not request.error or request.port not in kill.held:
        return False
    return request.began < kill.at + MARGIN_S and request.ended >= kill.at


def unwritten(kill: Kill | None, request: Request) -> bool:
    """Answered so shortly before the engine's end that its line may be lost."""
    if kill is None or not kill.at - UNWRITTEN_S < request.ended:
        return False
    return request.ended <= kill.at or (request.began < kill.at and request.port in kill.held)


def kind_of(request: Request) -> str:
    return "large" if request.size == LARGE else request.method


def explained(run: Run, request: Request) -> bool:
    """It may have failed in a way of the table, as far as its client can tell."""
    told = kind_of(request), request.status
    may = {how for why, hows in ALLOWED.items() if why[:2] == told for how in hows}
    return stalled(run.stalls, request) or bool(may & harmed(run.harms, request))


def stalled(stalls: Iterable[tuple[float, float]], request: Request) -> bool:
    """The machine stood still in its life, or so shortly before that a server may still be out."""
    return any(
        began <= request.ended and ended + MARGIN_S >= request.began for began, ended in stalls
    )


def harmed(harms: Iterable[Harm], request: Request) -> set[str]:
    """How servers were harmed in the life of a request."""
    began, ended = request.began - MARGIN_S, request.ended + MARGIN_S
    return {harm.how for harm in harms if harm.overlaps(began, ended)}


def chance(counts: list[int], weights: list[int]) -> float:
    """How likely a spread at least as far off as this one is, for four servers (chi-square, three
    degrees of freedom)."""
    assert len(counts) == len(weights) == 4, "the closed form is that of three degrees"
    total = sum(counts)
    expected = [total * weight / sum(weights) for weight in weights]
    x = sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True))
    return erfc(sqrt(x / 2)) + sqrt(2 * x / pi) * exp(-x / 2)
