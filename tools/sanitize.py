"""Runs tests under the sanitizers: sanitize.py [asan] [tsan] [-- pytest ...]

Those that are marked `sanitize`, or the files that are named.

asan is AddressSanitizer with UndefinedBehaviorSanitizer, tsan is ThreadSanitizer. Each has a tree
of its own (build/tree-asan, build/tree-tsan), complete with the Python files, so that a sanitized
build never lands beside the sources. CPython itself is not sanitized: the runtime is preloaded.

Laws: a run that selects no test fails; a report fails the run even if the tests pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SUPPRESSIONS = Path(__file__).resolve().with_name("tsan.supp")
MODES = {
    "asan": {
        # libcrypt too: crypt_r is wrapped, and looked up when the sanitizer starts.
        "preload": ("libasan.so", "libubsan.so", "libcrypt.so.1"),
        # CPython keeps memory until exit on purpose, so leaks are counted by tests instead.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
    },
    "tsan": {
        "preload": ("libtsan.so", "libcrypt.so.1"),
        "TSAN_OPTIONS": f"halt_on_error=1:exitcode=66:history_size=4:suppressions={SUPPRESSIONS}",
    },
}
SLOWER = "600"  # seconds for one test: sanitized code takes 5 to 15 times as long


def runtime(name: str) -> str:
    path = subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()
    if not os.path.isabs(path):
        raise SystemExit(f"{name} is missing: sudo apt install gcc")
    return path


def build(mode: str, tree: Path) -> None:
    log = Path(f"build/{mode}.log")
    with log.open("w") as out:
        command = [sys.executable, "setup.py", "build", "--build-lib", str(tree)]
        env = dict(os.environ, FOURSEVEN_BUILD=mode)
        code = subprocess.run(command, env=env, stdout=out, stderr=out).returncode
    if code:
        raise SystemExit("\n".join(log.read_text().splitlines()[-40:]))


def run(mode: str, arguments: list[str]) -> int:
    tree = Path(f"build/tree-{mode}")
    print(f"{mode}: building", flush=True)
    build(mode, tree)
    settings = dict(MODES[mode])
    env = os.environ | {"PYTHONPATH": str(tree.resolve()), "PYTHONMALLOC": "malloc"}
    env["LD_PRELOAD"] = " ".join(runtime(name) for name in settings.pop("preload"))
    env["FOURSEVEN_PRELOAD"] = env["LD_PRELOAD"]  # for our own processes alone (tests/conftest.py)
    env |= {name: str(value) for name, value in settings.items()}
    env["FOURSEVEN_SANITIZER"] = mode
    # -s: under ThreadSanitizer, pytest's capturing loses the report when the process is ended.
    pytest = [sys.executable, "-m", "pytest", "-s", "--timeout", SLOWER]
    named = any(a.startswith("tests/") for a in arguments)
    return subprocess.run(
        [*pytest, *([] if named else ["-m", "sanitize"]), *arguments], env=env
    ).returncode


def main(arguments: list[str]) -> int:
    chosen = [a for a in arguments if a in MODES] or list(MODES)
    rest = [a for a in arguments if a not in MODES and a != "--"]
    failed = [mode for mode in chosen if run(mode, rest)]
    print(f"sanitizers: {', '.join(chosen)}; failed: {', '.join(failed) or 'none'}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
