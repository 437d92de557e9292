"""Fuzzes the readers under address and undefined-behaviour sanitizers: `run.py [target…]`.

Builds the readers and `targets` anew with clang and coverage feedback into build/fuzz, takes the
rows of the unit tests as seeds, and runs each target for a number of executions. What a run finds
interesting stays in build/fuzz/corpus and is the seed of the next one; an input that breaks a law
is kept in build/fuzz/found, and `run.py TARGET --replay FILE` runs it alone.

It proves no absence of faults; it says how many executions found none.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "fuzz"
LIBRARY = BUILD / "lib"
CORPUS = BUILD / "corpus"
FOUND = BUILD / "found"
HARNESS = BUILD / "harness"
RUNS = 1_000_000  # of each target: what the project promises for a release
SIZE_MAX = {"client_hello": 2048, "chunked": 1024, "path": 256}  # bytes; heads 1024

MODULES = [
    "fourseven.snapshot.layout",
    "fourseven.protocols.message",
    "fourseven.protocols.canonical",
    "fourseven.protocols.fields",
    "fourseven.protocols.http1",
    "fourseven.protocols.chunked",
    "fourseven.protocols.clienthello",
    "fourseven.protocols.proxyproto",
]
TARGETS = ["request", "response", "chunked", "client_hello", "proxy", "path"]
SANITIZE = "-fsanitize=address,undefined"
FLAGS = ["-g", "-O1", "-std=gnu11", "-UNDEBUG", "-fno-sanitize-recover=undefined", "-w"]


def source(module: str) -> Path:
    if module == "targets":
        return HERE / "targets.py"
    return ROOT / "src" / Path(*module.split(".")).with_suffix(".py")


def to_c(modules: list[str]) -> None:
    """Python to C, beside the product's own C, with the checks of a debug build."""
    from Cython.Build import cythonize
    from setuptools import Extension

    cythonize(
        [Extension(module, [str(source(module))]) for module in modules],
        build_dir=str(BUILD / "c"),
        emit_linenums=True,
        include_path=[str(ROOT / "src"), str(HERE)],
        quiet=True,
        compiler_directives={
            "language_level": 3,
            "cdivision": True,
            "boundscheck": True,
            "wraparound": False,
        },
    )


def compile_all(modules: list[str]) -> None:
    include = [f"-I{sysconfig.get_path('include')}", f"-I{ROOT / 'src'}"]
    for module in modules:
        relative = source(module).relative_to(ROOT).with_suffix(".c")
        found = [*(BUILD / "c").rglob(relative.name)]
        c_file = next(path for path in found if str(path).endswith(str(relative)))
        library = LIBRARY / Path(*module.split(".")).with_suffix(".so")
        if library.exists() and library.stat().st_mtime > newest(c_file):
            continue
        library.parent.mkdir(parents=True, exist_ok=True)
        shared = ["-fPIC", "-shared", SANITIZE + ",fuzzer-no-link"]
        subprocess.run(
            ["clang", *FLAGS, *shared, *include, str(c_file), "-o", str(library)], check=True
        )
    for package in ("fourseven", "fourseven/native", "fourseven/protocols", "fourseven/snapshot"):
        shutil.copy(ROOT / "src" / package / "__init__.py", LIBRARY / package)
    library = sysconfig.get_config_var("LIBDIR")
    link = [
        f"-L{library}",
        f"-Wl,-rpath,{library}",
        f"-lpython{sysconfig.get_config_var('LDVERSION')}",
    ]
    harness = [str(HERE / "harness.c"), *include, *link]
    subprocess.run(
        ["clang", *FLAGS, SANITIZE + ",fuzzer", *harness, "-o", str(HARNESS)], check=True
    )


def newest(c_file: Path) -> float:
    headers = (ROOT / "src").rglob("*.h")
    return max([c_file.stat().st_mtime, *[header.stat().st_mtime for header in headers]])


