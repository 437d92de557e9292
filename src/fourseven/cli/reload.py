"""`fourseven reload` and `upgrade`: a word to the fourseven that runs."""

from __future__ import annotations

import sys

import click

from fourseven.cli.run import RUNTIME_DIR
from fourseven.control import remote, runtime


def _ask(command: str, runtime_dir: str | None) -> remote.Answer:
    answer = remote.ask(runtime.find(runtime_dir).control, {"command": command})
    for line in answer["lines"]:
        print(line, file=sys.stderr)
    return answer


@click.command()
@RUNTIME_DIR
def reload(runtime_dir: str | None) -> None:
    """Puts the file as it is now in force, without refusing or cutting a connection.

    A file with errors changes nothing: they are printed, and the exit code is 78.
    """
    sys.exit(_ask("reload", runtime_dir)["code"])


@click.command()
@RUNTIME_DIR
def upgrade(runtime_dir: str | None) -> None:
    """Starts the installed version on the same sockets; the old one finishes what it has."""
    sys.exit(_ask("upgrade", runtime_dir)["code"])
