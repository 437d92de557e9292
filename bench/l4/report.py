"""Writes bench/RESULTS-L4.md (tables for people) and bench/results-l4.json (all rounds)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from bench.l4.results import Results, works
from bench.l4.works import BARS, WORKS, Work

HERE = Path(__file__).resolve().parents[1]

INTRODUCTION = """\
# Results, Layer 4

Written by `make bench-l4`. Client, balancer and two servers are network namespaces joined by veth,
a set for each way. Each figure is the median over the rounds of one run, the ways taking turns
within each round; **spread** is (largest - smallest) / median. Client, servers and the balancer's
process share one core, and a rate is per second of that core's time spent on the path, the kernel's
work on packets included: it is the cost of the whole path from end to end. Plain routing is ECMP,
without NAT; nftables by hand is one rule with jhash and conntrack; haproxy is
in TCP mode with splicing. `tcx`, `xdp` and `nftables` rewrite addresses only, and the servers route
back through the balancer; `tcx masquerade` also rewrites the client's. The congestion control is
the same everywhere, and the socket at which bulk arrives has room for 8 MiB: left to the kernel,
the window settles at 1 MiB or at 20 by luck, and the luck weighs more than the path (an eighth of
the CPU time of a byte). A round trip is one byte there and back between ends that block.

A **ratio** is ours over theirs: of rates at least so much, of times at most. It is the median of
the rounds' own ratios, each between two measurements of half a second that were made within a few
seconds, and not the ratio between the medians above: what slows the machine for a while slows both
and falls out. The **range** is that of the middle half of those ratios: a bar inside it could have
been met or missed by luck. Ways that answer no bar in a work take part in its first rounds alone. A
round with an error does not count.
"""


def write(results: Results, folder: Path = HERE) -> Path:
    raw = {
        "machine": results.machine,
        "rounds": {
            work: {way: [asdict(one) for one in rounds] for way, rounds in ways.items()}
            for work, ways in results.rounds.items()
        },
        "absent": results.absent,
        "extras": [asdict(extra) for extra in results.extras],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results-l4.json").write_text(json.dumps(raw, indent=1) + "\n")
    file = folder / "RESULTS-L4.md"
    file.write_text(text(results))
    return file


def text(results: Results) -> str:
    measured = [work for work in WORKS if work.name in results.rounds]
    parts = [INTRODUCTION, "| | |\n|---|---|"]
    parts.append("\n".join(f"| {key} | {value} |" for key, value in results.machine.items()))
    parts += ["\n## Figures\n", figures(results, measured)]
    if any(bar.work in results.rounds for bar in BARS):
        parts += ["\n## Against the bars\n", verdicts(results)]
    if results.extras:
        parts += ["\n## Growth, change, rest and floods\n", extras(results)]
    if results.absent:
        parts.append("\n## Left out\n")
        parts += [f"- {way}: {reason}" for way, reason in results.absent.items()]
    if invalid := results.invalid():
        parts.append("\n## Rounds that do not count\n")
        parts += [f"- {work}, {way}, round {at}: {error}" for work, way, at, error in invalid]
    return "\n".join(parts) + "\n"


def figures(results: Results, measured: list[Work]) -> str:
    rows = ["| work | way | figure | unit | spread |", "|---|---|---:|---|---:|"]
    for work in measured:
        for way in results.rounds[work.name]:
            middle = results.middle(work.name, way)
            said = "no valid round" if middle is None else f"{middle:,.{work.digits}f}"
            spread = f"{results.spread(work.name, way):.0f} %"
            rows.append(f"| {work.title} | {way} | {said} | {work.unit} | {spread} |")
    return "\n".join(rows)


def verdicts(results: Results) -> str:
    rows = ["| work | ours | against | ratio | range | bar | |", "|---|---|---|---:|---|---:|---|"]
    for bar in BARS:
        if bar.work not in results.rounds:
            continue
        work = works()[bar.work]
        ratio = results.ratio(bar)
        said = f"{ratio:.2f}" if ratio else ""
        bound = f"{'≥' if work.more_is_better else '≤'} {bar.bound:.2f}"
        cells = [work.title, bar.ours, bar.other, said, results.range(bar), bound]
        rows.append("| " + " | ".join([*cells, results.verdict(bar)]) + " |")
    return "\n".join(rows)


def extras(results: Results) -> str:
    rows = ["| what | figure | bar | |", "|---|---|---|---|"]
    rows += [f"| {e.title} | {e.figure} | {e.bar} | {e.verdict} |" for e in results.extras]
    return "\n".join(rows)
