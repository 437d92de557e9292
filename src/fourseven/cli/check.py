"""`fourseven check FILE`: every error and warning at once, and an exit code for scripts.

0: fine. 1: usable, with warnings. 2: wrong usage. 78: errors. With --strict a warning counts as
an error. Problems go to standard output, since they are what was asked for.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict

import click

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import load
from fourseven.config.warnings import warnings_of
from fourseven.errors import ConfigErrors, Problem, Severity

FINE, WARNED, BAD_CONFIG = 0, 1, 78


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How it is printed.",
)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
def check(file: str, form: str, strict: bool) -> None:
    """Says what is wrong with FILE, all at once.

    Exits with 0 when it is fine, 1 when there are warnings, 78 when there are errors.
    """
    problems = examine(file)
    kinds = Counter(problem.severity for problem in problems)
    if form == "json":
        print(json.dumps([asdict(problem) for problem in problems], indent=2, ensure_ascii=False))
    else:
        for problem in problems:
            print(problem)
        print(f"{file}: {_summary(kinds)}")
    if kinds["error"] or (strict and kinds["warning"]):
        sys.exit(BAD_CONFIG)
    sys.exit(WARNED if kinds["warning"] else FINE)


def examine(file: str) -> list[Problem]:
    """Errors, or warnings where there is no error, in the order of the file."""
    try:
        config = load(file)
        plan = compile_plan(config)
    except ConfigErrors as errors:
        return list(errors.problems)
    return warnings_of(config, plan)


def _summary(kinds: Counter[Severity]) -> str:
    found = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items())]
    return " and ".join(found) if found else "fine"
