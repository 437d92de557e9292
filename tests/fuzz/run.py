"""Fuzzes readers and sessions under address and undefined-behaviour sanitizers: `run.py [target…]`.

Builds what is watched (the readers; of the sessions, the engine around HTTP/2) anew with clang and
coverage feedback into build/fuzz, takes the rows of the unit tests and the scripts of `scripts` as
seeds, and runs each target for a number of executions; a session's, which takes fifty times as long
as a reader's, for a fiftieth of it. What a run finds interesting stays in build/fuzz/corpus and is
the seed of the next one; an input that breaks a law is kept in build/fuzz/found, and
`run.py TARGET --replay FILE` runs it alone.

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
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import scripts

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "fuzz"
LIBRARY = BUILD / "lib"
CORPUS = BUILD / "corpus"
FOUND = BUILD / "found"
HARNESS = BUILD / "harness"
PREFIX = "fourseven-fuzz-"
RUNS = 1_000_000  # of each reader: what the project promises for a release
SLOWER = 50  # times that a session's execution takes longer than a reader's
# bytes; heads 1024
SIZE_MAX = {"client_hello": 2048, "server_flight": 6144, "chunked": 1024, "path": 256}

MODULES = [
    "fourseven.snapshot.layout",
    "fourseven.protocols.message",
    "fourseven.protocols.canonical",
    "fourseven.protocols.fields",
    "fourseven.protocols.http1",
    "fourseven.protocols.chunked",
    "fourseven.protocols.clienthello",
    "fourseven.protocols.proxyproto",
    "fourseven.protocols.serverhello",
]
# What the sessions' targets watch: the engine around HTTP/2. The rest of the data plane is that of
# the ordinary build, for all of it would take minutes to compile.
ENGINE = ["fourseven.worker.tools"]
ENGINE += [f"fourseven.l7.{name}" for name in ("answer", "attempt", "call", "connect", "grpc")]
ENGINE += [f"fourseven.l7.{name}" for name in ("http2", "http2_frames", "http2_head", "lane")]
ENGINE += [f"fourseven.l7.{name}" for name in ("lane_answer", "request", "response", "retry")]
ENGINE += [f"fourseven.l7.{name}" for name in ("session", "stream", "trunk", "tunnel", "upstream")]
ENGINE += [f"fourseven.l7.{name}" for name in ("waits", "websocket")]
# And what a stranger shows to come in: tokens and their parts.
ENGINE += ["fourseven.protocols.base64", "fourseven.matching.json", "fourseven.l7.gate_token"]
ENGINE += ["fourseven.protocols.accept_encoding", "fourseven.l7.load"]
ENGINE += ["fourseven.l7.load_binary"]
TARGETS = ["request", "response", "chunked", "client_hello", "server_flight", "proxy", "path"]
SESSIONS = ["http2", "http2_servers"]
TOKENS = ["token", "base64", "json"]
WORDS = ["accept", "load"]
SANITIZE = "-fsanitize=address,undefined"
FLAGS = ["-g", "-O1", "-std=gnu11", "-UNDEBUG", "-fno-sanitize-recover=undefined", "-w"]
FLAGS += ["-DPCRE2_CODE_UNIT_WIDTH=8", "-fno-sanitize=null"]  # for offsets, as in setup.py
LIBRARIES = ["-Wl,--as-needed", "-lssl", "-lcrypto", "-lnghttp2", "-lpcre2-8", "-lcrypt"]


CLAIMS = (
    b'{"exp":9999999999,"nbf":1.5,"iss":"me","aud":["x","api"],"scope":"b c","x":{"/y":[1,{}]}}'
)
SHOWN = {
    "token": [
        b'\x01{"alg":"EdDSA","kid":"a"}\n%s\nsignature' % CLAIMS,
        b"\x00eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjk5OTk5OTk5OTl9.c2lnbmF0dXJl",
        b'\x01{"alg":"none","crit":["exp"]}\n{"exp":1,"exp":2}\n',
    ],
    "base64": [b"\x00YWxpY2U6c2VjcmV0", b"\x01YQ", b"\x00YQ==", b"\x01-_8", b"\x03YWI"],
    "json": [
        b"\x01/aud/1\n" + CLAIMS,
        b"\x01/x/~1y/1\n" + CLAIMS,
        b'\x01/a\n{"a":"\\u00e4\\ud83d\\ude00\\n"}',
        b'\x00/a\n{"b":[[{"c":-0.10e+2}]],"a":1',
    ],
    "accept": [
        b"\x1egzip;q=0.8, br, *;q=0",
        b"\x39identity;q=1 ; q=0, x-gzip\t;\tq=0.001 ,zstd",
        b"\x00*;q=1.000,GZIP;q=0.999,br;q=0.12345,zstd;q=2",
    ],
    "load": [
        b"\x0235%",
        b"\x020.5e-1",
        b"\x02123456789012345678e-18",
        b"\x01TEXT rps=100, application_utilization=0,cpu_utilization=0.25",
        b'\x01JSON {"applicationUtilization": 1e-3, "cpu_utilization": 0.5}',
        b"\x01BIN CQAAAAAAAOA/SQAAAAAAANA/",
        b"\x04KgYKAWESAQFJAAAAAAAA0D8,SQAAAAAAANA/",
    ],
}


def source(module: str) -> Path:
    if module in ("targets", "sessions", "tokens", "words"):
        return HERE / f"{module}.py"
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
        nthreads=os.cpu_count() or 1,
        quiet=True,
        compiler_directives={
            "language_level": 3,
            "cdivision": True,
            "boundscheck": True,
            "wraparound": False,
        },
    )


def compile_one(module: str) -> None:
    include = [f"-I{sysconfig.get_path('include')}", f"-I{ROOT / 'src'}"]
    relative = source(module).relative_to(ROOT).with_suffix(".c")
    found = [*(BUILD / "c").rglob(relative.name)]
    c_file = next(path for path in found if str(path).endswith(str(relative)))
    library = LIBRARY / Path(*module.split(".")).with_suffix(".so")
    if library.exists() and library.stat().st_mtime > newest(c_file):
        return
    library.parent.mkdir(parents=True, exist_ok=True)
    shared = ["-fPIC", "-shared", SANITIZE + ",fuzzer-no-link"]
    command = ["clang", *FLAGS, *shared, *include, str(c_file), "-o", str(library), *LIBRARIES]
    subprocess.run(command, check=True)


def compile_all(modules: list[str]) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, modules))
    ours = {module.replace(".", "/") for module in (*MODULES, *ENGINE)}
    for path in (ROOT / "src").rglob("*.*"):  # the others as the ordinary build has left them
        relative = path.relative_to(ROOT / "src")
        stem = str(relative.parent / path.name.partition(".")[0])
        native = path.suffix == ".py" and path.with_suffix(".pxd").exists()
        if path.suffix in (".py", ".so") and stem not in ours and not native:
            (LIBRARY / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, LIBRARY / relative)
    include = [f"-I{sysconfig.get_path('include')}"]
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
    if target in SESSIONS:
        return scripts.CLIENTS if target == "http2" else scripts.SERVERS
    if target in SHOWN:
        return SHOWN[target]
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    from protocols import (
        test_canonical,
        test_chunked,
        test_clienthello,
        test_http1_accepted,
        test_http1_answers,
        test_http1_refused,
        test_proxyproto,
        test_serverhello,
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
    if target == "server_flight":
        return [b"\x06" + row[1] for row in test_serverhello.HEARD]
    return [test_clienthello.WHOLE, *[row[1] for row in test_clienthello.REFUSED]]


def plant(target: str) -> Path:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for data in seeds(target):
        if len(data) <= SIZE_MAX.get(target, 1024):
            (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
    return folder


def module_of(target: str) -> str:
    if target in TOKENS:
        return "tokens"
    if target in WORDS:
        return "words"
    return "sessions" if target in SESSIONS else "targets"


def dictionary_of(target: str) -> Path:
    if target in SHOWN:
        return HERE / ("token.dict" if target in TOKENS else "words.dict")
    return HERE / ("http2.dict" if target in SESSIONS else "http.dict")


def environment(target: str, folder: str) -> dict[str, str]:
    return os.environ | {
        "TMPDIR": folder,  # sockets of the sessions' servers; the harness ends without a clean-up
        "FOURSEVEN_FUZZ": target,
        "FOURSEVEN_FUZZ_MODULE": module_of(target),
        "PYTHONPATH": os.pathsep.join([str(LIBRARY), sysconfig.get_path("purelib")]),
        "PYTHONNOUSERSITE": "1",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",  # the interpreter never frees all
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def fuzz(target: str, runs: int, seconds: int | None) -> bool:
    """Runs one target, says in a line what came of it; whether it found nothing."""
    FOUND.mkdir(parents=True, exist_ok=True)
    runs = runs // SLOWER if target in SESSIONS else runs
    limit = f"-max_total_time={seconds}" if seconds else f"-runs={runs}"
    log = BUILD / f"{target}.log"
    started = time.monotonic()
    with log.open("w") as out, tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        code = subprocess.run(
            [
                str(HARNESS),
                str(plant(target)),
                limit,
                f"-max_len={SIZE_MAX.get(target, 1024)}",
                f"-dict={dictionary_of(target)}",
                f"-artifact_prefix={FOUND / target}-",
                "-timeout=5",
                "-print_final_stats=1",
            ],
            env=environment(target, folder),
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


def replay(file: Path, target: str) -> int:
    """Runs one input alone; the exit code."""
    command = [str(HARNESS), str(file)]
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        return subprocess.run(command, env=environment(target, folder), check=False).returncode


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    every = [*TARGETS, *SESSIONS, *TOKENS, *WORDS]
    arguments.add_argument("targets", nargs="*", metavar="target", help=", ".join(every))
    arguments.add_argument(
        "--runs", type=int, default=RUNS, help="executions of each reader (%(default)s)"
    )
    arguments.add_argument("--seconds", type=int, help="instead of --runs: the time for each")
    arguments.add_argument("--replay", type=Path, help="run this input alone")
    chosen = arguments.parse_args()
    if unknown := set(chosen.targets) - set(every):
        arguments.error(f"no such target: {', '.join(sorted(unknown))}; there are {every}")
    if not shutil.which("clang"):
        print("clang is missing: sudo apt install clang", file=sys.stderr)
        return 1
    os.chdir(ROOT)
    targets = chosen.targets or every
    modules = [*MODULES, "targets"]
    if set(targets) - set(TARGETS):
        modules += [*ENGINE, *sorted({module_of(target) for target in targets} - {"targets"})]
    to_c(modules)
    compile_all(modules)
    if chosen.replay:
        return max(replay(chosen.replay, target) for target in targets)
    results = [
        fuzz(target, chosen.runs, chosen.seconds) for target in targets
    ]  # all of them, whatever one finds
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
