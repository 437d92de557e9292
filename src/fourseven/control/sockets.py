"""The listening sockets: the supervisor owns them, so that no engine's end closes one.

One TCP or unix socket serves all workers and all engines: a connection that waits in its queue is
taken by whoever lives. UDP has no queue of connections, so each worker has a socket of its own and
the kernel spreads flows over them (SO_REUSEPORT).

A socket is known by its bind, canonical text such as `tcp://[::]:443` (with the listener's name
where the port is 0: each gets a free one of its own). `[::]` takes IPv4 too, unless 0.0.0.0 stands
beside it with the same port. Congestion control is the system's.

Laws: opening is all or nothing, so a reload that fails leaves no trace. A socket that is given up
stops listening at once, for every process that still holds it. What systemd opened is systemd's: we
never shut it, only let go.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fourseven.addresses import bind_parts
from fourseven.control.notify import Activated
from fourseven.l4 import netlink

IPV6_FREEBIND = 78  # linux/in6.h
BACKLOG_MIN = (
    4096  # connections that wait while an engine restarts; the kernel caps it at somaxconn
)


@dataclass(frozen=True, slots=True)
class Want:
    """A socket that a plan needs."""

    listener: str
    bind: str
    copies: int = 1  # UDP: one for each worker

    @property
    def key(self) -> str:
        return f"{self.bind}#{self.listener}" if self.bind.endswith(":0") else self.bind


@dataclass(slots=True)
class Opened:
    """The sockets of one bind."""

    bind: str
    socks: list[socket.socket] = field(default_factory=list)
    given: str | None = None  # by systemd, under this name
    inode: tuple[int, int] | None = None  # of a unix socket's path, to delete only our own

    @property
    def address(self) -> str:
        """Where it really listens: port 0 has become a number."""
        return bound(self.bind, self.socks[0].fileno())


def bound(bind: str, fd: int) -> str:
    """A bind as its socket really has it: port 0 has become a number."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        name = sock.getsockname()
    if isinstance(name, str | bytes):
        return bind
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{bind.partition('://')[0]}://{host}:{name[1]}"


class Sockets:
    """Every listening socket of this supervisor, by `Want.key`."""

    def __init__(self, given: Sequence[Activated] = ()) -> None:
        self._given = list(given)
        self._opened: dict[str, Opened] = {}

    def __getitem__(self, key: str) -> Opened:
        return self._opened[key]

    def open(self, wants: Sequence[Want]) -> list[str]:
        """Opens what is missing. Says what is wrong; then nothing has changed."""
        fresh: dict[str, Opened] = {}
        grown: list[tuple[Opened, socket.socket]] = []
        problems = []
        binds = {want.bind for want in wants}
        for want in wants:
            opened = self._opened.get(want.key) or self._adopt(want) or Opened(want.bind)
            if want.key not in self._opened:
                fresh[want.key] = opened
            try:
                while opened.given is None and len(opened.socks) < want.copies:
                    sock = _listen(opened, binds)
                    opened.socks.append(sock)
                    grown.append((opened, sock))
            except OSError as error:
                problems.append(f"listeners.{want.listener}: {_explain(want.bind, error)}")
        if not problems:
            self._opened |= fresh
            return []
        for opened, sock in grown:
            opened.socks.remove(sock)
            sock.close()
        for opened in fresh.values():
            if opened.given is not None:
                self._shelve(opened)
            _unlink(opened)
        return problems

    def keep(self, wants: Iterable[Want]) -> list[str]:
        """Gives up what is not wanted any more, and says which those were."""
        copies = {want.key: want.copies for want in wants}
        for key, opened in self._opened.items():
            while opened.given is None and len(opened.socks) > max(copies.get(key, 0), 1):
                opened.socks.pop().close()
        gone = [key for key in self._opened if key not in copies]
        for key in gone:
            self._give_up(self._opened.pop(key))
        return gone

    def close(self) -> None:
        self.keep(())

    def _give_up(self, opened: Opened) -> None:
        if opened.given is not None:
            self._shelve(opened)
            return
        for sock in opened.socks:
            # A copy in another process would listen on; a shut socket listens nowhere.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        _unlink(opened)

    def _shelve(self, opened: Opened) -> None:
        """Lets go of what is systemd's; a later reload may want it again."""
        given, *deaf = opened.socks
        for sock in deaf:
            sock.close()
        self._given.append(Activated(opened.given or "", given))

    def _adopt(self, want: Want) -> Opened | None:
        """What systemd has opened for this bind: the same address, or the listener's name."""
        for given in self._given:
            if _serves(given.sock, want.bind) or (
                given.name == want.listener and _kind(given.sock) == want.bind.partition(":")[0]
            ):
                self._given.remove(given)
                # A single UDP socket serves the first worker; the others get one that hears
                # nothing, for two workers on one socket would tear its flows apart.
                _send_at_once(given.sock)
                deaf = [_deaf(given.sock) for _ in range(want.copies - 1)]
                return Opened(want.bind, [given.sock, *deaf], given=given.name)
        return None


