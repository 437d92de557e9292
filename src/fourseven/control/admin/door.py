"""The door of the admin API: takes its connections, a bounded number, and none for ever.

The sockets are the supervisor's, as those of listeners are: they outlive engines, so who calls
during an upgrade or a restart waits in the kernel and is answered. Until the first caller comes the
API is not even loaded; an engine that nobody asks pays nothing for it.

    unix socket    the kernel says who calls: the same user and root may do everything
    TCP            whoever shows a token

Laws: a caller never harms control. There are as many connections as OPEN_MAX says, of each kind
its own number, so that a flood from the network does not shut the operator out. A connection that
neither asks nor takes its answer is cut after QUIET_S. Nothing here waits for anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fourseven.control import logs, remote

OPEN_MAX = 64  # connections of each kind; a dashboard has six, Prometheus one
QUIET_S = 60.0  # far above any answer's time, far below what would let silent callers gather
SWEEP_S = 5.0
REST_S = 1.0  # when there are no descriptors left
JUST_NOW_S = 0.25
BATCH = 16  # connections taken in one go; control has other work

Reception = Callable[[], asyncio.Protocol]


@dataclass(slots=True)
class Visit:
    """One connection."""

    local: bool  # by the unix socket, from the same user or root
    active_at: float
    asking: bool = False  # a request of it is being answered


class Door:
    """Accepts at the admin sockets and leads the callers in."""

    def __init__(self, open_reception: Callable[[Door], Awaitable[Reception]]) -> None:
        self._open_reception = open_reception
        self._loop = asyncio.get_running_loop()
        self._socks: dict[str, socket.socket] = {}
        self._reception: asyncio.Future[Reception] | None = None
        self._entering: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self.visits: dict[asyncio.BaseTransport, Visit] = {}
        self.turned_away = 0

    def use(self, fds: dict[str, int]) -> None:
        """Listens on these sockets, by key, and no others. Each is copied."""
        for key in self._socks.keys() - fds.keys():
            self._stop(key)
        for key in fds.keys() - self._socks.keys():
            sock = socket.socket(fileno=os.dup(fds[key]))
            sock.setblocking(False)
            self._socks[key] = sock
            self._loop.add_reader(sock, self._ready, sock)

    def close(self) -> None:
        """Takes nobody more; who is in may finish."""
        for key in list(self._socks):
            self._stop(key)

    def busy(self) -> int:
        """Callers who are owed an answer, or who came so lately that they may be about to ask."""
        now = self._loop.time()
        return len(self._entering) + sum(
            visit.asking
            or unsent(transport) > 0
            or (now - visit.active_at < JUST_NOW_S and not transport.is_closing())
            for transport, visit in self.visits.items()
        )

    def touch(self, transport: asyncio.BaseTransport) -> Visit:
        """The visit of a connection, which has just done something."""
        visit = self.visits.get(transport)
        if visit is None:
            sock = transport.get_extra_info("socket")
            visit = self.visits[transport] = Visit(sock.family == socket.AF_UNIX, 0.0)
        visit.active_at = self._loop.time()
        return visit

    def _stop(self, key: str) -> None:
        sock = self._socks.pop(key)
        self._loop.remove_reader(sock)
        sock.close()

    def _ready(self, sock: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                taken, _ = sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._rest(sock)
                return
            local = sock.family == socket.AF_UNIX
            if self._has_room(local) and (not local or remote.trusted(taken)):
                task = self._loop.create_task(self._enter(taken))
                self._entering.add(task)
                task.add_done_callback(self._entering.discard)
            else:
                self.turned_away += 1
                taken.close()

    def _rest(self, sock: socket.socket) -> None:
        """The socket stays ready, so it must not be looked at for a while."""
        self._loop.remove_reader(sock)

        def again() -> None:
            if sock in self._socks.values():
                self._loop.add_reader(sock, self._ready, sock)

        self._loop.call_later(REST_S, again)

    def _has_room(self, local: bool) -> bool:
        self._forget_gone()
        here = sum(visit.local is local for visit in self.visits.values())
        return here + len(self._entering) < OPEN_MAX

    async def _enter(self, sock: socket.socket) -> None:
        try:
            reception = await self._opened()
            transport, _ = await self._loop.connect_accepted_socket(reception, sock)
        except OSError:
            sock.close()
            return
        except Exception:
            logs.LOG.exception("admin.fault")
            sock.close()
            return
        self.touch(transport)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    async def _opened(self) -> Reception:
        """The reception; the first caller has it opened."""
        if self._reception is None:
            self._reception = asyncio.ensure_future(self._open_reception(self))
        try:
            return await asyncio.shield(self._reception)
        except Exception:
            self._reception = None
            raise

    def _forget_gone(self) -> None:
        gone = [one for one in self.visits if one.is_closing() and not unsent(one)]
        for transport in gone:
            del self.visits[transport]

    def _sweep(self) -> None:
        self._forget_gone()
        for transport, visit in self.visits.items():
            if self._loop.time() - visit.active_at > QUIET_S:
                with contextlib.suppress(AttributeError):
                    transport.abort()  # type: ignore[attr-defined]
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep) if self.visits else None


def unsent(transport: asyncio.BaseTransport) -> int:
    """Bytes of an answer that its caller has not taken yet."""
    return transport.get_write_buffer_size() if isinstance(transport, asyncio.Transport) else 0
