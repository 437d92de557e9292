"""A check of one's own: any program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Annotated, Any, ClassVar

from pydantic import Field

from fourseven.features import Check
from fourseven.health.connect import Target, Unwell

SAID_MAX = 200  # characters of what it printed that go into the reason


class Command(Check):
    """A server is well when a program says so with exit code 0.

    `run` is the program and its arguments; no shell is involved. `{host}` and `{port}` in an
    argument are the server's. What it prints last becomes the reason of a failure. A program that
    runs longer than the timeout is killed, and the server is not well. A process for each check
    costs a thousand times what `tcp` costs: for a few servers.

        health: {command: [/usr/bin/pg_isready, -h, "{host}", -p, "{port}"], interval: 10s}
    """

    key: ClassVar[str] = "command"
    shorthand: ClassVar[str | None] = "run"

    run: Annotated[tuple[str, ...], Field(min_length=1)]

    @classmethod
    def from_file(cls, value: Any) -> Any:
        """`command: /bin/check` is a list of one."""
        value = super().from_file(value)
        if isinstance(value, dict) and isinstance(value.get("run"), str):
            return {**value, "run": [value["run"]]}
        return value

    async def ask(self, target: Target) -> None:
        host, port = ("", 0) if target.address.startswith("unix:") else target.end
        words = [w.replace("{host}", host).replace("{port}", str(port)) for w in self.run]
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said, _ = await process.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            await process.wait()
            raise
        if process.returncode:
            last = said.decode("utf-8", "replace").strip().rpartition("\n")[2][:SAID_MAX]
            raise Unwell(f"exit code {process.returncode}" + (f": {last}" if last else ""))
