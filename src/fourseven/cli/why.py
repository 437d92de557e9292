"""Why a request goes where it goes, in `explain`'s own words.

The file that the balancer serves is compiled here once more, and each request of the tour is put on
trial with the code that serves (control.trial). So the demo never explains what did not happen: the
backend of the verdict and the server that answered stand in one row.
"""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from fourseven.compiler.compile import compile_plan
from fourseven.compiler.explain import match_as_written
from fourseven.config.load import load
from fourseven.control.trial import Asked, Attempt, Verdict, judge
from fourseven.demo.scene import Visit
from fourseven.demo.show import Reason

CLIENT = "127.0.0.1"


class Reasons:
    """The reasons of one file."""

    def __init__(self, file: Path) -> None:
        self.config = load(file)
        self.plan = compile_plan(self.config)

    def of(self, visit: Visit) -> Reason:
        listener = next(one for one in self.plan.listeners if one.name == visit.listener)
        alpn = ("h2",) if visit.http2 else ()
        asked = Asked(head(visit), visit.body, CLIENT, sni=visit.name, alpn=alpn)
        verdict = judge(self.plan, listener, asked)
        words = self.routes(verdict) if verdict.seen else escape(listener.because)
        layer, _, more = verdict.layer.partition(": ")
        words += f"\n{more}" if more else ""
        if verdict.answered:
            return Reason(layer, f"{words}\n→ [dim]the balancer answers[/]")
        count = next(len(one.servers) for one in self.plan.backends if one.name == verdict.backend)
        turn = f"{verdict.algorithm.replace('_', ' ')} over {count} servers"
        return Reason(layer, f"{words}\n→ {verdict.backend}, [dim]{turn}[/]")

    def routes(self, verdict: Verdict) -> str:
        """Every route that was tried, with its match as the file has it."""
        return "\n".join(self.attempt(verdict.listener, one) for one in verdict.attempts)

    def attempt(self, listener: str, one: Attempt) -> str:
        match = escape(match_as_written(self.config, listener, one.number) or "everything")
        return f"[green]✓[/] {match}" if one.taken else f"[dim]✗ {match}[/]"


def head(visit: Visit) -> bytes:
    """The bytes of the request's head; none for what is no HTTP."""
    if visit.listener in ("echo", "datagrams"):
        return b""
    lines = [f"{visit.method} {visit.path} HTTP/1.1", f"Host: {visit.host}"]
    lines += [f"{name}: {value}" for name, value in visit.headers]
    lines += [f"Content-Length: {len(visit.body)}"] if visit.body else []
    return "\r\n".join([*lines, "", ""]).encode()
