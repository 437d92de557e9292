"""The demo's two tables, as rich draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from fourseven.demo.compare import RATE_PER_SECOND, Comparison
from fourseven.demo.tour import Seen


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
    table = Table(title="Layer 4 against Layer 7, on this machine", title_justify="left")
    table.add_column("")
    table.add_column("Layer 4 (relay)")
    table.add_column("Layer 7 (HTTP)")
    for name, four, seven in [*WORDS[:2], *figures(found), *WORDS[2:]]:
        table.add_row(name, four, seven)
    return table


WORDS = (
    (
        "what is inspected",
        "addresses and ports of a connection; not one byte of it",
        "method, host, path, query, headers, cookies, device, payload",
    ),
    (
        "routing basis",
        "the listener; a server for each connection",
        "the first route that matches; a server for each request",
    ),
    (
        "flexibility",
        "any protocol over TCP or UDP, encrypted or not; nothing is changed or retried",
        "HTTP: rewrites, redirects, headers, retries, canaries, reuse of connections",
    ),
)


def figures(found: Comparison) -> list[tuple[str, str, str]]:
    """The measured rows; latency is what the balancer adds to the direct way."""

    def both(name: str, form: str, field: str) -> tuple[str, str, str]:
        values = (getattr(found.layer4, field), getattr(found.layer7, field))
        return name, form.format(values[0]), form.format(values[1])

    def added(name: str, field: str) -> tuple[str, str, str]:
        direct = getattr(found.direct, field)
        values = (getattr(found.layer4, field) - direct, getattr(found.layer7, field) - direct)
        return name, f"{values[0]:+.0f} µs", f"{values[1]:+.0f} µs"

    return [
        both("requests a second, one worker", "{:,.0f}", "requests_per_second"),
        both("CPU time per request", "{:.1f} µs", "cpu_us"),
        added(f"added latency, p50 at {RATE_PER_SECOND:,}/s", "p50_us"),
        added(f"added latency, p99 at {RATE_PER_SECOND:,}/s", "p99_us"),
        both("memory per resting connection", "{:,.0f} bytes", "idle_bytes"),
    ]


def conclusion(found: Comparison) -> str:
    """The table in a sentence, and how far to trust it."""
    ratio = found.layer7.cpu_us / found.layer4.cpu_us if found.layer4.cpu_us else 0.0
    said = [
        f"Looking into each request costs {ratio:.1f} times the CPU of passing it on. Direct, the "
        f"origin gives {found.direct.requests_per_second:,.0f} requests a second with a p50 of "
        f"{found.direct.p50_us:.0f} µs; the balancer's processes hold "
        f"{found.memory / 2**20:.0f} MiB."
    ]
    if found.cores < 2:
        said.append("One core served load, origin and balancer alike, so the rates are low.")
    errors = found.direct.errors + found.layer4.errors + found.layer7.errors
    if errors:
        said.append(f"[red]{errors} requests failed, so these figures prove nothing.[/]")
    said.append("A short measurement with a modest load: `make bench` is the thorough one.")
    return " ".join(said)
