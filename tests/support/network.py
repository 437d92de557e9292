"""Network namespaces of a test's own, and the one line that says why there are none.

A namespace here has no name: it lives as long as somebody holds its descriptor or runs in it. So
nothing is left behind, even when the test run is killed. A thread steps inside by setns(2), which
changes its network alone: files, /proc/PID and mounts such as bpffs stay the host's. What is
started while inside stays inside. (/proc/sys/net follows the thread; /sys/class/net does not.)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from fourseven.l4.host import probe, verdicts

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


@cache
def why_not(plane: str = "tcx") -> str:
    """Why a kernel plane cannot be tested here; empty when it can. The relay needs namespaces alone
    (of network), and so do all the others."""
    if os.geteuid() != 0:
        return "network namespaces are made by root only"
    try:
        with unshared():
            pass
    except OSError as error:
        return f"no network namespace can be made: {error.strerror}"
    refused = {one.name: one.reason for one in verdicts(probe()) if not one.permitted}
    reason = "" if "not forwarded" in refused.get(plane, "") else refused.get(plane, "")
    return f"{plane} is not permitted: {reason}" if reason else ""


def why_no_lab(*programs: str, plane: str = "tcx") -> str:
    """Why no lab can be built here, or which of the programs that a test runs is missing."""
    if reason := why_not(plane):
        return reason
    missing = [name for name in ("ip", *programs) if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


def needs_lab(*programs: str, plane: str = "tcx") -> pytest.MarkDecorator:
    """`pytestmark = needs_lab("iperf3")`: skipped, with the reason, where it cannot be."""
    reason = why_no_lab(*programs, plane=plane)
    return pytest.mark.skipif(bool(reason), reason=reason or "it can")


class Namespace:
    """A network namespace that has nothing but a loopback, which is up."""

    def __init__(self, name: str) -> None:
        self.name = name
        with unshared():
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"
        self.ip("link set lo up")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread in the namespace, then back."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            if libc.setns(self.fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns into {self.name}")
            yield
        finally:
            libc.setns(before, CLONE_NEWNET)
            os.close(before)

    def ip(self, *lines: str) -> None:
        """Commands of ip(8), one a line, in one process: quick even for a thousand."""
        with self.inside():
            done = subprocess.run(
                ["ip", "-batch", "-"], input="\n".join(lines), capture_output=True, text=True
            )
        if done.returncode:
            raise OSError(f"ip in {self.name}: {done.stderr.strip()}\n" + "\n".join(lines[:20]))

    def sysctl(self, values: Iterable[tuple[str, str]]) -> None:
        """Settings below /proc/sys/net."""
        with self.inside():
            for path, value in values:
                Path("/proc/sys/net", path).write_text(value)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@contextlib.contextmanager
def unshared() -> Iterator[None]:
    """This thread in a new network namespace, then back."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This thread in a new network namespace that has nothing but a loopback; then back."""
    with unshared():
        for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            Path("/proc/sys/net", path).write_text("0")
        yield
