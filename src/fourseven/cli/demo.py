"""`fourseven demo`: servers and a balancer on loopback, what goes where, and why."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from fourseven.cli.why import Reasons
from fourseven.demo.demo import demo as play


@click.command()
@click.option("--keep", is_flag=True, help="Leaves all running until Ctrl-C, to play with.")
@click.option("--quick", is_flag=True, help="Measures for half a second instead of two.")
def demo(keep: bool, quick: bool) -> None:
    """Shows Layer 7 and Layer 4 from one file, with real servers, and what each costs here."""
    try:
        right = play(Console(), lambda file: Reasons(file).of, quick=quick, keep=keep)
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell says it: ended by SIGINT
    sys.exit(0 if right else 1)
