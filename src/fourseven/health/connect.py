"""A connection to a server for the length of one check."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

# "This connection is the proxy's own": who asks is no client (the protocol's 2.1 and 2.2).
PROXY_HEADERS = {1: b"PROXY UNKNOWN\r\n", 2: b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"}
RESET = struct.pack("ii", 1, 0)  # SO_LINGER 0: closed by RST


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked."""

    address: str  # host:port, [v6]:port or unix:/path
    port: int = 0  # another port than the server's own; 0: the server's
    proxy: int = 0  # version of the PROXY header that it expects; 0: none
    tls: ssl.SSLContext | None = None  # requests reach it by TLS, under these settings
    sni: str = ""  # the name to ask for
    verified: str = ""  # the name that it must prove
    http2: bool = False  # requests speak HTTP/2 with it

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def end(self) -> tuple[str, int]:
        """Host and port as a socket takes them."""
        return self.host, self.port or int(self.address.rpartition(":")[2])


def way_of(target: Target) -> tuple[int, Any] | None:
    """Family and address as a socket takes them; None where a name is to be found first."""
    if target.address.startswith("unix:"):
        return socket.AF_UNIX, target.address[5:]
    host, port = target.end
    if ":" in host:
        return socket.AF_INET6, (host, port)
    return (socket.AF_INET, (host, port)) if host.replace(".", "").isdecimal() else None


class Unwell(Exception):
    """The server's answer is not the one that was asked for; the text says what it was."""


@contextlib.asynccontextmanager
async def connected(target: Target) -> AsyncIterator[socket.socket]:
    """A non-blocking socket that the server has accepted; OSError where it does not.

    It closes with a reset: a check every few seconds for each of thousands of servers would
    otherwise leave as many ports in TIME_WAIT here, and servers hear of it either way.
    """
    loop = asyncio.get_running_loop()
    way = way_of(target)
    if way is None:
        found = await loop.getaddrinfo(*target.end, type=socket.SOCK_STREAM)
        way = found[0][0], found[0][4]
    family, where = way
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as made:
        if family != socket.AF_UNIX:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await loop.sock_connect(made, where)
        if target.proxy:
            await loop.sock_sendall(made, PROXY_HEADERS[target.proxy])
        yield made


def why(error: Exception) -> str:
    """The reason of a failure in a few words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not verify: {error.verify_message}"
    if isinstance(error, ssl.SSLError):  # an OSError too, but its number is OpenSSL's
        return f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
