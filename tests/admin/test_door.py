"""The door: a bounded number of callers, none for ever, and an engine that nobody asks pays nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable

from fourseven.control.admin import door as doors
from fourseven.control.admin.door import Door


class Guest(asyncio.Protocol):
    """A reception that only lets in."""


async def opened(_: Door) -> Callable[[], asyncio.Protocol]:
    return Guest


def at_door(play: Callable[[Door, tuple[str, int]], Awaitable[None]]) -> None:
    """Plays at a door with one TCP socket."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            door = Door(opened)
            door.use({"tcp": listening.fileno()})
            await play(door, listening.getsockname())
            door.close()

    asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


def test_who_neither_asks_nor_listens_is_cut(monkeypatch):
    monkeypatch.setattr(doors, "QUIET_S", 0.05)
    monkeypatch.setattr(doors, "SWEEP_S", 0.02)

    async def play(door: Door, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read() == b""
        assert door.turned_away == 0  # so it was inside
        await until(lambda: not door.visits)
        writer.close()

    at_door(play)


def test_one_more_than_there_is_room_for_is_turned_away_and_room_comes_back(monkeypatch):
    monkeypatch.setattr(doors, "OPEN_MAX", 2)

    async def play(door: Door, address: tuple[str, int]) -> None:
        inside = [await asyncio.open_connection(*address) for _ in range(2)]
        await until(lambda: len(door.visits) == 2)
        reader, writer = await asyncio.open_connection(*address)
        assert await reader.read() == b""
        assert door.turned_away == 1
        inside[0][1].close()
        await until(lambda: sum(not one.is_closing() for one in door.visits) == 1)
        following = await asyncio.open_connection(*address)
        await until(lambda: sum(not one.is_closing() for one in door.visits) == 2)
        for _, one in (*inside, (reader, writer), following):
            one.close()

    at_door(play)


def test_a_lack_of_descriptors_is_waited_out_and_not_spun_on(monkeypatch):
    monkeypatch.setattr(doors, "REST_S", 0.05)
    tried = 0

    async def play(door: Door, address: tuple[str, int]) -> None:
        nonlocal tried
        (real,) = door._socks.values()

        class Exhausted:
            family = real.family

            def fileno(self) -> int:
                return real.fileno()

            def accept(self) -> tuple[socket.socket, object]:
                nonlocal tried
                tried += 1
                if tried <= 2:
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                return real.accept()

            def close(self) -> None:
                real.close()

        door._loop.remove_reader(real)
        door._socks["tcp"] = exhausted = Exhausted()  # type: ignore[assignment]
        door._loop.add_reader(exhausted, door._ready, exhausted)
        _, writer = await asyncio.open_connection(*address)
        await until(lambda: len(door.visits) == 1)
        assert tried <= 5
        writer.close()

    at_door(play)


def test_a_door_that_is_closed_takes_nobody_more():
    async def play(door: Door, address: tuple[str, int]) -> None:
        _, writer = await asyncio.open_connection(*address)
        await until(lambda: len(door.visits) == 1)
        assert door.busy() == 1  # it may be about to ask
        door.close()
        _, waiting = await asyncio.open_connection(*address)  # the kernel's queue has it
        await asyncio.sleep(0.02)
        assert len(door.visits) == 1
        writer.close()
        waiting.close()

    at_door(play)


def test_an_engine_that_nobody_asks_has_not_loaded_the_api():
    said = "import sys, fourseven.control.engine; print('aiohttp' in sys.modules)"
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", said],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout == "False\n", done.stderr
