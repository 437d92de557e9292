"""The supervisor's decisions, played with an engine that does what the file says (fake_engine)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fourseven.control import remote, runtime, supervisor
from fourseven.control.notify import Notifier
from fourseven.control.sockets import Sockets
from fourseven.control.supervisor import Supervisor, restart_delay_s
from fourseven.errors import FoursevenError

FAKE = (sys.executable, "-m", "support.fake_engine")


class Stage:
    """A supervisor in this process; what it tells the service manager is heard here."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "file"
        self.runtime = runtime.make(str(folder / "run"))
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify"))
        self.notify.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": str(folder / "notify")}
        self.task: asyncio.Task[int]

    def start(self, script: str) -> None:
        self.file.write_text(script)
        notifier = Notifier(dict(self.environ))
        self.supervisor = Supervisor(self.file, self.runtime, notifier, Sockets(), FAKE)
        self.task = asyncio.create_task(self.supervisor.run())

    async def told(self, word: str) -> str:
        loop = asyncio.get_running_loop()
        while True:
            message = (await asyncio.wait_for(loop.sock_recv(self.notify, 4096), 20)).decode()
            if word in message:
                return message

    async def ask(self, command: str) -> dict:
        question = {"command": command}
        return await asyncio.to_thread(remote.ask, self.runtime.control, question)

    async def status(self) -> dict:
        return (await self.ask("status"))["status"]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = (await self.status())["listeners"][0][2]
        host, port = address.removeprefix("tcp://").split(":")
        return await asyncio.open_connection(host, int(port))

    async def served_by(self) -> int:
        """The process id of the engine that takes a connection."""
        reader, writer = await self.connect()
        pid = int(await asyncio.wait_for(reader.read(), 20))
        writer.close()
        return pid


@pytest.fixture
def play(tmp_path: Path, monkeypatch) -> Callable[[Callable[[Stage], Awaitable[None]]], None]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setattr(supervisor, "TWICE_S", 0.0)

    def run(scene: Callable[[Stage], Awaitable[None]]) -> None:
        async def whole() -> None:
            stage = Stage(tmp_path)
            try:
                await scene(stage)
            finally:
                stage.notify.close()
                if not stage.task.done():
                    stage.supervisor.stop(signal.SIGTERM)
                    await asyncio.wait_for(stage.task, 20)
            assert {one.name for one in stage.runtime.path.iterdir()} <= {"cookie.key"}

        asyncio.run(whole())

    return run


def test_serves_until_it_is_told_to_stop(play):
    async def scene(stage: Stage) -> None:
        stage.start("serve")
        assert "READY=1" in await stage.told("READY=1")
        assert await stage.served_by() == (await stage.status())["engine"] != os.getpid()
        os.kill(os.getpid(), signal.SIGTERM)
        await stage.told("STOPPING=1")
        assert await stage.task == 0

    play(scene)


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("refuse this is wrong", 78, "file:1:1: this is wrong"),
        ("greedy", 1, "listeners.web: cannot listen on 192.0.2.1:9: this host does not have"),
    ],
)
def test_a_start_that_cannot_be_ends_with_the_reason(play, capfd, script, code, words):
    async def scene(stage: Stage) -> None:
        stage.start(script)
        assert await asyncio.wait_for(stage.task, 20) == code

    play(scene)
    assert words in capfd.readouterr().err


def test_an_engine_that_crashes_at_the_start_is_not_tried_for_ever(play):
    async def scene(stage: Stage) -> None:
        stage.start("crash")
        with pytest.raises(FoursevenError, match="ended while it started"):
            await asyncio.wait_for(stage.task, 20)

    play(scene)


def test_a_file_that_is_not_there(play, capfd):
    async def scene(stage: Stage) -> None:
        stage.start("serve")
        stage.file.unlink()
        assert await asyncio.wait_for(stage.task, 20) == 78

    play(scene)
    assert "cannot be read: No such file" in capfd.readouterr().err


def test_a_bad_file_changes_nothing(play):
    async def scene(stage: Stage) -> None:
        stage.start("serve")
        await stage.told("READY=1")
        before = await stage.served_by()
        for script, code, words in (
            ("refuse nonsense", 78, "file:1:1: nonsense"),
            ("greedy", 1, "cannot listen on 192.0.2.1:9"),
        ):
            stage.file.write_text(script)
            answer = await stage.ask("reload")
            assert answer["code"] == code
            assert words in answer["lines"][0]
            assert await stage.served_by() == before
        stage.file.write_text("serve")
        assert await stage.ask("reload") == {"code": 0, "lines": []}
        assert await stage.served_by() == before

    play(scene)


def test_sighup_reloads_and_tells_the_service_manager(play):
    async def scene(stage: Stage) -> None:
        stage.start("serve")
        await stage.told("READY=1")
        os.kill(os.getpid(), signal.SIGHUP)
        assert "MONOTONIC_USEC=" in await stage.told("RELOADING=1")
        await stage.told("READY=1")

    play(scene)


def test_a_killed_engine_is_replaced_on_the_same_socket(play):
    async def scene(stage: Stage) -> None:
        stage.start("serve")
        await stage.told("READY=1")
        address = (await stage.status())["listeners"][0][2]
        # The file on disk is broken by now: what was in force counts.
        stage.file.write_text("refuse")
        for _ in range(2):
            before = await stage.served_by()
            os.kill(before, signal.SIGKILL)
            await stage.told("READY=1")
            assert await stage.served_by() != before
        status = await stage.status()
        assert status["listeners"][0][2] == address
        assert status["restarts"] == 2

    play(scene)


