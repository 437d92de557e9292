"""The runtime directory: where a running fourseven is found, and what it leaves for its successor.

    control.sock    `fourseven reload` and its kind talk to the supervisor here
    admin.sock      the admin API (docs/admin.md); the supervisor's socket, an engine answers
    pid             the supervisor's number; held locked as long as it lives
    last-good.json  the file that was last in force, byte for byte, and its name

The directory is the first that fits: --runtime-dir, systemd's RuntimeDirectory=,
$XDG_RUNTIME_DIR/fourseven, /run/fourseven, /tmp/fourseven-<uid>.

Laws: it is ours alone (owner, 0700, no symbolic link), or we do not use it: who can write there
could tell us what to serve. A clean end removes all of them, so a last-good file that is found
at the start means that the one before us was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fourseven.addresses import UNIX_PATH_MAX
from fourseven.errors import FoursevenError


def candidates(chosen: str | None) -> Iterator[Path]:
    if chosen:
        yield Path(chosen)
        return
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        yield Path(given.split(":")[0])
    if user := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(user) / "fourseven"
    yield Path("/run/fourseven")
    yield Path(f"/tmp/fourseven-{os.geteuid()}")


class Runtime:
    """The directory of one running fourseven."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.control = path / "control.sock"
        self.admin = path / "admin.sock"
        self._pid = path / "pid"
        self._good = path / "last-good.json"
        self._lock = -1

    def claim(self) -> None:
        """Makes this process the only one that runs here."""
        lock = os.open(self._pid, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(lock, 32).decode().strip()
            os.close(lock)
            raise FoursevenError(
                f"a fourseven (process {pid}) runs with {self.path} already; "
                "`fourseven reload` changes its file, --runtime-dir starts a second one"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._lock = lock
        self.control.unlink(missing_ok=True)

    def release(self) -> None:
        """A clean end: nothing is left."""
        for file in (self.control, self._good, self._pid):
            file.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remember(self, raw: bytes, file: Path) -> None:
        """Keeps what is in force; the old one stays until the new one is whole."""
        fresh = self._good.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w") as stream:
            json.dump({"file": str(file), "content": raw.decode("latin-1")}, stream)
        fresh.rename(self._good)

    def remembered(self, file: Path) -> bytes | None:
        """What was in force under this name when a supervisor was killed."""
        try:
            kept = json.loads(self._good.read_text())
            return kept["content"].encode("latin-1") if kept["file"] == str(file) else None
        except (OSError, ValueError, KeyError):
            return None


def make(chosen: str | None) -> Runtime:
    """A runtime directory to run in."""
    refused = []
    for path in candidates(chosen):
        try:
            path.mkdir(mode=0o700, parents=bool(chosen), exist_ok=True)
        except OSError as error:
            refused.append(f"{path}: {error.strerror}")
            continue
        if reason := unsafe(path):
            refused.append(f"{path}: {reason}")
            continue
        return Runtime(path)
    raise FoursevenError(
        f"no runtime directory ({'; '.join(refused)}); name one of your own with --runtime-dir"
    )


def find(chosen: str | None) -> Runtime:
    """The runtime directory of a fourseven that runs."""
    tried = list(candidates(chosen))
    for path in tried:
        runtime = Runtime(path)
        if runtime.control.is_socket() and not unsafe(path):
            return runtime
    raise FoursevenError(
        f"no running fourseven in {', '.join(map(str, tried))}; --runtime-dir says where it is"
    )


def unsafe(path: Path) -> str:
    """Why this directory is not to be trusted, or nothing."""
    if len(os.fsencode(path / "control.sock")) > UNIX_PATH_MAX:
        return f"its name is too long for a socket in it ({UNIX_PATH_MAX} bytes)"
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return "not a directory"
    shared = (
        path.parent.stat().st_mode & stat.S_IWOTH
    )  # anyone could have made it first, as in /tmp
    if found.st_uid != os.geteuid() and (shared or os.geteuid() != 0):
        return f"belongs to user {found.st_uid}"
    if found.st_mode & 0o077:
        return f"open to others (mode {found.st_mode & 0o777:o}); chmod 700"
    return ""
