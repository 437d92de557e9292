"""`fourseven explain FILE`: how each listener is served, and why; or what becomes of one request.

    fourseven explain FILE
    fourseven explain FILE GET http://host/path -H 'X: y' --from 203.0.113.9 --body @file

The listener of a request is the one that is bound to the URL's port, or --listener. Each route
that was tried is shown with the condition that failed; with thousands of routes those that came
closest, or all with --all.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from fourseven.compiler.compile import compile_plan
from fourseven.compiler.explain import ListenerReport, RouteReport, match_as_written, report
from fourseven.config.load import load
from fourseven.control.host import facts_for
from fourseven.control.question import asked, verdict_on
from fourseven.control.trial import Attempt, Verdict
from fourseven.l4.facts import UNASKED
from fourseven.model import Config

ROUTES_SHOWN = 30  # a screen; --all shows the rest
SERVERS_SHOWN = 8  # a line


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("method", required=False)
@click.argument("url", required=False)
@click.option("-H", "--header", "headers", multiple=True, help="A header line: 'Name: value'.")
@click.option("--from", "client", default="127.0.0.1", help="Where the connection comes from.")
@click.option("--body", help="The body: text, or @file.")
@click.option("--sni", help="The name in the ClientHello; else the host of an https URL.")
@click.option("--alpn", multiple=True, help="A protocol that the ClientHello offers.")
@click.option(
    "--client-cert",
    "certificate",
    type=click.Path(exists=True, dir_okay=False),
    help="The certificate (PEM) that the client shows.",
)
@click.option("--listener", "wanted", help="Which listener takes it; else the URL's port says.")
@click.option("--all", "everything", is_flag=True, help="Every route, however many there are.")
@click.option("--no-host", is_flag=True, help="Of the file alone: this host is not asked.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def explain(  # noqa: PLR0917 - click passes each by its name
    file: str,
    method: str | None,
    url: str | None,
    headers: tuple[str, ...],
    client: str,
    body: str | None,
    sni: str | None,
    alpn: tuple[str, ...],
    certificate: str | None,
    wanted: str | None,
    everything: bool,
    no_host: bool,
    form: str,
) -> None:
    """Says how each listener of FILE is served and why, or what becomes of METHOD URL."""
    config = load(file)
    plan = compile_plan(config, UNASKED if no_host or method else facts_for(config))
    console = Console(highlight=False, soft_wrap=True)
    if method is None:
        reports = report(config, plan)
        if form == "json":
            print(json.dumps([asdict(one) for one in reports], indent=2, ensure_ascii=False))
            return
        for one in reports:
            show_listener(console, one, everything)
        return
    if url is None:
        raise click.UsageError("a request is METHOD URL, e.g. GET http://example.com/path")
    content = _content(body)
    try:
        question = asked(method, url, headers, client, content)
        shown = Path(certificate).read_bytes() if certificate else b""
        verdict = verdict_on(
            plan, question, url, wanted=wanted, sni=sni, alpn=alpn, certificate=shown
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if form == "json":
        print(json.dumps(asdict(verdict), indent=2, ensure_ascii=False))
        return
    show_verdict(console, config, f"{method} {url}", verdict, everything)


def _content(body: str | None) -> bytes | None:
    if body is None or not body.startswith("@"):
        return None if body is None else body.encode()
    try:
        return Path(body[1:]).read_bytes()
    except OSError as error:
        raise click.UsageError(f"--body {body}: {error.strerror}") from None


# ---- printing ----


def show_listener(console: Console, one: ListenerReport, everything: bool) -> None:
    """One listener as a block."""
    console.print(Text.assemble((one.name, "bold"), "  ", ", ".join(one.bind)))
    facts = [("layer", f"{one.layer}, plane {one.plane}"), ("because", one.because)]
    facts += [("sees", one.sees)]
    facts += [("costs", cost) for cost in one.costs]
    facts += [("refused", refused) for refused in one.refused]
    facts += [
        ("backend", f"{b.name}: {b.algorithm} over {_servers(b.servers)}") for b in one.backends
    ]
    _facts(console, facts)
    shown = one.routes if everything else one.routes[:ROUTES_SHOWN]
    rows = [(route.name, route.match or "everything", _target(route)) for route in shown]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, match, target in rows:
        console.print(Text(f"  {name:<{widths[0]}}  {match:<{min(widths[1], 60)}}  → {target}"))
    if len(shown) < len(one.routes):
        console.print(f"  … and {len(one.routes) - len(shown)} more routes (--all shows them)")
    console.print()


def _servers(servers: tuple[tuple[str, int], ...]) -> str:
    shown = ", ".join(f"{a} (weight {w})" if w != 1 else a for a, w in servers[:SERVERS_SHOWN])
    rest = len(servers) - SERVERS_SHOWN
    return shown if rest <= 0 else f"{shown} and {rest} more"


def _target(route: RouteReport) -> str:
    """The filters, then the backends with their weights."""
    alone = len(route.backends) == 1
    to = " ".join(name if alone else f"{name}:{weight}" for name, weight in route.backends)
    return " → ".join(part for part in (", ".join(route.filters), to) if part)


def show_verdict(
    console: Console, config: Config, title: str, verdict: Verdict, everything: bool
) -> None:
    """One request, from the listener to the server."""
    console.print(Text.assemble((title, "bold"), f"  from {verdict.peer}"))
    facts = [("listener", f"{verdict.listener}, {verdict.layer}"), *verdict.seen.items()]
    if verdict.client != verdict.peer:
        facts.append(("client", f"{verdict.client}, as the trusted {verdict.peer} says"))
    if verdict.refused:
        facts.append(("refused", f"{verdict.refused}; no route is tried, no server sees it"))
    _facts(console, facts)
    shown = verdict.attempts if everything else _closest(verdict.attempts)
    if len(shown) < len(verdict.attempts):
        rest = len(verdict.attempts) - len(shown)
        console.print(f"  {rest} routes missed by more; these came closest (--all shows every one)")
    for attempt in shown:
        _show_attempt(console, config, verdict.listener, attempt)
    _facts(console, _ending(verdict))


def _show_attempt(console: Console, config: Config, listener: str, attempt: Attempt) -> None:
    match = match_as_written(config, listener, attempt.number) or "everything"
    sign, style = ("✓", "green") if attempt.taken else ("✗", "red")
    line = Text.assemble("  ", (sign, style), f" {attempt.name}  {match}")
    console.print(line.append(f"  {attempt.source}", style="dim"))
    for miss in attempt.misses:
        console.print(Text(f"      {miss.field}: wanted {miss.wanted}; got {miss.got}"))


def _closest(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """A screenful: the one that took it, and those of which most conditions held, in order."""
    if len(attempts) <= ROUTES_SHOWN:
        return attempts
    ranked = sorted(attempts, key=lambda one: (not one.taken, -one.held, one.number))
    return tuple(sorted(ranked[:ROUTES_SHOWN], key=lambda one: one.number))


def _ending(verdict: Verdict) -> list[tuple[str, str]]:
    if verdict.refused:
        return []
    if not verdict.route:
        return [
            (
                "answer",
                "404, no route takes it"
                if "method" in verdict.seen
                else "closed, no route takes it",
            )
        ]
    if verdict.answered:
        return [("answer", f"{verdict.route} answers by itself; no server sees it")]
    total = sum(weight for _, weight in verdict.shares)
    facts = []
    if len(verdict.shares) > 1:
        shares = ", ".join(f"{name} {100 * weight / total:g} %" for name, weight in verdict.shares)
        facts.append(("backends", f"{shares}; here the one with the largest share"))
    facts.append(("backend", f"{verdict.backend}, {verdict.algorithm}"))
    facts.append(("server", f"{verdict.server or 'none'}: {verdict.why}"))
    return facts


def _facts(console: Console, facts: list[tuple[str, str]]) -> None:
    for name, value in facts:
        console.print(Text.assemble("  ", (f"{name:<9}", "dim"), " ", value))