def test_what_an_operator_said_goes_to_the_next_engine(play):
    async def scene(stage: Stage) -> None:
        stage.start("remember this")
        await stage.told("READY=1")
        os.kill(await stage.served_by(), signal.SIGKILL)
        await stage.told("READY=1")
        assert await stage.served_by() == 0  # it knew the word

    play(scene)


def test_a_reload_that_crashes_the_engine_brings_back_what_was_in_force(play):
    async def scene(stage: Stage) -> None:
        stage.start("serve")
        await stage.told("READY=1")
        before = await stage.served_by()
        stage.file.write_text("crash")
        answer = await stage.ask("reload")
        assert answer["code"] == 1
        assert "what was in force is back" in answer["lines"][0]
        while not (await stage.status())["engine"]:
            await asyncio.sleep(0.02)
        assert await stage.served_by() != before

    play(scene)


def test_restarts_come_at_once_then_ever_later():
    delays = [restart_delay_s(crashes) for crashes in range(40)]
    assert delays[:3] == [0, 0, 0]
    assert delays[3:6] == [0.25, 0.5, 1.0]
    assert delays == sorted(delays)
    assert delays[-1] == 10


def test_a_reload_ends_the_wait_of_a_crash_loop(play, monkeypatch):
    async def scene(stage: Stage) -> None:
        monkeypatch.setattr(supervisor, "restart_delay_s", lambda crashes: 0 if crashes < 2 else 60)
        monkeypatch.setattr(supervisor, "LIVED_S", 1e9)  # however long one waits for its turn
        stage.start("brief")
        for _ in range(3):
            await stage.told("READY=1")
            _, writer = await stage.connect()  # which ends it
            writer.close()
        while (await stage.status())["restarts"] < 3:
            await asyncio.sleep(0.02)
        stage.file.write_text("serve")
        assert (await stage.ask("reload"))["code"] == 0
        assert await stage.served_by()

    play(scene)


def test_an_upgrade_moves_the_socket_to_a_new_process(play):
    async def scene(stage: Stage) -> None:
        stage.start("serve")
        await stage.told("READY=1")
        before = await stage.served_by()
        address = (await stage.status())["listeners"][0][2]
        os.kill(os.getpid(), signal.SIGUSR2)
        await stage.told("READY=1")
        status = await stage.status()
        assert status["engine"] != before
        assert status["listeners"][0][2] == address
        while (await stage.status())["draining"]:
            await asyncio.sleep(0.02)
        assert await stage.served_by() == status["engine"]
        assert status["restarts"] == 0

    play(scene)


def test_an_upgrade_that_fails_leaves_the_old_engine(play):
    async def scene(stage: Stage) -> None:
        stage.start("serve")
        await stage.told("READY=1")
        before = await stage.served_by()
        for script in ("refuse no", "crash"):
            stage.file.write_text(script)
            assert (await stage.ask("upgrade"))["code"] in (1, 78)
            assert await stage.served_by() == before

    play(scene)


def test_a_second_signal_cuts(play):
    async def scene(stage: Stage) -> None:
        stage.start("stubborn")
        await stage.told("READY=1")
        stage.supervisor.stop(signal.SIGINT)
        await stage.told("STOPPING=1")
        stage.supervisor.stop(signal.SIGINT)
        assert await asyncio.wait_for(stage.task, 20) == 128 + signal.SIGINT

    play(scene)


def test_the_deadline_cuts_an_engine_that_does_not_end(play, monkeypatch):
    monkeypatch.setattr(supervisor, "OVERTIME_S", 0.3)

    async def scene(stage: Stage) -> None:
        stage.start("stubborn")
        await stage.told("READY=1")
        began = time.monotonic()
        stage.supervisor.stop(signal.SIGTERM)
        assert await asyncio.wait_for(stage.task, 20) == 0
        assert time.monotonic() - began >= 0.2  # shutdown_timeout of the file

    play(scene)


def test_the_watchdog_hears_of_an_engine_that_answers(play):
    async def scene(stage: Stage) -> None:
        stage.environ["WATCHDOG_USEC"] = "100000"
        stage.start("serve")
        for _ in range(3):
            await stage.told("WATCHDOG=1")

    play(scene)


def test_after_a_killed_supervisor_the_last_good_file_serves(play):
    async def scene(stage: Stage) -> None:
        stage.runtime.remember(b"serve", stage.file.absolute())
        stage.start("refuse broken meanwhile")
        await stage.told("READY=1")
        assert await stage.served_by()

    play(scene)


def test_what_an_operator_said_outlives_a_killed_supervisor(play):
    async def scene(stage: Stage) -> None:
        place = stage.file.absolute()
        stage.runtime.remember(b"serve", place)
        stage.runtime.keep_words([["web", "a:1", "drain", None, None, True]], place)
        stage.start("recall a:1")
        await stage.told("READY=1")

    play(scene)


def test_questions_that_are_none(play):
    async def scene(stage: Stage) -> None:
        stage.start("serve")
        await stage.told("READY=1")
        assert (await stage.ask("dance"))["code"] == 1
        reader, writer = await asyncio.open_unix_connection(stage.runtime.control)
        writer.write(b"babble\n")
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()
        assert await stage.served_by()

    play(scene)
