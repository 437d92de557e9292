"""Writes bench/RESULTS.md (tables for people) and bench/results.json (all rounds, for tools)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.figures import Memory, Sample, Summary, ratio_to_better, summarise
from bench.peers import OURS
from bench.works import RATE, ROUTES_FEW, ROUTES_MANY, THROUGHPUT, Work

HERE = Path(__file__).parent
Found = Mapping[str, Mapping[str, Sequence[Sample]]]  # work → peer → rounds
ROUTES_BAR, ROUTES_AIM = 1.1, 1.02

INTRODUCTION = """\
# Results

Written by `make bench`. Each figure is the median over the rounds of one run, the peers taking
turns within each round. The proxy has one worker on one core, the load and the origin share
another. **CPU µs per request** is the proxy's user and system time over the requests it served: it
is the figure to compare, since requests per second also depend on the load's core. **Ratio** is the
better of nginx and haproxy over fourseven, in CPU per request: above 1 fourseven is cheaper.
All peers: one worker, keep-alive upstream, X-Forwarded-For, -Proto and -Host added (not in relays),
no access log, the same congestion control, an accept filter, and buffers as installed but in the
rows that say otherwise. A round with an error does not count. With everything on, a log that lacks
a request is an error; its CPU counts until the last line is written, and bench/peers says what is
not alike.
"""


def write(
    machine: Mapping[str, str],
    works: Sequence[Work],
    found: Found,
    memory: Mapping[str, Memory],
    direct: Sequence[Sample],
    folder: Path = HERE,
) -> Path:
    raw = {
        "machine": machine,
        "rounds": {
            work: {peer: [asdict(sample) for sample in samples] for peer, samples in peers.items()}
            for work, peers in found.items()
        },
        "direct": [asdict(sample) for sample in direct],
        "idle": {peer: asdict(cost) for peer, cost in memory.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    file = folder / "RESULTS.md"
    file.write_text(text(machine, works, found, memory, direct))
    return file


def text(
    machine: Mapping[str, str],
    works: Sequence[Work],
    found: Found,
    memory: Mapping[str, Memory],
    direct: Sequence[Sample],
) -> str:
    summaries = {
        work: {peer: summarise(samples) for peer, samples in peers.items()}
        for work, peers in found.items()
    }
    measured = [work for work in works if work.name in found]
    parts = [INTRODUCTION, "| | |\n|---|---|"]
    parts.append("\n".join(f"| {key} | {value} |" for key, value in machine.items()))
    parts += ["\n## Cost and rate\n", cost_table(measured, summaries)]
    if ratio := routes_ratio(summaries):
        parts.append(routes_lines(ratio))
    parts += latency_section(measured, summaries, summarise(direct))
    if memory:
        parts += ["\n## Memory per idle connection\n", memory_table(memory)]
    if problems := invalid(found):
        parts += ["\n## Rounds that do not count\n", "\n".join(problems)]
    return "\n".join(parts) + "\n"


def cost_table(works: Sequence[Work], summaries: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        "| work | peer | CPU µs/request | spread | requests/s | p50 ms | p99 ms "
        "| ratio | at least | aim |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for work in works:
        if work.measure != THROUGHPUT:
            continue
        for peer, summary in summaries[work.name].items():
            ratio = ratio_to_others(summaries[work.name]) if peer == OURS else None
            bars = (number(work.floor), number(work.aim)) if peer == OURS else ("", "")
            cells = [work.title, peer, *summary_cells(summary), number(ratio), *bars]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def summary_cells(summary: Summary | None) -> list[str]:
    if summary is None:
        return ["no valid round", "", "", "", ""]
    return [
        f"{summary.cpu_us:.1f}",
        f"{summary.spread_percent:.0f} %",
        f"{summary.requests_per_second:,.0f}",
        f"{summary.p50_us / 1000:.2f}",
        f"{summary.p99_us / 1000:.2f}",
    ]


def ratio_to_others(summaries: Mapping[str, Summary | None]) -> float | None:
    ours = summaries.get(OURS)
    others = [summary.cpu_us for name, summary in summaries.items() if summary and name != OURS]
    return ratio_to_better(ours.cpu_us if ours else None, others)


def routes_ratio(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Per peer: what 10,000 routes cost over what 10 cost."""
    few, many = (summaries.get(str(count), {}) for count in (ROUTES_FEW, ROUTES_MANY))
    return {
        peer: many[peer].cpu_us / few[peer].cpu_us for peer in few if few[peer] and many.get(peer)
    }


def routes_lines(ratios: Mapping[str, float]) -> str:
    said = ", ".join(f"{peer} {ratio:.2f}" for peer, ratio in ratios.items())
    bars = f"at most {ROUTES_BAR}, aim {ROUTES_AIM}"
    return f"\n10,000 routes over 10 routes, CPU per request ({bars}): {said}."


def latency_section(
    works: Sequence[Work], summaries: Mapping[str, Mapping[str, Any]], direct: Summary | None
) -> list[str]:
    rows = []
    for work in works:
        if work.measure != RATE or direct is None:
            continue
        rows.append(f"| direct | {direct.p50_us:.0f} | {direct.p99_us:.0f} | | | |")
        for peer, summary in summaries[work.name].items():
            if summary is None:
                rows.append(f"| {peer} | no valid round | | | | |")
                continue
            added = summary.p50_us - direct.p50_us, summary.p99_us - direct.p99_us
            rows.append(
                f"| {peer} | {summary.p50_us:.0f} | {summary.p99_us:.0f} | {added[0]:.0f} "
                f"| {added[1]:.0f} | {summary.cpu_us:.1f} |"
            )
    if not rows:
        return []
    columns = ("", "p50 µs", "p99 µs", "added p50", "added p99", "CPU µs/request")
    head = "| " + " | ".join(columns) + " |\n|---|---:|---:|---:|---:|---:|"
    title = "\n## Added latency at 20,000 requests a second\n"
    note = "A request's time counts from the moment when it was due.\n"
    return [title, note, head, *rows]


def memory_table(memory: Mapping[str, Memory]) -> str:
    rows = ["| peer | bytes per connection | MiB in all |", "|---|---:|---:|"]
    for peer, cost in memory.items():
        rows.append(f"| {peer} | {cost.grown_bytes:,.0f} | {cost.total_bytes / 2**20:,.1f} |")
    note = (
        "Keep-alive connections that had one answer each, 10,000 of them if the limit of open "
        "files allows; memory of the processes."
    )
    return f"{note}\n\n" + "\n".join(rows)


def invalid(found: Found) -> list[str]:
    return [
        f"- {work}, {peer}, round {at + 1}: {sample.errors}"
        for work, peers in found.items()
        for peer, samples in peers.items()
        for at, sample in enumerate(samples)
        if sample.errors
    ]


def number(value: float | None) -> str:
    return f"{value:.2f}" if value else ""
