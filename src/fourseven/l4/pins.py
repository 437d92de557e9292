"""Where the kernel planes keep what outlives a process: a bpf filesystem, and the names in it.

    /sys/fs/bpf/fourseven/4026531840-run-1f2e3d4c/tcx-<fingerprint>/flows4, link-3, …
                          └ the network namespace, and which fourseven in it

Whoever finds no bpf filesystem there mounts one, if that is permitted; the one who takes the last
pin out unmounts it again, but only what was mounted by a fourseven (its source says so). Where
none can be had the planes go without pins: they end with the engine.

Laws: only what lies below `fourseven` is ever touched. A home that somebody uses (a shared lock on
its directory) is not removed by others. Mounting and unmounting hold a lock, so that two who start
and stop at once do not meet.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/bpf")
OURS = "fourseven"
BPF_FS = 0xCAFE4A11  # BPF_FS_MAGIC
KERNELS = ("maps.debug", "progs.debug")  # in every bpf filesystem from the start
NAME_MAX = 24  # characters of a path that are kept, for people; the hash tells paths apart

libc = ctypes.CDLL(None, use_errno=True)


def home_name(runtime: Path) -> str:
    """A fourseven is known by its runtime directory; in letters that every plane can use."""
    text = str(runtime)
    plain = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[-NAME_MAX:].strip("-")
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def namespace() -> int:
    """The number of this thread's network namespace."""
    return os.stat("/proc/thread-self/ns/net").st_ino


class Pins:
    """The directory of one fourseven; held until it is closed."""

    def __init__(self, path: Path, holding: int) -> None:
        self.path = path
        self._holding = holding

    def close(self, remove: bool) -> None:
        """Lets go. remove: the directory goes too, when it is empty, and what is above it."""
        os.close(self._holding)
        if remove:
            with _alone():
                _remove_empty(self.path)


def take(name: str) -> Pins:
    """The directory of a fourseven of this network namespace. OSError: there can be none."""
    path = ROOT / OURS / f"{namespace()}-{name}"
    with _alone():
        if not is_bpf(ROOT):
            _mount(ROOT)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        holding = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(holding, fcntl.LOCK_SH)
    return Pins(path, holding)


def found(name: str) -> Path | None:
    """The directory of a fourseven of this network namespace, if there is one."""
    path = ROOT / OURS / f"{namespace()}-{name}"
    return path if is_bpf(ROOT) and path.is_dir() else None


def homes(every: bool = False) -> list[Path]:
    """The directories of this network namespace, or of `every`; also those that nobody holds."""
    pattern = "*" if every else f"{namespace()}-*"
    return sorted((ROOT / OURS).glob(pattern)) if is_bpf(ROOT) else []


def in_use(path: Path) -> bool:
    """Does a process hold this directory?"""
    holding = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(holding, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(holding)
    return False


def clear(path: Path) -> int:
    """Takes every name below a directory out, and the directory; how many things there were.

    A link whose last name goes leaves its interface, unless a process still has it open.
    """
    with _alone():
        count = sum(empty(below) for below in sorted(path.iterdir()) if below.is_dir())
        _remove_empty(path)
    return count


def empty(folder: Path) -> int:
    """Takes every name in one directory out, links first, and the directory."""
    names = sorted(folder.iterdir(), key=lambda one: not one.name.startswith("link-"))
    for one in names:
        one.unlink(missing_ok=True)
    folder.rmdir()
    return len(names)


def is_bpf(path: Path) -> bool:
    """Is there a bpf filesystem?"""
    room = ctypes.create_string_buffer(256)  # struct statfs begins with f_type, a long
    if libc.statfs(bytes(path), room) != 0:
        return False
    return ctypes.c_long.from_buffer(room).value & 0xFFFFFFFF == BPF_FS


def _remove_empty(path: Path) -> None:
    with contextlib.suppress(OSError):  # it is not empty: others are there
        path.rmdir()
        path.parent.rmdir()
        if _mounted_by_us() and all(one.name in KERNELS for one in ROOT.iterdir()):
            libc.umount2(bytes(ROOT), 0)


def _mount(path: Path) -> None:
    if libc.mount(OURS.encode(), bytes(path), b"bpf", 0, b"mode=0700") != 0:
        reason = ctypes.get_errno()
        raise OSError(reason, f"no bpf filesystem can be mounted: {os.strerror(reason)}")


def _mounted_by_us() -> bool:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[4] == str(ROOT):
            return after.split()[:2] == ["bpf", OURS]
    return False


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Nobody else of us mounts or unmounts meanwhile."""
    try:
        lock = os.open(ROOT.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(errno.ENOENT, f"{ROOT.parent} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
