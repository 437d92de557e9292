"""The runtime directory: where a running fourseven is found, and what it leaves for its successor.

    control.sock    `fourseven reload` and its kind talk to the supervisor here
    admin.sock      the admin API (docs/admin.md); the supervisor's socket, an engine answers
    pid             the supervisor's number; held locked as long as it lives
    last-good.json  the file that was last in force, byte for byte, and its name
    words.json      what an operator has said of servers, and was to be kept
    cookie.key      what signs cookies of persistence where the file has no secret

The directory is the first that fits: --runtime-dir, systemd's RuntimeDirectory=,
$XDG_RUNTIME_DIR/fourseven, /run/fourseven, /tmp/fourseven-<uid>.

Laws: it is ours alone (owner, 0700, no symbolic link), or we do not use it: who can write there
could tell us what to serve. A clean end removes all of them but the key, so a last-good file that
is found at the start means that the one before us was killed. Files are made with mode 0600, and
replaced whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fourseven.addresses import UNIX_PATH_MAX
from fourseven.errors import FoursevenError

SECRET = re.compile(r"[0-9a-f]{64}")
SAID = {"enable", "drain", "maintenance"}  # health.standing.Said, which the supervisor can spare


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
        self._words = path / "words.json"
        self._key = path / "cookie.key"
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
        for file in (self.control, self._good, self._words, self._pid):
            file.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remember(self, raw: bytes, file: Path) -> None:
        """Keeps what is in force; the old one stays until the new one is whole."""
        self._write(self._good, {"file": str(file), "content": raw.decode("latin-1")})

    def _write(self, file: Path, content: Any) -> None:
        fresh = file.with_suffix(".new")
        descriptor = os.open(
            fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        with open(descriptor, "w") as stream:
            json.dump(content, stream)
        fresh.rename(file)

    def keep_words(self, words: Sequence[Sequence[Any]], file: Path) -> None:
        """Keeps those of control.servers' words that are to be kept, for the next supervisor."""
        to_1970 = time.time() - time.monotonic()
        kept = [
            [*one[:3], None if one[3] is None else one[3] + to_1970, *one[4:]]
            for one in words
            if one[-1] is True
        ]
        self._write(self._words, {"file": str(file), "words": kept})

    def words(self, file: Path) -> list[list[Any]]:
        """What was said under this name of a file when a supervisor was killed."""
        to_1970 = time.time() - time.monotonic()
        try:
            kept = json.loads(self._words.read_text())
            if kept["file"] != str(file):
                return []
            return [
                [
                    str(backend),
                    str(server),
                    word,
                    until and until - to_1970,
                    weight,
                    bool(keep),
                ]
                for backend, server, word, until, weight, keep in kept["words"]
                if (word is None or word in SAID) and (weight is None or isinstance(weight, int))
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def secret(self) -> str:
        """The key of cookies, in hexadecimal digits; made when it is first asked for."""
        try:
            with open(os.open(self._key, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)) as stream:
                kept = stream.read(256).strip()
                private = not os.fstat(stream.fileno()).st_mode & 0o077
            if private and SECRET.fullmatch(kept):
                return kept
        except OSError:
            pass
        made = os.urandom(32).hex()
        with contextlib.suppress(OSError):  # a full disk: it holds as long as we live
            self._key.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(self._key, flags, 0o600), "w") as stream:
                stream.write(made + "\n")
        return made

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
