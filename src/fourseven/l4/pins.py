"""Where the kernel planes keep what outlives a process: a bpf filesystem, and the names in it.

    /sys/fs/bpf/fourseven/4026531840-run-1f2e3d4c/tcx-<fingerprint>/flows4, link-3, …
                          └ the network namespace, and which fourseven in it

Whoever finds no bpf filesystem there mounts one, if that is permitted; the one who takes the last
pin out unmounts it again, but only what was mounted by a fourseven (its source says so). Where
none can be had the planes go without pins: they end with the engine.

A fourseven that runs says so by a socket whose name lives in the network namespace alone
(`claim`): it is gone when its process is, however that ended, and is asked before anything of its
home is removed by others.

Laws: only what lies below `fourseven` is ever touched. Mounting and unmounting hold a lock, so that
two who start and stop at once do not meet.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from fourseven.l4.bpf.kernel import Link

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


def claim(name: str) -> socket.socket | None:
    """Says that a fourseven of this name runs, until the socket is closed; None: one does."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.bind(f"\0{OURS}/{name}")
    except OSError:
        made.close()
        return None
    return made


def runs(name: str) -> bool:
    """Does a fourseven of this name run in this network namespace?"""
    claimed = claim(name)
    if claimed is not None:
        claimed.close()
    return claimed is None


def take(name: str) -> Path:
    """The directory of a fourseven of this network namespace. OSError: there can be none."""
    path = ROOT / OURS / f"{namespace()}-{name}"
    with _alone():
        if not is_bpf(ROOT):
            _mount(ROOT)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def leave(path: Path) -> None:
    """The directory goes when it is empty, and so does what is above it."""
    with _alone():
        _remove_empty(path)


def found(name: str) -> Path | None:
    """The directory of a fourseven of this network namespace, if there is one."""
    path = ROOT / OURS / f"{namespace()}-{name}"
    return path if is_bpf(ROOT) and path.is_dir() else None


def homes() -> list[tuple[str, Path]]:
    """(name, directory) of each fourseven of this network namespace that runs or left something."""
    before = f"{namespace()}-"
    folders = sorted((ROOT / OURS).glob(f"{before}*")) if is_bpf(ROOT) else []
    return [(folder.name.removeprefix(before), folder) for folder in folders]


def orphans() -> list[Path]:
    """Directories of network namespaces that are gone, as a container leaves them that was killed.

    A number alone proves nothing, for the processes of a namespace may be hidden from us; so each
    of its programs must have lost its interface as well.
    """
    folders = list((ROOT / OURS).iterdir()) if is_bpf(ROOT) and (ROOT / OURS).is_dir() else []
    living = _living() if folders else set()
    return [
        folder
        for folder in sorted(folders)
        if folder.name.partition("-")[0] not in living and _is_loose(folder)
    ]


def sweep() -> int:
    """Removes what stands in network namespaces that are gone; how many homes there were."""
    gone = orphans()
    for folder in gone:
        with contextlib.suppress(FileNotFoundError):  # another one of us sweeps just now
            for inner in folder.iterdir():
                empty(inner)
        leave(folder)
    return len(gone)


def _living() -> set[str]:
    """The numbers of the network namespaces that a process or a mount holds, as far as we see."""
    found = set()
    for one in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):  # the process has ended
            found.add(str(one.stat().st_ino))
    mounts = Path("/proc/self/mountinfo").read_text()
    return found | set(re.findall(r" net:\[(\d+)\] ", mounts))


def _is_loose(folder: Path) -> bool:
    """Was there a program, and does none stand before an interface any more?"""
    links = list(folder.rglob("link-*"))
    with contextlib.ExitStack() as opened:
        return bool(links) and not any(
            opened.enter_context(Link.open(one)).interface() for one in links
        )


def empty(folder: Path) -> None:
    """Takes every name in one directory out, links first, and the directory."""
    for one in sorted(folder.iterdir(), key=lambda one: not one.name.startswith("link-")):
        one.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


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
