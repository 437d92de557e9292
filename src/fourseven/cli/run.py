"""`fourseven run FILE`: serves until it is told to stop, in the foreground."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from fourseven.control import logs, runtime
from fourseven.control.notify import Notifier, activated
from fourseven.control.sockets import Sockets
from fourseven.control.supervisor import Supervisor

RUNTIME_DIR = click.option(
    "--runtime-dir",
    metavar="DIR",
    help="Where a running fourseven is found; $XDG_RUNTIME_DIR/fourseven, /run/fourseven or"
    " /tmp/fourseven-UID if left out.",
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@RUNTIME_DIR
def run(file: Path, runtime_dir: str | None) -> None:
    """Serves FILE in the foreground; logs go to stderr.

    SIGHUP reloads the file, SIGUSR2 starts a new engine on the same sockets, SIGTERM and SIGINT
    drain; a second one cuts. Under systemd it speaks sd_notify and takes activated sockets.
    """
    logs.set_up()

    async def serve() -> int:
        notifier = Notifier(os.environ)
        sockets = Sockets(activated(os.environ))
        return await Supervisor(file, runtime.make(runtime_dir), notifier, sockets).run()

    sys.exit(asyncio.run(serve()))
