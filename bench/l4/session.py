"""One run of the Layer 4 benchmark: every way at the same works, taking turns.

All ways are set up once, side by side, each in namespaces of its own, and then every round of every
work measures each of them for a moment, one right after the other, in an order that rotates and
turns round: so a slow minute of the machine falls on all, and who is compared in a round was
measured within a few seconds. Ways that answer no bar in a work take part in its first rounds
alone. The time of a change, the control plane at rest and the flood are measured afterwards, by
themselves (extras.py).

What was found is written after each work: a run that is stopped leaves what it has, and says so.

Laws: as in bench/session.py. Root is needed; nothing outside our own namespaces is touched.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from pathlib import Path

from bench import loads, machine
from bench.figures import rotated
from bench.l4 import report
from bench.l4.extras import EXTRA
from bench.l4.results import Results, Round
from bench.l4.stage import Stage
from bench.l4.ways import WAYS, Way
from bench.l4.works import EXTRAS, WORKS, Work, judged_in
from bench.peers.peer import install
from fourseven.demo.processes import Failed, open_files
from fourseven.errors import FoursevenError
from support.network import why_no_lab

WARM_SECONDS = 0.2  # flows are made, neighbours known, caches as they will be
SHOWN_ROUNDS = 3  # of a way that answers no bar


def main() -> int:
    options = arguments()
    if reason := why_no_lab():
        raise SystemExit(f"bench-l4: {reason}")
    if loads.missing():
        install(("wrk",))
    open_files()
    os.environ.setdefault("PYTHONHASHSEED", "0")
    works = [work for work in WORKS if not options.only or work.name in options.only]
    begun = time.monotonic()
    results = Results(described(options) | {"duration": "not finished"})
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        stages = started(present(options.ways), options.congestion, stack, results)
        for work in works:
            measure(work, stages, options, results)
            report.write(results, options.output)
        for name, title in EXTRAS.items():
            if not options.only or name in options.only:
                measure_extra(name, title, stages, results, options.quick)
                report.write(results, options.output)
        results.machine["duration"] = f"{(time.monotonic() - begun) / 60:.1f} minutes"
    file = report.write(results, options.output)
    print(f"written: {file}")
    return 1 if results.absent or results.invalid() else 0


def present(names: list[str]) -> list[Way]:
    found = []
    for name in names:
        if reason := WAYS[name].missing():
            print(f"{name} is left out: {reason}", flush=True)
        else:
            found.append(WAYS[name])
    return found


def started(
    ways: list[Way], congestion: str, stack: contextlib.ExitStack, results: Results
) -> dict[str, Stage]:
    """Each way, set up; one that cannot be is reported and left out."""
    stages = {}
    for way in ways:
        try:
            stages[way.name] = stack.enter_context(Stage(way, congestion))
        except (FoursevenError, OSError, AssertionError) as error:
            print(f"{way.name} is left out: {error}", flush=True)
            results.absent[way.name] = str(error).strip().splitlines()[-1]
    return stages


def measure(
    work: Work, stages: dict[str, Stage], options: argparse.Namespace, results: Results
) -> None:
    print(f"{work.name}: {work.title}", flush=True)
    for turn in range(-1, options.rounds * work.times):  # round -1 warms up and is thrown away
        for name in order(work, list(stages), turn):
            seconds = options.seconds if turn >= 0 else min(WARM_SECONDS, options.seconds)
            try:
                value, error = stages[name].measure(work.name, seconds)
            except (Failed, OSError) as failed:
                value, error = 0.0, str(failed).strip().splitlines()[-1]
            if turn >= 0:
                results.add(work.name, name, Round(turn, value, error))
    for name in results.rounds.get(work.name, ()):
        print(f"  {name:18} {results.said(work, name)}", flush=True)


def order(work: Work, names: list[str], turn: int) -> list[str]:
    """Who is measured in this round, one after the other."""
    judged = judged_in(work.name)
    here = [name for name in names if name in work.ways or not work.ways]
    here = [name for name in here if name in judged or turn < SHOWN_ROUNDS]
    turned = rotated(here, max(turn, 0)) if here else []
    return turned[::-1] if turn % 2 else turned


def measure_extra(
    name: str, title: str, stages: dict[str, Stage], results: Results, quick: bool
) -> None:
    print(f"{name}: {title}", flush=True)
    before = len(results.extras)
    try:
        EXTRA[name](stages, results, quick)
    except (FoursevenError, OSError, AssertionError) as error:
        results.absent[name] = str(error).strip().splitlines()[-1]
        print(f"  left out: {results.absent[name]}", flush=True)
    for extra in results.extras[before:]:
        print(f"  {extra.title}: {extra.figure} {extra.bar} {extra.verdict}", flush=True)


def described(options: argparse.Namespace) -> dict[str, str]:
    cores, _ = machine.cores()
    about = machine.describe()
    return {key: about[key] for key in ("date", "cpu", "kernel", "system", "python")} | {
        "cores": f"{os.cpu_count()}; client, balancer and servers on core {min(cores)}",
        "congestion control": options.congestion,
        "load average at the start": about["load average at the start"],
        "ways": ", ".join(filter(None, (WAYS[name].version() for name in unversioned(options)))),
        "rounds": f"{options.rounds} of {options.seconds} s; bulk twice as many; wrk's of 1 s",
    }


def unversioned(options: argparse.Namespace) -> list[str]:
    """One of ours is enough."""
    seen: dict[str, str] = {}
    for name in options.ways:
        seen.setdefault(type(WAYS[name]).__name__, name)
    return list(seen.values())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*(work.name for work in WORKS), *EXTRAS]
    split = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--only", type=split, default=[], help=f"some of {','.join(names)}")
    parser.add_argument("--ways", type=split, default=list(WAYS), help="who is measured")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one measurement")
    parser.add_argument("--quick", action="store_true", help="2 rounds of a fifth of a second")
    parser.add_argument("--congestion", default="cubic", help="for all alike; 'system' leaves it")
    parser.add_argument("--output", type=Path, default=report.HERE, help="folder of the results")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 0.2
    if unknown := set(options.only) - set(names) | (set(options.ways) - set(WAYS)):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options