def seeds(target: str) -> list[bytes]:
    """The rows of the unit tests; before them the byte that chooses no option."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    from protocols import (
        test_canonical,
        test_chunked,
        test_clienthello,
        test_http1_accepted,
        test_http1_answers,
        test_http1_refused,
        test_proxyproto,
    )

    if target == "request":
        rows = [*test_http1_accepted.ACCEPTED, *test_http1_refused.REFUSED]
        return [b"\x00" + row[1] for row in rows]
    if target == "response":
        answers = [row[2] for row in test_http1_answers.ACCEPTED]
        return [b"\x00" + data for data in (*answers, *[r[1] for r in test_http1_answers.REFUSED])]
    if target == "chunked":
        return [b"\x00" + row[1] for row in (*test_chunked.ACCEPTED, *test_chunked.REFUSED)]
    if target == "proxy":
        return [row[1] for row in (*test_proxyproto.ACCEPTED, *test_proxyproto.REFUSED)]
    if target == "path":
        return [b"\x10" + path for path in test_canonical.PATHS]
    return [test_clienthello.WHOLE, *[row[1] for row in test_clienthello.REFUSED]]


def plant(target: str) -> Path:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for data in seeds(target):
        if len(data) <= SIZE_MAX.get(target, 1024):
            (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
    return folder


def environment(target: str) -> dict[str, str]:
    return os.environ | {
        "FOURSEVEN_FUZZ": target,
        "PYTHONPATH": str(LIBRARY),
        "PYTHONNOUSERSITE": "1",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",  # the interpreter never frees all
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def fuzz(target: str, limit: str) -> bool:
    """Runs one target, says in a line what came of it; whether it found nothing."""
    FOUND.mkdir(parents=True, exist_ok=True)
    log = BUILD / f"{target}.log"
    started = time.monotonic()
    with log.open("w") as out:
        code = subprocess.run(
            [
                str(HARNESS),
                str(plant(target)),
                limit,
                f"-max_len={SIZE_MAX.get(target, 1024)}",
                f"-dict={HERE / 'http.dict'}",
                f"-artifact_prefix={FOUND / target}-",
                "-timeout=5",
                "-print_final_stats=1",
            ],
            env=environment(target),
            stdout=out,
            stderr=out,
            check=False,
        ).returncode
    text = log.read_text(errors="replace")
    count = re.search(r"number_of_executed_units:\s*(\d+)", text)
    cover = re.findall(r"cov: (\d+)", text)
    seconds = time.monotonic() - started
    verdict = "nothing found" if code == 0 else f"FAILED, see {log.relative_to(ROOT)}"
    executions = int(count[1]) if count else 0
    print(
        f"{target:13} {executions:>10,} executions in {seconds:5.0f} s, "
        f"{cover[-1] if cover else '?'} edges: {verdict}",
        flush=True,
    )
    return code == 0 and executions > 0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    arguments.add_argument(
        "--runs", type=int, default=RUNS, help="executions of each (%(default)s)"
    )
    arguments.add_argument("--seconds", type=int, help="instead of --runs: the time for each")
    arguments.add_argument("--replay", type=Path, help="run this input alone")
    chosen = arguments.parse_args()
    if unknown := set(chosen.targets) - set(TARGETS):
        arguments.error(f"no such target: {', '.join(sorted(unknown))}; there are {TARGETS}")
    if not shutil.which("clang"):
        print("clang is missing: sudo apt install clang", file=sys.stderr)
        return 1
    os.chdir(ROOT)
    modules = [*MODULES, "targets"]
    to_c(modules)
    compile_all(modules)
    targets = chosen.targets or TARGETS
    if chosen.replay:
        command = [str(HARNESS), str(chosen.replay)]
        return max(
            subprocess.run(command, env=environment(t), check=False).returncode for t in targets
        )
    limit = f"-max_total_time={chosen.seconds}" if chosen.seconds else f"-runs={chosen.runs}"
    results = [fuzz(target, limit) for target in targets]  # all of them, whatever one finds
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
