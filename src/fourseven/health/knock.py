"""Connects by the hundred: what a check needs that asks no more than whether one is accepted.

    knocks = Knocks(told)                        told([(key, failure), ...]): what has come out
    knocks.knock(key, family, where, timeout_s)  the failure is empty where the server has accepted

A task of asyncio for each connect, with its future, its timer and its turns of the loop, costs more
than the connect. Here a check is a socket in an epoll of our own, whose descriptor the loop watches
as one: all connects that have ended are told in one call, and one timer looks every TICK_S for
those whose time is over.

It closes with a reset: a check every few seconds for each of thousands of servers would otherwise
leave as many ports in TIME_WAIT here, and servers hear of it either way.

Laws: `told` is never called from within `knock`. Who is forgotten is told of no more.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import Callable, Hashable
from typing import Any

from fourseven.health.connect import RESET

TICK_S = 0.05  # by so much a time limit may be exceeded
TOO_LATE = "no answer in time"
Said = tuple[Hashable, str]


class Knocks:
    """The connects of one loop that are under way."""

    def __init__(self, told: Callable[[list[Said]], None]) -> None:
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._open: dict[int, tuple[Hashable, socket.socket, float]] = {}  # by descriptor
        self._ended: list[Said] = []  # at once; they are told in the next turn
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def close(self) -> None:
        """Gives up all of them."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        for _, made, _ in self._open.values():
            made.close()
        self._open.clear()
        self._ended.clear()
        if self._timer is not None:
            self._timer.cancel()

    def knock(self, key: Hashable, family: int, where: Any, timeout_s: float) -> None:
        """Begins to connect."""
        try:
            made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._end(key, error.errno or errno.EMFILE)
            return
        if family != socket.AF_UNIX:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        failed = made.connect_ex(where)
        if failed != errno.EINPROGRESS:
            made.close()
            self._end(key, failed)
            return
        self._epoll.register(made.fileno(), select.EPOLLOUT)
        self._open[made.fileno()] = key, made, self._loop.time() + timeout_s
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self._look)

    def forget(self, key: Hashable) -> None:
        """Its connect is given up, if there is one."""
        for descriptor, (whose, made, _) in list(self._open.items()):
            if whose == key:
                del self._open[descriptor]
                made.close()
        self._ended = [said for said in self._ended if said[0] != key]

    # ---- how they end ----

    def _ready(self) -> None:
        """Some have connected, or never will."""
        said: list[Said] = []
        for descriptor, _ in self._epoll.poll(0):
            key, made, _ = self._open.pop(descriptor)
            failed = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            made.close()  # which takes it out of the epoll
            said.append((key, os.strerror(failed).lower() if failed else ""))
        if said:
            self._told(said)

    def _look(self) -> None:
        """Whose time is over?"""
        now = self._loop.time()
        late = [at for at, (_, _, until) in self._open.items() if until <= now]
        said: list[Said] = []
        for descriptor in late:
            key, made, _ = self._open.pop(descriptor)
            made.close()
            said.append((key, TOO_LATE))
        self._timer = self._loop.call_later(TICK_S, self._look) if self._open else None
        if said:
            self._told(said)

    def _end(self, key: Hashable, failed: int) -> None:
        if not self._ended:
            self._loop.call_soon(self._tell)
        self._ended.append((key, os.strerror(failed).lower() if failed else ""))

    def _tell(self) -> None:
        said, self._ended = self._ended, []
        if said:
            self._told(said)
