"""What is sent: throughput by wrk or h2load, a fixed rate by our own tool, and idle connections.

wrk keeps each connection busy (a closed loop), so it finds what a proxy can do, but its latency is
the latency of saturation. At a fixed rate the time of a request counts from the moment when it was
due, not from when it could be sent: a stall then costs every request that it delayed (no
coordinated omission). h2load cannot do that: its --rps paces each connection and starts the clock
when the request leaves.

Laws: an answer that is not 2xx, a broken connection or a timeout makes the round invalid.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from bench import certificate
from bench.figures import parse_h2load, parse_s_time, parse_wrk, wrk_errors
from bench.works import GRPC, RESUMED, Work, route_target
from fourseven.demo.processes import Failed

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src"
ADDRESS = "127.0.0.1"
TIMEOUT_SECONDS = 10
PROGRAMS = {"wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl"}  # program → package
GRPC_FIELDS = ("-H", "content-type: application/grpc", "-H", "te: trailers")
GRPC_EMPTY = bytes(5)  # the frame of an empty message


def missing() -> str:
    """Why no load can be made here, in one line."""
    absent = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    return f"the load needs programs: sudo apt install {' '.join(absent)}" if absent else ""


def wrk(
    port: int,
    work: Work,
    seconds: float,
    cores: set[int],
    targets: Path | None,
    address: str = ADDRESS,
    cookie: str = "",
) -> dict:
    """Runs wrk for whole seconds (it knows no others); the parsed result."""
    command = ["wrk", "-t1", f"-c{work.connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", f"{TIMEOUT_SECONDS}s", "-s", str(HERE / "wrk.lua")]
    command += ["-H", "Connection: close"] if work.close else []
    command += ["-H", f"Cookie: {cookie}"] if cookie else []
    command += ["-H", "Accept-Encoding: gzip"] if work.setup.gzip else []
    command += [f"http{'s' if work.setup.tls else ''}://{address}:{port}{work.path}"]
    environment = {**os.environ, "BENCH_TARGETS": str(targets)} if targets else None
    found = parse_wrk(run(command, cores, seconds + TIMEOUT_SECONDS + 5, environment))
    return {**found, "errors": wrk_errors(found)}


def handshakes(port: int, work: Work, seconds: float, cores: set[int]) -> dict:
    """A connection for each request, one after the other on each of `connections` processes of
    openssl's own tool: none resumes another, or each the first one of its process.

    wrk is no tool for this: in TLS 1.3 it resumes whenever it was given a ticket. The tool knows
    HTTP/1.0 alone, without a Host, so what it takes for a path is a request of ours, and the end of
    its own becomes a field. Resumption is that of TLS 1.2, since there the tool resumes by what the
    first handshake gave, and no request follows; the cost is of the same kind.
    """
    asked = f"{work.path} HTTP/1.1\r\nHost: {certificate.HOST}\r\nConnection: close\r\nX-Rest:"
    command = ["openssl", "s_time", "-connect", f"{ADDRESS}:{port}"]
    again = work.tool == RESUMED
    command += ["-reuse", "-tls1_2"] if again else ["-new", "-tls1_3", "-www", asked]
    command += ["-time", str(max(1, round(seconds)))]
    limit = seconds + TIMEOUT_SECONDS + 5
    started = time.monotonic()
    with ThreadPoolExecutor(work.connections) as pool:
        texts = list(pool.map(lambda _: run(command, cores, limit, None), range(work.connections)))
    duration_us = 1e6 * (time.monotonic() - started)
    found = [parse_s_time(text, "r" if again else "*", work.size) for text in texts]
    count = sum(each["requests"] for each in found)
    wait_us = work.connections * duration_us / count
    errors = next((each["errors"] for each in found if each["errors"]), "")
    return {
        "requests": count,
        "bytes": 0,
        "duration_us": duration_us,
        "p50_us": wait_us,
        "p99_us": wait_us,
        "errors": errors,
    }


def streams(port: int, work: Work, seconds: float, cores: set[int]) -> dict:
    """Many requests at once on each connection, by h2load; with a message where it is gRPC."""
    with tempfile.TemporaryDirectory() as scratch:
        log, message = Path(scratch) / "log", Path(scratch) / "message"
        message.write_bytes(GRPC_EMPTY)
        command = ["h2load", "-t1", f"-c{work.connections}", f"-m{work.streams}"]
        command += [f"-D{max(1, round(seconds))}", "--warm-up-time=0", f"--log-file={log}"]
        command += ["-d", str(message), *GRPC_FIELDS] if work.setup.kind == GRPC else []
        command.append(f"https://{certificate.HOST}:{port}{work.path}")
        command.append(f"--connect-to={ADDRESS}:{port}")
        text = run(command, cores, seconds + TIMEOUT_SECONDS + 5, None)
        return parse_h2load(text, log.read_text().splitlines())


def call(port: int, path: str) -> str:
    """One gRPC call with nothing in it; what nghttp saw of the answer."""
    with tempfile.TemporaryDirectory() as scratch:
        message = Path(scratch) / "message"
        message.write_bytes(GRPC_EMPTY)
        command = ["nghttp", "-v", "--no-verify-peer", "-H", f":authority: {certificate.HOST}"]
        command += [*GRPC_FIELDS, "-d", str(message), f"https://{ADDRESS}:{port}{path}"]
        return run(command, os.sched_getaffinity(0), TIMEOUT_SECONDS, None)


def paced(port: int, work: Work, rate: int, seconds: float, cores: set[int]) -> dict:
    """Requests at a fixed rate; latency from the moment when each was due."""
    command = [sys.executable, "-m", "fourseven.demo.traffic", "load", ADDRESS, str(port)]
    command += ["--path", work.path, "--connections", str(work.connections)]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    found: dict = json.loads(run(command, cores, seconds + TIMEOUT_SECONDS + 5, environment))
    found["errors"] = f"{found['errors']} requests failed" if found["errors"] else ""
    return found


def run(command: list[str], cores: set[int], patience: float, environment: dict | None) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
        env=environment,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {done.stderr[-500:] or done.stdout[-500:]}")
    return done.stdout


def write_targets(routes: int, file: Path) -> Path:
    """The last tenth of the routes, which a search from the front would reach last."""
    late = range(routes - max(1, routes // 10), routes)
    file.write_text("".join("{} {}\n".format(*route_target(number)) for number in late))
    return file


def connect(port: int, tls: bool) -> socket.socket:
    connection = socket.create_connection((ADDRESS, port), timeout=TIMEOUT_SECONDS)
    return certificate.unverified().wrap_socket(connection) if tls else connection


def ask(
    port: int, path: str, host: str = certificate.HOST, tls: bool = False, cookie: str = ""
) -> tuple[int, bytes, int]:
    """One request over a socket of its own: status, body, and the bytes of the whole answer."""
    with connect(port, tls) as connection:
        connection.sendall(request(path, host, cookie))
        return read_answer(connection)


def told_cookie(port: int, path: str) -> str:
    """What a client that is new here is told to keep."""
    with connect(port, tls=False) as connection:
        connection.sendall(request(path))
        head = receive(connection).partition(b"\r\n\r\n")[0].decode()
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "set-cookie":
            return value.strip()
    raise Failed("a new client got no cookie")


def request(path: str, host: str = "bench.example.test", cookie: str = "") -> bytes:
    said = f"Cookie: {cookie}\r\n" if cookie else ""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{said}\r\n".encode()


def read_answer(connection: socket.socket) -> tuple[int, bytes, int]:
    """Reads one answer that has a Content-Length."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += receive(connection)
    head, _, start = got.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    size = int(fields[b"content-length"])
    parts, have = [start], len(start)
    while have < size:
        parts.append(receive(connection))
        have += len(parts[-1])
    return int(head.split()[1]), b"".join(parts), len(head) + 4 + size


def receive(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 18)
    if not data:
        raise Failed("the connection was closed before the answer was whole")
    return data


class Idle:
    """Connections that have each had one answer and now wait. Use it as a context."""

    def __init__(self, port: int, path: str, tls: bool = False) -> None:
        self.port, self.path, self.tls = port, path, tls
        self.open: list[socket.socket] = []

    def add(self, count: int) -> None:
        for _ in range(count):
            connection = connect(self.port, self.tls)
            self.open.append(connection)
            connection.sendall(request(self.path))
            if read_answer(connection)[0] != 200:
                raise Failed("an idle connection's first request was refused")

    def alive(self) -> int:
        """How many the proxy still holds: a closed one would read as ended."""
        count = 0
        for connection in self.open:
            connection.setblocking(False)
            try:
                count += bool(connection.recv(1))
            except (BlockingIOError, ssl.SSLWantReadError):
                count += 1
            except OSError:
                continue
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.open:
            connection.close()
        time.sleep(0.1)  # let the proxy see the ends before the next work
