"""`fourseven config schema`: the JSON Schema of a file, on standard output."""

from __future__ import annotations

import json

import click

from fourseven.config.schema import schema as make


@click.group()
def config() -> None:
    """What a file may say."""


@config.command()
def schema() -> None:
    """Prints the JSON Schema, for editors that complete and check as you write."""
    print(json.dumps(make(), indent=2, ensure_ascii=False))
