"""The demo's two tables, as rich draws them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from fourseven.demo.compare import RATE_PER_SECOND, Comparison, Figures
from fourseven.demo.tour import Seen

TOO_LITTLE = "below what can be measured here"  # the machine's noise is larger, even below zero


@dataclass(frozen=True, slots=True)
class Reason:
    """The layer of a visit's listener, and why it goes where it goes, as rich's markup."""

    layer: str
    why: str


def tour_table(rows: Sequence[tuple[Seen, Reason]]) -> Table:
    """Each row: what was sent, which server answered, and what `explain` says of it."""
    table = Table(title="Where each request went, and why", title_justify="left", show_lines=True)
    table.add_column("request")
    table.add_column("layer", no_wrap=True)
    table.add_column("server", no_wrap=True)
    table.add_column("why")
    for seen, reason in rows:
        colour = "green" if seen.right else "red"
        server = f"[{colour}]{seen.server or seen.status}[/]"
        table.add_row(escape(seen.visit.title), reason.layer, server, reason.why)
    return table


def comparison_table(found: Comparison) -> Table:
    """A column for each way, the lowest first."""
    table = Table(title="Layer 4 against Layer 7, on this machine", title_justify="left")
    table.add_column("")
    for plane in found.planes:
        table.add_column(f"Layer 4 (kernel: {plane})")
    table.add_column("Layer 4 (relay)")
    table.add_column("Layer 7 (HTTP)")
    words = [(name, *[kernel] * len(found.planes), *more) for name, kernel, *more in WORDS]
    for row in (*words[:2], *figures(found), *words[2:]):
        table.add_row(*row)
    return table


WORDS = (  # of a kernel plane, the relay, Layer 7
    (
        "what is inspected",
        "addresses and ports of a packet",
        "addresses and ports of a connection; not one byte of it",
        "method, host, path, query, headers, cookies, device, payload",
    ),
    (
        "routing basis",
        "the listener; a server for each flow",
        "the listener; a server for each connection",
        "the first route that matches; a server for each request",
    ),
    (
        "flexibility",
        "any protocol over TCP or UDP; packets are rewritten and reach no process",
        "any protocol over TCP or UDP, encrypted or not; nothing is changed or retried",
        "HTTP: rewrites, redirects, headers, retries, canaries, reuse of connections",
    ),
)


def figures(found: Comparison) -> list[tuple[str, ...]]:
    """The measured rows; latency is what the balancer adds to the direct way."""
    ways = [*found.planes.values(), found.layer4, found.layer7]

    def each(name: str, form: Callable[[Figures], str]) -> tuple[str, ...]:
        return (name, *map(form, ways))

    def resting(way: Figures) -> str:
        if way.idle_bytes is None:
            return "in the kernel"
        return f"{way.idle_bytes:,.0f} bytes" if way.idle_bytes >= 1 else TOO_LITTLE

    def added(way_us: float, direct_us: float) -> str:
        more_us = way_us - direct_us
        return f"+{more_us:.0f} µs" if more_us >= 1 else TOO_LITTLE

    pace = f"{RATE_PER_SECOND:,}/s"
    direct = found.direct
    return [
        each("requests a second, one worker", lambda way: f"{way.requests_per_second:,.0f}"),
        each("CPU time per request", lambda way: f"{way.cpu_us:.1f} µs"),
        each("the same with client and origin", lambda way: f"{way.path_us:.1f} µs"),
        each(f"added latency, p50 at {pace}", lambda way: added(way.p50_us, direct.p50_us)),
        each(f"added latency, p99 at {pace}", lambda way: added(way.p99_us, direct.p99_us)),
        each("memory per resting connection", resting),
    ]


def conclusion(found: Comparison) -> str:
    """The table in sentences, and how far to trust it."""
    ratio = found.layer7.cpu_us / found.layer4.cpu_us if found.layer4.cpu_us else 0.0
    said = [
        f"Looking into each request costs {ratio:.1f} times the CPU of passing it on. Direct, the "
        f"origin gives {found.direct.requests_per_second:,.0f} requests a second with a p50 of "
        f"{found.direct.p50_us:.0f} µs, for {found.direct.path_us:.1f} µs of CPU with the client; "
        f"the balancer's processes hold {found.memory / 2**20:.0f} MiB."
    ]
    if found.apart:
        said.append(
            "Client, balancer and origin each had a network namespace; direct means that the "
            "balancer's routes packets. What a kernel plane does is charged to client and origin, "
            "on their core; the relay and HTTP had a core besides."
        )
    if found.cores < 2:
        said.append("One core served load, origin and balancer alike, so the rates are low.")
    ways = (found.direct, *found.planes.values(), found.layer4, found.layer7)
    if errors := sum(way.errors for way in ways):
        said.append(f"[red]{errors} requests failed, so these figures prove nothing.[/]")
    said.append("A short measurement with a modest load: `make bench` is the thorough one.")
    return "\n".join([*map(escape, found.notes), " ".join(said)])
