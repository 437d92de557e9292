"""systemd's two small protocols, spoken without its library.

`Notifier` tells systemd how the service fares (sd_notify): datagrams of `KEY=value` lines to the
socket that $NOTIFY_SOCKET names. `activated` takes over the listening sockets that systemd opened
for us (socket activation): descriptors 3 and up, with their names.

Laws: the variables are taken out of the environment, so that a child never believes that they are
meant for it. Without systemd all this does nothing.

Source: sd_notify(3), sd_listen_fds(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from dataclasses import dataclass

LISTEN_FDS_START = 3


class Notifier:
    """Tells the service supervisor, if there is one."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        meant = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # How often to say WATCHDOG=1: twice in its time, as systemd asks. None: not at all.
        self.watchdog_s = int(watchdog_us) / 2e6 if meant and watchdog_us.isdecimal() else None

    def ready(self, status: str) -> None:
        self._send(READY="1", STATUS=status)

    def reloading(self) -> None:
        self._send(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))

    def stopping(self, status: str) -> None:
        self._send(STOPPING="1", STATUS=status)

    def status(self, status: str) -> None:
        self._send(STATUS=status)

    def alive(self) -> None:
        self._send(WATCHDOG="1")

    def _send(self, **state: str) -> None:
        if not self._address:
            return
        text = "\n".join(f"{key}={value}" for key, value in state.items())
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        with sock, contextlib.suppress(OSError):  # nobody listens any more: we serve on
            sock.sendto(text.encode(), socket.MSG_DONTWAIT, self._address)


@dataclass(frozen=True)
class Activated:
    """A socket that was open before we started."""

    name: str  # FileDescriptorName= of the unit; its default is the unit's name
    sock: socket.socket


def activated(environ: MutableMapping[str, str]) -> list[Activated]:
    """The sockets that were handed to this very process."""
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "0")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = []
    for at in range(int(count)):
        sock = socket.socket(fileno=LISTEN_FDS_START + at)
        sock.set_inheritable(False)
        sock.setblocking(False)
        found.append(Activated(names[at] if at < len(names) else "", sock))
    return found
