"""`fourseven probe`: what this host permits, each in one line with the reason."""

from __future__ import annotations

import json

import click

from fourseven.l4 import host


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def probe(form: str) -> None:
    """Says what the kernel planes find on this host."""
    answers = host.probe()
    if form == "json":
        print(json.dumps([answer._asdict() for answer in answers], indent=2))
        return
    for answer in answers:
        print(f"{'yes' if answer.permitted else 'no':<4} {answer.name:<16} {answer.reason}")
