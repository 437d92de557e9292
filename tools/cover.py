"""Which lines the tests reach, in Python and in native code: cover.py [pytest arguments]

Plain modules and the interpreted half of twins are measured by coverage.py. Native modules are
built with gcov in a tree of their own (build/tree-gcov); Cython's `#line` marks lead gcov back to
the `.py` that was written. Only lines in the bodies of functions count there, for Cython's own code
that sets up a module would flatter the figure.

Laws: a run that measured no native line fails.
"""

from __future__ import annotations

import ast
import collections
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sanitize

TREE = Path("build/tree-gcov")
OBJECTS = Path("build/gcov")


def measure(arguments: list[str]) -> int:
    for old in OBJECTS.rglob("*.gcda"):
        old.unlink()
    env = os.environ | {"PYTHONPATH": str(TREE.resolve()), "FOURSEVEN_SANITIZER": "gcov"}
    # The tree is what is under test, so coverage must look there and not beside the sources.
    run = [sys.executable, "-m", "coverage", "run", f"--source={TREE}", f"--omit={native()}"]
    return subprocess.run([*run, "-m", "pytest", *arguments], env=env).returncode


def native() -> str:
    """The modules that are only ever compiled: gcov's business."""
    return ",".join(str(pxd.with_suffix(".py")) for pxd in sorted(TREE.rglob("*.pxd")))


def native_lines() -> Iterator[tuple[str, int, int]]:
    """(file, line, how often it ran) of every line that stands in a Python file or a .pxd."""
    for file in native_files():
        name = file["file"].removeprefix(f"{Path.cwd()}/").removeprefix("src/")
        if name.startswith("fourseven/") and name.endswith((".py", ".pxd")):
            yield from ((name, line["line_number"], line["count"]) for line in file["lines"])


def native_files() -> Iterator[dict[str, Any]]:
    """What gcov says of each file that went into a module. Modules may share a name, so: stdout."""
    for notes in sorted(OBJECTS.rglob("*.gcda")):
        told = subprocess.check_output(["gcov", "--json-format", "--stdout", str(notes)], text=True)
        for line in told.splitlines():
            yield from json.loads(line)["files"]


def body_lines(path: Path) -> set[int]:
    """The lines of a file that stand in a function's body: what setting up a module never runs."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            lines.update(range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def native_report() -> int:
    reached: dict[str, dict[int, int]] = collections.defaultdict(dict)
    bodies = functools.cache(body_lines)
    for name, line, count in native_lines():
        if name.endswith(".pxd") or line in bodies(Path("src") / name):
            reached[name][line] = reached[name].get(line, 0) + count
    total = hit = 0
    for name, lines in sorted(reached.items()):
        here = sum(1 for count in lines.values() if count)
        total, hit = total + len(lines), hit + here
        print(f"{name:52} {len(lines):5} lines {100 * here / len(lines):6.1f} %")
    if not total:
        raise SystemExit("gcov measured no native line: was anything run?")
    print(f"native: {hit} of {total} lines, {100 * hit / total:.1f} %")
    return total


def main(arguments: list[str]) -> int:
    sanitize.build("gcov", TREE)
    code = measure(arguments)
    subprocess.run([sys.executable, "-m", "coverage", "report", "--skip-covered"], check=False)
    native_report()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
