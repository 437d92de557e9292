"""`fourseven status`: what runs, how it is served, how it goes. One look.

    fourseven status                 rates over one second
    fourseven status --window 0      since the engine started, at once
    fourseven status --json          the API's whole state

It works while the engine is away, too: then it says what the supervisor knows.
"""

from __future__ import annotations

import json
import time
from typing import Any

import click
from rich.console import Console

from fourseven.cli.rates import Window
from fourseven.cli.run import RUNTIME_DIR
from fourseven.cli.tables import page
from fourseven.control import remote, runtime
from fourseven.control.admin.client import Client


@click.command()
@RUNTIME_DIR
@click.option(
    "--window", "window_s", type=click.FloatRange(0, 60), default=1.0, show_default=True,
    help="Seconds over which rates are taken; 0: since the start.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The whole state.")
def status(runtime_dir: str | None, window_s: float, as_json: bool) -> None:
    """Listeners, backends and servers: where, in which state, how much, how fast."""
    found = runtime.find(runtime_dir)
    supervisor = remote.ask(found.control, {"command": "status"})["status"]
    if not supervisor["engine"]:
        _without_engine(supervisor, as_json)
        return
    client = Client(found.admin)
    before = client.get("/v1/state") if window_s and not as_json else None
    if before is not None:
        time.sleep(window_s)
    after = client.get("/v1/state")
    if as_json:
        print(json.dumps({**after, "supervisor": supervisor}, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=WIDE)
    console.print(page(Window(after, before)))
    for pid in supervisor["draining"]:
        console.print(f"engine {pid} finishes what it has")
    if supervisor["restarts"]:
        console.print(f"engines were started anew {supervisor['restarts']} times (see the log)")


WIDE = 200  # a pipe has no width; nothing is cut there


def _without_engine(supervisor: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"supervisor": supervisor}, indent=2))
        return
    print(f"file      {supervisor['file']}")
    print(f"engine    restarting  restarts {supervisor['restarts']}")
