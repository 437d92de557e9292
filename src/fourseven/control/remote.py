"""The control socket: how `fourseven reload` talks to the supervisor that runs.

One question and one answer, each a line of JSON, on a unix socket in the runtime directory. Only
the same user and root are heard; the directory is closed to others, and we ask the kernel as well.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fourseven.errors import FoursevenError

Answer = dict[str, Any]

QUESTION_MAX = 4096  # bytes; a question is a word or two
ANSWER_TIMEOUT_S = 120.0  # loading thousands of routes takes seconds; beyond this it hangs


async def serve(
    path: Path, answer: Callable[[dict[str, Any]], Awaitable[Answer]]
) -> asyncio.Server:
    """Answers every question that comes to this path."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if trusted(writer.get_extra_info("socket")):
                question = json.loads(await asyncio.wait_for(reader.readline(), 10))
                writer.write(json.dumps(await answer(question)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # a client that left or babbled: there is nobody to tell
        finally:
            writer.close()

    server = await asyncio.start_unix_server(converse, path, limit=QUESTION_MAX)
    path.chmod(0o600)
    return server


def ask(path: Path, question: dict[str, Any]) -> Answer:
    """Asks the supervisor that listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWER_TIMEOUT_S)
        try:
            sock.connect(str(path))
            sock.sendall(json.dumps(question).encode() + b"\n")
            with sock.makefile("rb") as stream:
                answer: Answer = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise FoursevenError(f"no answer from the fourseven at {path}: {error}") from None
    return answer


def trusted(sock: socket.socket) -> bool:
    """Whether the other end of this unix socket is the same user or root, as the kernel says."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in (0, os.geteuid())
