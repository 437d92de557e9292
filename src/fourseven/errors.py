"""What is told to a person: where, what is wrong, what would be right.

A Problem is one such line. Everything that reads a file collects Problems and raises them all at
once, since a person who mends one mistake at a time loses patience at the third.

Law: the text has two halves, `wrong` and `right`, joined by "; ". A ValueError that is raised
below the loader (in a unit, a feature) carries both halves already joined; the loader adds where.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


class FoursevenError(Exception):
    """Any failure that is told to the user in plain words, without a traceback."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a file. Line and column count from 1; 0 is the whole file."""

    file: str
    line: int
    column: int
    path: str  # listeners.web.routes[2].match.path, or "" for the file
    text: str  # what is wrong; what would be right
    severity: Severity = "error"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        label = "warning: " if self.severity == "warning" else ""
        path = f"{self.path}: " if self.path else ""
        return _one_line(f"{where}: {label}{path}{self.text}")


class ConfigErrors(FoursevenError):
    """A file that cannot be used, with every error in it, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def _one_line(text: str) -> str:
    """A name may hold anything: what would move a terminal or break a log's line is escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The mend for a name that is not known: the closest one, or the whole list."""
    names = sorted(known)
    ours = CALLED_ELSEWHERE.get(word.lower().replace("-", "_"))
    if ours in names:
        return f"here it is called {ours!r}"
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return "there is none"
    shown = ", ".join(names[:NAMES_SHOWN])
    return (
        f"known: {shown}, and {len(names) - NAMES_SHOWN} more"
        if len(names) > NAMES_SHOWN
        else f"known: {shown}"
    )


# What other balancers' files call it: who comes from there finds our word at once.
CALLED_ELSEWHERE = {
    "leastconn": "least_requests",
    "least_conn": "least_requests",
    "least_connections": "least_requests",
    "ip_hash": "source_hash",
    "source": "source_hash",
    "uri": "hash",
    "consistent": "hash",
    "p2c": "power_of_two",
    "ewma": "peak_ewma",
    "upstream": "backends",
    "upstreams": "backends",
    "pools": "backends",
    "clusters": "backends",
    "services": "backends",
    "frontends": "listeners",
    "entrypoints": "listeners",
    "listen": "bind",
    "proxy_pass": "backend",
    "use_backend": "backend",
    "default_backend": "backend",
    "reverse_proxy": "backend",
    "endpoints": "servers",
    "targets": "servers",
    "sticky": "persistence",
    "stick_table": "persistence",
    "healthcheck": "health",
    "health_check": "health",
    "health_checks": "health",
    "circuit_breaker": "breaker",
    "outlier_detection": "ejection",
    "maxconn": "max_in_flight",
    "max_conns": "max_in_flight",
    "client_max_body_size": "body_max",
    "load_balancing": "balance",
    "algorithm": "balance",
    "gzip": "compress",
    "encode": "compress",
    "compression": "compress",
    "limit_req": "rate_limit",
    "limit_conn": "concurrency",
    "rules": "routes",
    "middlewares": "filters",
    "plugins": "filters",
    "ssl": "tls",
}
NAMES_SHOWN = 30  # the longest list of keys fits; a list of 10,000 backends helps nobody
