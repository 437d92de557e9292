"""A network namespace of one's own for a test, and the one line that says why there is none."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from fourseven.l4.host import denied, probe

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str:
    """Why the kernel planes cannot be tested here; empty when they can."""
    if os.geteuid() != 0:
        return "the kernel planes are tested as root only"
    return denied(probe())


@contextlib.contextmanager
def own_network():
    """This thread in a new network namespace that has nothing but a loopback; then back."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path("/proc/sys/net", path).write_text("0")
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)
