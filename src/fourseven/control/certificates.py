"""Looks whether the files of certificates have changed, so that a renewal needs no reload.

A renewal writes new files over the old ones, mostly two of them, one after the other. So a change
is noticed here by what stat says, and judged by whoever reads the files: a pair that does not fit
yet is refused there, and the next change is another chance.

Law: what was read before the first look may be older than what that look sees; so after each
load the first look counts as a change.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

Stamp = tuple[int, int, int] | None  # (inode, size, time of change); None: it is not there


class Watch:
    """The files of one plan."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = tuple(dict.fromkeys(files))
        self._seen: dict[str, Stamp] = {}

    def changed(self) -> bool:
        """Whether a file is another than at the last look."""
        now = {file: _stamp(file) for file in self.files}
        before, self._seen = self._seen, now
        return now != before


def _stamp(file: str) -> Stamp:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
