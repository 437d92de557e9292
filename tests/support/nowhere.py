"""An address where nobody listens, and where nobody else can begin to.

A port that was free a moment ago is anybody's, also of a test that runs beside this one. So it stays
bound and is not listened at: the kernel refuses connections to it, and gives it to nobody.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator


def claim(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Holds a port without listening there, beside who listens with SO_REUSEPORT: so nobody else is
    given it before he comes or after he has gone, and clients are refused then."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((host, port))
    return held


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port that is ours: only who sets SO_REUSEPORT, too, can listen there."""
    with claim() as held:
        yield int(held.getsockname()[1])


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """An address that refuses connections, as long as the block lasts."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"
