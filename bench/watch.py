"""With everything on: who reads the metrics, and whether the access log tells of each request.

Laws: metrics are read once a second, as long as a measurement takes. A log that lacks a request
makes the round invalid; one that was read is emptied, so that no disk is filled.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from fourseven.demo.processes import Failed

SCRAPE_SECONDS = 1.0
LOG_PATIENCE_SECONDS = 3.0  # for what a log holds back; nginx is told to write each second
BLOCK = 1 << 20


def scrape(place: str, path: str) -> int:
    """Reads the metrics at a port or a unix socket; the bytes of the answer."""
    family = socket.AF_INET if place.isdigit() else socket.AF_UNIX
    address = ("127.0.0.1", int(place)) if place.isdigit() else place
    with socket.socket(family) as connection:
        connection.settimeout(5)
        connection.connect(address)
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b""
        while more := connection.recv(BLOCK):
            answer += more
    if not answer.startswith(b"HTTP/1.1 200"):
        raise Failed(f"metrics at {place}{path}: {answer[:80]!r}")
    return len(answer)


@contextlib.contextmanager
def scraping(place: str, path: str) -> Iterator[None]:
    """Somebody reads the metrics, at once and then each second."""
    over = threading.Event()
    failures: list[Exception] = []

    def read() -> None:
        while True:
            try:
                scrape(place, path)
            except (OSError, Failed) as error:
                failures.append(error)
            if over.wait(SCRAPE_SECONDS):
                return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise Failed(f"the metrics could not be read: {failures[0]}")


def lines_missing(log: Path, requests: float) -> str:
    """Why the log does not tell of so many requests; empty when it does. Empties it."""
    until = time.monotonic() + LOG_PATIENCE_SECONDS
    while (lines := count_lines(log)) < requests and time.monotonic() < until:
        time.sleep(0.1)
    os.truncate(log, 0)
    return "" if lines >= requests else f"{lines} lines in the log for {requests:.0f} requests"


def count_lines(log: Path) -> int:
    with log.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK), b""))
