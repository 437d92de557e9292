"""How the demo ends: by Ctrl-C or SIGTERM at any moment, orderly, and even after a kill -9.

A signal raises KeyboardInterrupt, which unwinds everything that was started. But Python raises it
wherever it is, and in a destructor it is swallowed with no more than a line on stderr. So the
signal is remembered too, and each step asks (`check`). Further signals while it unwinds change
nothing: an impatient second Ctrl-C must not stop the stopping.

The folder of a demo is locked while it lives. One that is not is of a demo that was killed, and the
next one removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Self

PREFIX = "fourseven-demo-"
FRESH_S = 10.0  # a folder so young may not be locked yet


class Ending:
    """Watches for the signals that end the demo. Use it as a context, in the main thread."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        signals = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._take) for number in signals}
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if kind is None:
            self.check()

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = True
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raises what was raised before and got lost."""
        if self.asked:
            raise KeyboardInterrupt

    def wait(self, say: Callable[[], None]) -> None:
        """Says what there is to wait for, and returns when the end is asked for, which is no
        failure from the first word on."""
        with contextlib.suppress(KeyboardInterrupt):
            say()
            while not self.asked:
                time.sleep(1)
        self.asked = False


@contextlib.contextmanager
def folder(root: str | None = None) -> Iterator[Path]:
    """A folder for as long as the block; those of killed demos go first."""
    for left in Path(root or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            remove_left(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=root) as made:
        lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(made)
        finally:
            os.close(lock)


def remove_left(left: Path) -> None:
    """Removes it if it is ours, and nobody's any more. OSError where somebody holds it."""
    lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(lock)
        if found.st_uid == os.geteuid() and time.time() - found.st_mtime > FRESH_S:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
    finally:
        os.close(lock)
