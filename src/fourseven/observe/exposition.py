"""Prometheus' text format, written from the table of metrics (metrics.py).

    # HELP fourseven_requests_total Requests that were answered or closed, by class.
    # TYPE fourseven_requests_total counter
    fourseven_requests_total{listener="web",code="2xx"} 1027

A writer of our own, since a scrape happens in the process that balances: with 1,000 servers it is
a multiple faster than building the client library's objects first, and it can be interrupted after
each family. Tests read it back with the client library's parser.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from fourseven.observe.metrics import METRICS
from fourseven.observe.reading import Metric, Reading

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
LABELS_KEPT = 65_536  # texts of label sets, so that a server's names are escaped once


def exposition(reading: Reading) -> Iterator[str]:
    """The text, a family at a time; a family without a value is left out."""
    for metric in METRICS:
        lines = "\n".join(_lines(metric, reading))
        if lines:
            name = metric.name
            yield f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n{lines}\n"


def _lines(metric: Metric, reading: Reading) -> Iterator[str]:
    name, names = metric.name, metric.labels
    for values, value in metric.read(reading):
        if isinstance(value, int | float):
            yield f"{name}{labels(names, values)} {value}"
            continue
        total = 0
        for bound, count in zip(value.bounds, value.counts, strict=False):
            total += count
            yield f"{name}_bucket{labels((*names, 'le'), (*values, bound))} {total}"
        total += sum(value.counts[len(value.bounds) :])
        yield f"{name}_bucket{labels((*names, 'le'), (*values, '+Inf'))} {total}"
        yield f"{name}_sum{labels(names, values)} {value.sum}"
        yield f"{name}_count{labels(names, values)} {total}"


@lru_cache(LABELS_KEPT)
def labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """`{a="b"}`, or nothing."""
    if not names:
        return ""
    pairs = zip(names, values, strict=True)
    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in pairs) + "}"


def escaped(value: str) -> str:
    return value.translate(_ESCAPES)
