"""`fourseven demo`: one file, real servers, real requests, and what each layer costs.

It plays the part of a user with two hands: starts the servers, writes a file, runs `fourseven run`
on it as a child process, and talks to it from outside. The reason for each decision comes from the
compiler's `explain`, the place from the server that answered; the two must agree.

Laws: free ports of loopback, and no privileges; where there are some, the comparison has a network
of its own (`network`). One temporary folder. Everything started is stopped by its process id when
the demo ends, however it ends.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax

from fourseven.demo.authority import issue
from fourseven.demo.compare import compare
from fourseven.demo.ending import Ending, folder
from fourseven.demo.network import PROGRAM, place
from fourseven.demo.processes import Child, free_port
from fourseven.demo.scene import LISTENERS, NAMES, SETS, TOUR, Visit, curl, demo_file
from fourseven.demo.show import Reason, comparison_table, conclusion, tour_table
from fourseven.demo.tour import Seen, send

SECONDS, QUICK_SECONDS = 2.0, 0.5  # of each measurement; there are two of each way


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs while the demo does."""

    folder: Path
    file: Path
    ports: dict[str, int]


def demo(
    console: Console,
    reasons_of: Callable[[Path], Callable[[Visit], Reason]],
    quick: bool,
    keep: bool,
) -> bool:
    """Runs the demo; True when every request went where it had to."""
    with Ending() as ending, folder() as scratch, contextlib.ExitStack() as stack:
        stage = stack.enter_context(running(scratch))
        console.print(Syntax(stage.file.read_text(), "yaml", background_color="default"))
        reason = reasons_of(stage.file)
        seen = [send(visit, stage.ports, stage.folder) for visit in TOUR]
        ending.check()
        console.print(tour_table([(one, reason(one.visit)) for one in seen]))
        right = report_wrong(console, seen, stage)
        with console.status("measuring") as status, place() as there:
            seconds = QUICK_SECONDS if quick else SECONDS

            def step(words: str) -> None:
                ending.check()
                status.update(words)

            found = compare(there, stage.folder, run_fourseven, seconds, step)
        console.print(comparison_table(found))
        console.print(conclusion(found))
        if keep:
            ending.wait(lambda: say_what_runs(console, stage))
    return right


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Stage]:
    """The sets of servers and the balancer in front of them."""
    with contextlib.ExitStack() as stack:
        issue(folder, NAMES)
        children = {}
        for one in SETS:
            command = [sys.executable, "-m", "fourseven.demo.servers"]
            command += [one.kind, one.name, str(one.count)]
            command += [str(folder / f"{one.shows}.pem")] if one.shows else []
            children[one.name] = Child(command, folder / f"{one.name}.log", speaks=True)
            stack.callback(children[one.name].stop)
        servers = {
            name: [int(port) for port in child.read_line().split()]
            for name, child in children.items()
        }
        ports = {name: free_port() for name in LISTENERS}
        file = folder / "fourseven.yaml"
        file.write_text(demo_file(ports, servers))
        balancer = run_fourseven(file, folder / "fourseven.log", set())
        stack.callback(balancer.stop)
        for name in (
            "web",
            "secure",
            "plain",
            "echo",
        ):  # the listener of datagrams is open when these are
            balancer.wait_for_port(ports[name])
        yield Stage(folder, file, ports)


def run_fourseven(
    file: Path, log: Path, cores: set[int], program: Sequence[str] = PROGRAM
) -> Child:
    """`fourseven run` as a user starts it, apart from any other that runs on this machine."""
    command = [sys.executable, *program, "run", str(file)]
    return Child([*command, "--runtime-dir", str(log) + ".run"], log, cores=cores)


def report_wrong(console: Console, seen: list[Seen], stage: Stage) -> bool:
    """Says which rows are not as they must be; the balancer's log may say why."""
    wrong = [one for one in seen if not one.right]
    for one in wrong:
        found = f"{one.server} {one.status}"
        console.print(f"[red]{one.visit.title} had to reach {one.visit.expected}: {found}[/]")
    if wrong:
        console.print((stage.folder / "fourseven.log").read_text(errors="replace")[-2000:])
    return not wrong


def say_what_runs(console: Console, stage: Stage) -> None:
    console.print(f"\nIt still runs, from {stage.file}. Some lines to try:\n")
    for visit in TOUR:
        console.print(
            f"  {curl(visit, stage.ports, stage.folder)}", soft_wrap=True, highlight=False
        )
    console.print(f"\n  fourseven explain {stage.file}", soft_wrap=True, highlight=False)
    console.print("\nCtrl-C ends it and everything it started.")
