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
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.syntax import Syntax

from fourseven.demo.compare import compare
from fourseven.demo.network import PROGRAM, place
from fourseven.demo.processes import Child, free_port
from fourseven.demo.scene import LISTENERS, SETS, TOUR, Visit, curl, demo_file
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
    signal.signal(signal.SIGTERM, end_orderly)
    with (
        tempfile.TemporaryDirectory(prefix="fourseven-demo-") as scratch,
        contextlib.ExitStack() as stack,
    ):
        stage = stack.enter_context(running(Path(scratch)))
        console.print(Syntax(stage.file.read_text(), "yaml", background_color="default"))
        reason = reasons_of(stage.file)
        seen = [send(visit, stage.ports) for visit in TOUR]
        console.print(tour_table([(one, reason(one.visit)) for one in seen]))
        right = report_wrong(console, seen, stage)
        with console.status("measuring") as status, place() as there:
            seconds = QUICK_SECONDS if quick else SECONDS
            found = compare(there, stage.folder, run_fourseven, seconds, status.update)
        console.print(comparison_table(found))
        console.print(conclusion(found))
        if keep:
            wait_for_the_user(console, stage)
    return right


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Stage]:
    """The sets of servers and the balancer in front of them."""
    with contextlib.ExitStack() as stack:
        children = {}
        for one in SETS:
            command = [sys.executable, "-m", "fourseven.demo.servers"]
            command += [one.kind, one.name, str(one.count)]
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
        for name in ("web", "echo"):  # the listener of datagrams is open when these are
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


def wait_for_the_user(console: Console, stage: Stage) -> None:
    console.print(f"\nIt still runs, from {stage.file}. Some lines to try:\n")
    for visit in TOUR:
        console.print(f"  {curl(visit, stage.ports)}", soft_wrap=True, highlight=False)
    console.print(f"\n  fourseven explain {stage.file}", soft_wrap=True, highlight=False)
    console.print("\nCtrl-C ends it and everything it started.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)


def end_orderly(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM unwinds like Ctrl-C, so that every child is stopped."""
    raise KeyboardInterrupt
