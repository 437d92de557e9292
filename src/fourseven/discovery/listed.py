"""Servers from a file of their own, which another program writes.

The file is looked at once a second (one `stat`), and read when it is another one. A file that
cannot be read, or that is wrong, leaves the servers as they were. Whoever writes it should write a
new one and rename it: half a file is a wrong file, or worse, a shorter right one.
"""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from fourseven.discovery.found import SERVERS_MAX, Found, Look, Unfound
from fourseven.features import Source
from fourseven.scalars import WEIGHT_MAX, ServerAddress

LOOK_S = 1.0
SIZE_MAX = 2 << 20  # bytes: two hundred for each of the most servers


class Listed(BaseModel):
    """One server of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: ServerAddress
    weight: Annotated[int, Field(strict=True, ge=0, le=WEIGHT_MAX)] | None = None
    max_in_flight: Annotated[int, Field(strict=True, ge=0)] | None = None
    zone: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,64}$")] = ""

    @model_validator(mode="before")
    @classmethod
    def from_file(cls, value: Any) -> Any:
        return {"address": value} if isinstance(value, str) else value


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DEPTH_MAX = 2  # a list of mappings
LIST = TypeAdapter(Annotated[list[Listed], FailFast()])


class File(Source):
    """The servers that a file lists, JSON or YAML, read again whenever it changes.

    The file is a list of addresses, or of {address, weight, max_in_flight, zone}; its path is
    relative to the configuration's folder. While it is wrong or missing, the servers stay as they
    were.

        servers: [{file: servers.yaml}]
    """

    key: ClassVar[str] = "file"
    shorthand: ClassVar[str | None] = "path"

    path: Annotated[str, Field(min_length=1)]

    def stamp(self, folder: Path) -> Any:
        try:
            found = os.stat(folder / self.path)
        except OSError as error:
            return error.errno
        return found.st_ino, found.st_size, found.st_mtime_ns

    async def look(self, folder: Path) -> Look:
        stamp = self.stamp(folder)
        # Beside the control thread: a large file takes seconds to read.
        return Look(await asyncio.to_thread(self.read, folder / self.path), LOOK_S, stamp=stamp)

    def read(self, path: Path) -> tuple[Found, ...]:
        """The servers in it. Unfound says what is wrong."""
        try:
            # NONBLOCK: who opens a pipe would wait for its writer, for ever
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise Unfound(f"{path}: it is no regular file")
                raw = stream.read(SIZE_MAX + 1)
        except OSError as error:
            raise Unfound(f"{path}: {error.strerror}") from None
        if len(raw) > SIZE_MAX:
            raise Unfound(f"{path}: more than {SIZE_MAX} bytes")
        try:
            verify_flat(raw)
            said = yaml.load(raw, LOADER)
        except (yaml.YAMLError, ValueError) as error:
            raise Unfound(f"{path}: {' '.join(str(error).split())[:200]}") from None
        if isinstance(said, list) and len(said) > SERVERS_MAX:
            raise Unfound(f"{path}: {len(said)} servers; {SERVERS_MAX} is the most")
        try:
            listed = LIST.validate_python(said)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise Unfound(f"{path}: {where or 'the file'}: {first['msg']}") from None
        found = {
            one.address: Found(one.address, one.weight, one.max_in_flight, zone=one.zone)
            for one in listed
        }
        return tuple(found.values())


def verify_flat(raw: bytes) -> None:
    """ValueError where the text is nested deeper than a list of servers can be, or refers to parts
    of itself. The loader recurses without a limit, and a hundred thousand brackets end the process.
    """
    depth = 0
    for event in yaml.parse(raw, LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                raise ValueError("this is nested deeper than a list of servers")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            raise ValueError("a reference (*name) stands in no list of servers")
