"""Every static check, one after the other: check.py [--fix]

ruff (lint and format), mypy --strict, cython-lint, and the check that no function which runs
without the GIL calls Python. A native module (a `.py` with a `.pxd` beside it) gets its types from
the `.pxd`, so some rules do not apply to it; which modules are native is found, never listed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path("src")
# The .pxd has the types and the arity, C has its numbers and its goto-like loops, and an annotation
# of a C type is a declaration, not a hint.
NATIVE_IGNORES = ["ANN", "ARG", "B018", "F821", "F842", "PLR", "PLW", "SIM", "TC", "UP"]


def native() -> list[Path]:
    twins = (path.with_suffix(".py") for path in SOURCE.rglob("*.pxd"))
    return sorted(path for path in twins if path.exists())


def commands(fix: bool) -> Iterator[tuple[str, list[str]]]:
    python = sys.executable
    ruff = [python, "-m", "ruff"]
    ignores = ",".join(f"{path}:{rule}" for path in native() for rule in NATIVE_IGNORES)
    lint = [*ruff, "check", "--quiet", "--extend-per-file-ignores", ignores]
    yield "ruff check", [*lint, *(["--fix"] if fix else []), "."]
    yield "ruff format", [*ruff, "format", "--quiet", *([] if fix else ["--check"]), "."]
    # mypy reads a native module by its .pyi; one without has nothing for Python to see.
    silent = [path for path in native() if not path.with_suffix(".pyi").exists()]
    exclude = "|".join(f"^{re.escape(str(path))}$" for path in silent)
    yield "mypy", [python, "-m", "mypy", "--no-error-summary", "--exclude", exclude or "^$"]
    pxds = [str(path) for path in sorted(SOURCE.rglob("*.pxd"))]
    yield "cython-lint", ["cython-lint", *pxds]
    yield "check_nogil", [python, "tools/check_nogil.py", "build/c-release/src", str(SOURCE)]


def main(fix: bool) -> int:
    failed = []
    tools = Path(sys.executable).parent  # cython-lint starts pycodestyle by its bare name
    env = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
    for name, command in commands(fix):
        start = time.monotonic()
        code = subprocess.run(command, env=env).returncode
        took = f"({time.monotonic() - start:.1f} s)"
        print("FAILED" if code else "ok    ", name, took, flush=True)
        if code:
            failed.append(name)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main("--fix" in sys.argv[1:]))
