"""`fourseven init [FILE]`: a commented file to start from, which passes `check` as it is.

Law: it never overwrites.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from fourseven.errors import FoursevenError

START = "start.yaml"


@click.command()
@click.argument("file", default="fourseven.yaml")
def init(file: str) -> None:
    """Writes a commented starting file to FILE (fourseven.yaml); - is standard output."""
    text = files("fourseven.cli").joinpath(START).read_text(encoding="utf-8")
    if file == "-":
        print(text, end="")
        return
    try:
        with Path(file).open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise FoursevenError(f"{file} is there already; name another file") from None
    except OSError as error:
        raise FoursevenError(f"{file} cannot be written: {error.strerror}") from None
    print(f"{file} is written. Next: fourseven check {file}, then fourseven run {file}")
