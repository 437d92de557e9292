"""Honest clients of a lab's echo servers, as a process: python -m support.lab_load ADDRESS PORT …

Some connections are established before anything happens (`ready` is printed then) and echo a
message every so often until the end; meanwhile new ones come and go at a steady rate. A broken
connection, a wrong echo, a refusal or a wait of more than the patience is counted, and the last
line says it all as JSON: what was established, what of it broke and why, the new ones, the servers
that they met, and the longest wait for an echo. What this process itself waited for a processor is
no wait for an echo: a heart beats beside them, and what it is late by is taken off.

A line on the standard input is answered by the same, so far. It ends when the standard input does,
or after `--seconds`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections import Counter

BEAT_S = 0.02


class Load:
    """The clients and what they met."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.broken: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.servers: Counter[str] = Counter()
        self.echoes = self.opened = 0
        self.longest_ms = self.longest_new_ms = 0.0
        self.beaten, self.late_s = time.monotonic(), 0.0
        self.kept = 0
        self.over = asyncio.Event()

    async def run(self) -> dict:
        kept = [await self.connect() for _ in range(self.options.established)]
        self.kept = len(kept)
        beating = asyncio.create_task(self.beat())
        print("ready", flush=True)
        working = [asyncio.create_task(self.keep(*one)) for one in kept]
        coming = asyncio.create_task(self.come())
        watching = asyncio.create_task(self.watch())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), self.options.seconds)
        self.over.set()
        await asyncio.gather(*working, coming)
        for task in (watching, beating):
            task.cancel()
        return self.told()

    def told(self) -> dict:
        return {
            "established": self.kept,
            "broken": dict(self.broken),
            "echoes": self.echoes,
            "longest_ms": round(self.longest_ms, 1),
            "new": self.opened,
            "failed": dict(self.failed),
            "longest_new_ms": round(self.longest_new_ms, 1),
            "servers": dict(self.servers),
        }

    async def watch(self) -> None:
        """A line is a question, the end of the standard input the end."""
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(self.told()), flush=True)
        self.over.set()

    async def beat(self) -> None:
        while True:
            self.beaten = time.monotonic()
            await asyncio.sleep(BEAT_S)
            self.late_s += time.monotonic() - self.beaten - BEAT_S

    def clock(self) -> float:
        """Seconds, without those in which this process did not get to anything."""
        now = time.monotonic()
        return now - self.late_s - max(0.0, now - self.beaten - BEAT_S)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self.options.address, self.options.port)
        self.servers[(await reader.readline()).decode().strip()] += 1
        return reader, writer

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> float:
        """Milliseconds; raises when what came back is not what was sent."""
        text = b"%d " % self.echoes + b"x" * 500
        begun = self.clock()
        writer.write(text)
        await writer.drain()
        if await reader.readexactly(len(text)) != text:
            raise OSError("a wrong echo")
        self.echoes += 1
        return 1000 * (self.clock() - begun)

    async def keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        patience = self.options.patience
        try:
            while not self.over.is_set():
                took = await asyncio.wait_for(self.echo(reader, writer), patience)
                self.longest_ms = max(self.longest_ms, took)
                await asyncio.sleep(self.options.gap)
        except (OSError, EOFError, TimeoutError) as error:
            self.broken[type(error).__name__] += 1
        finally:
            writer.close()

    async def come(self) -> None:
        """New connections, at a rate, each in a task of its own."""
        begun, tasks = time.monotonic(), set()
        while not self.over.is_set():
            due = int((time.monotonic() - begun) * self.options.rate)
            while self.opened < due:
                self.opened += 1
                tasks.add(asyncio.create_task(self.visit()))
            await asyncio.sleep(0.005)
            tasks = {task for task in tasks if not task.done()}
        await asyncio.gather(*tasks)

    async def visit(self) -> None:
        begun = self.clock()
        try:
            reader, writer = await asyncio.wait_for(self.connect(), self.options.patience)
            await asyncio.wait_for(self.echo(reader, writer), self.options.patience)
            writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            self.failed[type(error).__name__] += 1
        self.longest_new_ms = max(self.longest_new_ms, 1000 * (self.clock() - begun))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--established", type=int, default=50)
    parser.add_argument("--rate", type=float, default=50.0, help="new connections a second")
    parser.add_argument("--gap", type=float, default=0.05, help="seconds between echoes")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--patience", type=float, default=30.0)
    options = parser.parse_args()

    async def run() -> dict:
        return await Load(options).run()

    print(json.dumps(asyncio.run(run())), flush=True)


if __name__ == "__main__":
    main()
