"""Where the access log's lines go: descriptors for its thread, opened anew for rotation.

A file is opened for appending, so several may write to it, and a rotation that moves it away sees
the last lines of the old one until SIGUSR1 says to open the name again. Syslog gets each line as a
datagram (RFC 5424, facility local0, severity informational); what it does not take is lost, and
counted.

Laws: control's thread alone opens; the log's thread owns what it is given. A target that cannot be
opened refuses the file that names it; at a rotation, the old one stays. But an engine that starts
(after a crash, an upgrade, a boot) must serve though syslog is down: lines are lost and counted
until it is there.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Protocol

from fourseven.addresses import bind_parts, canonical_bind
from fourseven.control import logs
from fourseven.errors import FoursevenError
from fourseven.plan import LogPlan
from fourseven.snapshot.layout import LineField, LineMode

Piece = tuple[int, int, bytes]

FILE_MODE = 0o640  # lines tell who asked for what: nobody else's business
PRIORITY = 16 * 8 + 6  # local0.info
SYSLOG_LOOK_S = 1.0  # whether one that was not there at the start is there


class Log(Protocol):
    """observe.log.AccessLog."""

    def use(self, fd: int, pieces: list[Piece], datagrams: bool) -> None: ...
    def reopen(self, fd: int) -> None: ...


class Target:
    """What the log in force writes to."""

    def __init__(self) -> None:
        self._plan: LogPlan | None = None
        self._nowhere = -1  # what stands for a syslog that is not there

    def open(self, plan: LogPlan | None) -> int:
        """A descriptor for a plan that is about to be in force; -1: nothing has to change."""
        if plan is None or plan == self._plan:
            return -1
        try:
            return opened(plan.to)
        except OSError as error:
            why = error.strerror or str(error)
            if self._plan is None and plan.to.startswith("syslog:"):
                logs.warn("access_log.missing", to=plan.to, why=why)
                self._nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                return self._nowhere
            raise FoursevenError(f"access_log: {plan.to}: it cannot be opened: {why}") from None

    def use(self, log: Log, plan: LogPlan | None, fd: int) -> None:
        """The plan is in force; `fd` is what `open` gave for it."""
        self._plan = plan
        if plan is not None and fd >= 0:
            datagrams = plan.to.startswith("syslog:")
            pieces = list(plan.pieces)
            log.use(fd, [*(syslog_head() if datagrams else ()), *pieces], datagrams)
            if fd == self._nowhere:
                asyncio.get_running_loop().call_later(SYSLOG_LOOK_S, self._look, log, plan)
            self._nowhere = -1

    def _look(self, log: Log, plan: LogPlan) -> None:
        """Syslog was not there when the engine started."""
        if plan != self._plan:
            return
        try:
            log.reopen(opened(plan.to))
        except OSError:
            asyncio.get_running_loop().call_later(SYSLOG_LOOK_S, self._look, log, plan)
            return
        logs.say("access_log.found", to=plan.to)

    def reopen(self, log: Log) -> None:
        """The file was moved away: lines go to a new one of its name."""
        if self._plan is None:
            return
        try:
            log.reopen(opened(self._plan.to))
        except OSError as error:
            logs.warn("access_log.kept", to=self._plan.to, why=error.strerror or str(error))
            return
        logs.say("access_log.reopened", to=self._plan.to)


def opened(to: str) -> int:
    """A descriptor of this target (plan.LogPlan.to)."""
    if to in ("stdout", "stderr"):
        return os.dup(1 if to == "stdout" else 2)
    kind, place = to.split(":", 1)
    if kind == "file":
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        return os.open(place, flags, FILE_MODE)
    if place.startswith("/"):
        return _connected(socket.AF_UNIX, place)
    _, host, port = bind_parts(canonical_bind(f"udp://{place}"))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return _connected(family, (host, port))


def _connected(family: int, address: str | tuple[str, int]) -> int:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        return sock.detach()


def syslog_head() -> tuple[Piece, ...]:
    """`<134>1 TIME HOST fourseven PID - - `, before each line."""
    host = socket.gethostname() or "-"
    return (
        (LineField.LINE_LITERAL, LineMode.LINE_PLAIN, f"<{PRIORITY}>1 ".encode()),
        (LineField.LINE_TIME, LineMode.LINE_PLAIN, b""),
        (
            LineField.LINE_LITERAL,
            LineMode.LINE_PLAIN,
            f" {host} fourseven {os.getpid()} - - ".encode(),
        ),
    )