def _deaf(sock: socket.socket) -> socket.socket:
    return socket.socket(sock.family, sock.type | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _kind(sock: socket.socket) -> str:
    if sock.family == socket.AF_UNIX:
        return "unix"
    return "tcp" if sock.type == socket.SOCK_STREAM else "udp"


def _serves(sock: socket.socket, bind: str) -> bool:
    name = sock.getsockname()
    if bind.startswith("unix:"):
        return _kind(sock) == "unix" and name == bind.removeprefix("unix:")
    scheme, host, port = bind_parts(bind)
    return _kind(sock) == scheme and tuple(name[:2]) == (host, port)


def _listen(opened: Opened, binds: set[str]) -> socket.socket:
    if opened.bind.startswith("unix:"):
        return _listen_unix(opened)
    scheme, host, port = bind_parts(opened.bind)
    if opened.socks:
        port = opened.socks[0].getsockname()[1]  # of 0, the first copy has made a number
    beside = f"{scheme}://0.0.0.0:{port}" in binds
    try:
        return _listen_inet(scheme, host, port, v6_only=beside)
    except OSError as error:
        no_v6 = error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
        if host != "::" or beside or not no_v6:
            raise
        return _listen_inet(scheme, "0.0.0.0", port, v6_only=False)  # a host without IPv6


def _listen_inet(scheme: str, host: str, port: int, *, v6_only: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
        if scheme == "udp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _bind(sock, host, port)
            return sock
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _send_at_once(sock)
        _bind(sock, host, port)
        sock.listen(backlog())
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, host: str, port: int) -> None:
    """Of a network that is routed to this host IPv6 takes no address by itself, as IPv4 does."""
    try:
        sock.bind((host, port))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL or not _ends_here(host):
            raise
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        sock.bind((host, port))


def _ends_here(host: str) -> bool:
    """Does this host deliver packets to this address of IPv6 to itself?"""
    try:
        wanted = int(ipaddress.IPv6Address(host))
        return any(wanted & mask == network for network, mask in netlink.locals_())
    except (ValueError, OSError):
        return False


def _send_at_once(sock: socket.socket) -> None:
    """No Nagle's algorithm; accepted sockets inherit that: no system call for each of them."""
    if sock.family != socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _listen_unix(opened: Opened) -> socket.socket:
    path = opened.bind.removeprefix("unix:")
    _clear_stale(path)
    sock = socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    )
    try:
        sock.bind(path)
        found = os.lstat(path)
        opened.inode = (found.st_dev, found.st_ino)
        sock.listen(backlog())
    except BaseException:
        sock.close()
        raise
    return sock


def _clear_stale(path: str) -> None:
    """Removes the path of a socket on which nobody listens any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "the path is there and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    os.unlink(path)


def _unlink(opened: Opened) -> None:
    path = opened.bind.removeprefix("unix:")
    with contextlib.suppress(OSError):
        found = os.lstat(path) if opened.inode else None
        if found and (found.st_dev, found.st_ino) == opened.inode:
            os.unlink(path)


def backlog() -> int:
    try:
        somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return BACKLOG_MIN
    return max(somaxconn, BACKLOG_MIN)


def _explain(bind: str, error: OSError) -> str:
    """What is wrong with a bind, and what would be right."""
    shown = bind if bind.startswith("unix:") else bind.partition("://")[2]
    mends = {
        errno.EADDRINUSE: "another process listens there (`ss -lntup` names it)",
        errno.EADDRNOTAVAIL: "this host does not have the address (`ip address` lists its own)",
    }
    if error.errno in (errno.EACCES, errno.EPERM) and not bind.startswith("unix:"):
        port = bind_parts(bind)[2]
        return (
            f"cannot listen on {shown}: a port below 1024 needs a privilege; run under systemd with"
            " AmbientCapabilities=CAP_NET_BIND_SERVICE or a .socket unit, or allow it on this host "
            f"(sysctl net.ipv4.ip_unprivileged_port_start={port}), or bind a port from 1024"
        )
    mend = mends.get(error.errno or 0, error.strerror or str(error))
    return f"cannot listen on {shown}: {mend}"
