"""What steps of routes read beside the configuration: files of users and of keys.

Laws: a name is relative to the configuration's folder. What cannot be read is a ValueError, which
names the file; whoever compiles says where it stands.
"""

from __future__ import annotations

from pathlib import Path

FILE_MAX = 8 * 1024 * 1024  # 65,536 users; a wrong file is named before it is all read


class Reads:
    """A features.Reader for one configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def file(self, name: str) -> bytes:
        try:
            with (self.folder / name).open("rb") as stream:
                raw = stream.read(FILE_MAX + 1)
        except OSError as error:
            raise ValueError(f"{name} cannot be read: {error.strerror}") from None
        if len(raw) > FILE_MAX:
            raise ValueError(f"{name} is larger than {FILE_MAX} bytes; is it the right file?")
        return raw
