"""The load tools and the measuring origins as processes: `python -m fourseven.demo.traffic`.

A load in the same process as what it measures would take the time that it counts, so both run
apart. `load` (requests) and `bounce` (a byte there and back) print one line of JSON; their other
ends, `origin` and `echo`, print their port. `origin` ends when its standard input does, so that it
never outlives the one who started it; `echo` when it is told to.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence

from fourseven.demo.bounce import answer, round_trips
from fourseven.demo.load import offer
from fourseven.demo.origin import serve

SILENT = struct.pack("ll", 2, 0)  # struct timeval: after two seconds an answer is lost


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fourseven.demo.traffic", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    load = parts.add_parser("load", help="send requests and print what came of them")
    load.add_argument("address")
    load.add_argument("port", type=int)
    load.add_argument("--path", default="/")
    load.add_argument("--host", default="bench.example.test")
    load.add_argument("--connections", type=int, default=64)
    load.add_argument(
        "--rate", type=float, default=0.0, help="requests a second; 0: as fast as can be"
    )
    load.add_argument("--seconds", type=float, default=2.0)
    origin = parts.add_parser("origin", help="answer every request with the same bytes")
    origin.add_argument("--address", default="127.0.0.1")
    origin.add_argument("--port", type=int, default=0)
    origin.add_argument("--size", type=int, default=128, help="bytes of the answer's body")
    bounce = parts.add_parser("bounce", help="send a byte and wait for it, again and again")
    bounce.add_argument("address")
    bounce.add_argument("port", type=int)
    bounce.add_argument("--seconds", type=float, default=2.0)
    echo = parts.add_parser("echo", help="send every byte back")
    echo.add_argument("--address", default="127.0.0.1")
    echo.add_argument("--port", type=int, default=0)
    options = parser.parse_args(arguments)
    run = {"load": run_load, "origin": run_origin, "bounce": run_bounce, "echo": run_echo}
    return run[options.part](options)


def run_load(options: argparse.Namespace) -> int:
    target = (options.address, options.port)
    request = f"GET {options.path} HTTP/1.1\r\nHost: {options.host}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(options.connections):
            connection = stack.enter_context(socket.create_connection(target, timeout=10))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            connections.append(connection.fileno())
        before = time.process_time()
        found = offer(connections, request, options.rate, options.seconds)
        cpu_us = 1e6 * (time.process_time() - before)
    print(json.dumps({**summary(*found), "cpu_us": cpu_us}))
    return 0


def summary(
    answered: int, failed: int, received: int, took_ns: int, latencies: list[int]
) -> dict[str, float]:
    """The result in the units that the benchmark and the demo print."""
    latencies = sorted(latencies)
    return {
        "requests": answered,
        "errors": failed,
        "bytes": received,
        "duration_us": took_ns / 1000,
        "p50_us": percentile(latencies, 50) / 1000,
        "p99_us": percentile(latencies, 99) / 1000,
    }


def percentile(ordered: Sequence[int], percent: float) -> float:
    """The smallest value that at least so many percent do not exceed; 0 when there is none."""
    if not ordered:
        return 0.0
    at = max(0, -(-len(ordered) * percent // 100) - 1)
    return float(ordered[int(at)])


def run_origin(options: argparse.Namespace) -> int:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {options.size}\r\n\r\n"
    with socket.create_server((options.address, options.port), backlog=4096) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        serve(listener.fileno(), sys.stdin.fileno(), head.encode() + b"x" * options.size)
    return 0


def run_bounce(options: argparse.Namespace) -> int:
    with socket.create_connection((options.address, options.port)) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, SILENT)
        taken = round_trips(made.fileno(), options.seconds)
    print(json.dumps({"count": len(taken), "p50_us": percentile(sorted(taken), 50) / 1000}))
    return 0


def run_echo(options: argparse.Namespace) -> int:
    with socket.create_server((options.address, options.port), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            taken, _ = listener.accept()
            threading.Thread(target=echo_one, args=(taken,), daemon=True).start()


def echo_one(taken: socket.socket) -> None:
    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with taken, contextlib.suppress(OSError):  # who bounces knows of it
        answer(taken.fileno())


if __name__ == "__main__":
    sys.exit(main())
