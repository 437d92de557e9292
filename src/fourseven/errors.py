"""What is told to a person: where, what is wrong, what would be right.

A Problem is one such line. Everything that reads a file collects Problems and raises them all at
once, since a person who mends one mistake at a time loses patience at the third.

Law: the text has two halves, `wrong` and `right`, joined by "; ". A ValueError that is raised
below the loader (in a unit, a feature) carries both halves already joined; the loader adds where.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


class FoursevenError(Exception):
    """Any failure that is told to the user in plain words, without a traceback."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a file. Line and column count from 1; 0 is the whole file."""

    file: str
    line: int
    column: int
    path: str  # listeners.web.routes[2].match.path, or "" for the file
    text: str  # what is wrong; what would be right
    severity: Severity = "error"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        label = "warning: " if self.severity == "warning" else ""
        return (
            f"{where}: {label}{self.path}: {self.text}"
            if self.path
            else f"{where}: {label}{self.text}"
        )


class ConfigErrors(FoursevenError):
    """A file that cannot be used, with every error in it, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The mend for a name that is not known: the closest one, or the whole list."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return "there is none"
    shown = ", ".join(names[:NAMES_SHOWN])
    return (
        f"known: {shown}, and {len(names) - NAMES_SHOWN} more"
        if len(names) > NAMES_SHOWN
        else f"known: {shown}"
    )


NAMES_SHOWN = 30  # the longest list of keys fits; a list of 10,000 backends helps nobody
