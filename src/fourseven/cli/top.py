"""`fourseven top`: the same tables, live. Keys: q ends it, space stops the picture.

Without a terminal (a pipe, a file) it prints once and ends. What cannot be asked just now, because
an engine restarts, leaves the last picture with a line that says so.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from fourseven.cli.rates import Window
from fourseven.cli.run import RUNTIME_DIR
from fourseven.cli.tables import page
from fourseven.control import runtime
from fourseven.control.admin.client import Client
from fourseven.errors import FoursevenError

FRAME_ROWS = 8  # of a screen: headings, the process, a line to spare
INTERVAL_MIN_S = 0.25  # the API's state is no fresher


@click.command()
@RUNTIME_DIR
@click.option(
    "--interval", "interval_s", type=click.FloatRange(INTERVAL_MIN_S, 60), default=1.0,
    show_default=True, help="Seconds between two looks.",
)  # fmt: skip
def top(runtime_dir: str | None, interval_s: float) -> None:
    """Listeners and servers, live: rates, latencies, what is in flight. q ends it."""
    client = Client(runtime.find(runtime_dir).admin)
    console = Console(highlight=False, markup=False)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        before = client.get("/v1/state")
        time.sleep(interval_s)
        Console(highlight=False, markup=False, width=200).print(
            page(Window(client.get("/v1/state"), before))
        )
        return
    with keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        _show(client, console, live, pressed, interval_s)


def _show(client: Client, console: Console, live: Live, pressed: Any, interval_s: float) -> None:
    before: dict[str, Any] | None = None
    picture: RenderableType = Text("…")
    frozen = False
    while True:
        if not frozen:
            note = Text("q quit  space stop", "dim")
            try:
                after = client.get("/v1/state")
                rows = max(console.size.height - FRAME_ROWS - len(after["listeners"]), 3)
                picture, before = page(Window(after, before), rows), after
            except FoursevenError as error:
                note = Text(str(error), "red")
            live.update(Group(picture, note), refresh=True)
        key = pressed(interval_s)
        if key in ("q", "Q", "\x03"):
            return
        frozen = frozen is not (key == " ")


@contextlib.contextmanager
def keys() -> Iterator[Any]:
    """A function that waits for a key, at most so many seconds; "" is none."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)

    def pressed(within_s: float) -> str:
        ready, _, _ = select.select([descriptor], [], [], within_s)
        return os.read(descriptor, 1).decode("latin-1") if ready else ""

    try:
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
