"""The supervisor: keeps one engine running, and the sockets open whatever happens to it.

A load balancer must not be the thing that fails. So the part that owns the listening sockets does
almost nothing: it starts an engine, hands it the sockets, and starts another when it ends. Clients
that connect meanwhile wait in the kernel's queue and are served by the next engine.

    start      a file that is wrong ends us (exit code 78), unless our predecessor was killed:
               then what it had in force is used, and we say so; what an operator had said of
               servers, and was to be kept, holds again
    reload     SIGHUP, `fourseven reload`: a wrong file changes nothing
    reopen     SIGUSR1: the access log is opened anew, after somebody has moved its file away
    upgrade    SIGUSR2, `fourseven upgrade`: a new engine (new code) takes over, the old one drains
    crash      the next engine gets what was in force, never an edit that nobody asked to load;
               at once, and ever later when it crashes in a loop
    stop       SIGTERM, SIGINT: drain until the deadline; a second signal cuts

Laws: reload, upgrade and restart never overlap (one lock). `_good` is what is in force, byte for
byte. A socket is given up only after an engine has said that the file in force does not name it.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fourseven.control import logs, remote
from fourseven.control.admin.names import ADMIN
from fourseven.control.channel import Message
from fourseven.control.child import Child
from fourseven.control.notify import Notifier
from fourseven.control.runtime import Runtime
from fourseven.control.sockets import Sockets
from fourseven.errors import FoursevenError
from fourseven.l4 import pins

BAD_CONFIG = 78  # EX_CONFIG of sysexits.h
FAILED = 1
# -P: the current directory is not a place to import from.
ENGINE = (sys.executable, "-P", "-m", "fourseven.control.engine")

LIVED_S = 10.0  # an engine that lived so long did not crash in a loop
FREE_RESTARTS = 3  # without delay: one crash is bad luck, and clients wait
DELAY_FIRST_S, DELAY_MAX_S = 0.25, 10.0
OVERTIME_S = 5.0  # after the deadline of a drain, before SIGKILL
LETS_GO_S, RETRY_S = 5.0, 0.5  # an orphaned engine closes its sockets two seconds after the end
TWICE_S = 0.5  # who signals a process and its whole group meant one signal, not two
DESCRIPTORS_MAX = 1 << 20  # two for each relayed connection; what a host grants by default


class Supervisor:
    """Runs one file until it is told to stop."""

    def __init__(
        self,
        file: Path,
        runtime: Runtime,
        notifier: Notifier,
        sockets: Sockets,
        command: Sequence[str] = ENGINE,
    ) -> None:
        self._file = file
        self._place = file.absolute()  # by which what was in force is remembered
        self._runtime = runtime
        self._notifier = notifier
        self._sockets = sockets
        self._home = pins.home_name(runtime.path.resolve())
        self._command = (*command, "--home", self._home, "--admin", str(runtime.admin.absolute()))
        self._lock = asyncio.Lock()
        self._children: set[Child] = set()
        self._current: Child | None = None
        self._good: bytes = b""
        self._secret = ""  # of cookies; every engine gets the same
        self._words: list[Any] = []  # an operator's, of the engine that was the last current one
        self._deadline_ms = 30_000
        self._crashes = 0
        self._restarts = 0
        self._stopping = False
        self._stopped_at = 0.0
        self._cut_by = 0
        self._gone = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> int:
        """Serves until the end; the exit code. Raises FoursevenError when it cannot begin."""
        self._runtime.claim()
        claimed = pins.claim(self._home)
        server = await remote.serve(self._runtime.control, self._answer)
        self._listen_to_signals()
        raise_descriptor_limit()
        try:
            if (problems := await self._start()) is not None:
                return problems
            if self._notifier.watchdog_s:
                self._spawn(self._watch(self._notifier.watchdog_s))
            await self._gone.wait()
            return 128 + self._cut_by if self._cut_by else 0
        finally:
            for child in self._children:
                child.kill()
            for task in self._tasks:
                task.cancel()
            server.close()
            if self._cut_by:
                await asyncio.to_thread(clean_kernel, self._home)
            if claimed is not None:
                claimed.close()
            self._sockets.close()
            self._runtime.release()

    # ---- the file ----

    async def _start(self) -> int | None:
        """Puts the file in force. An exit code when that cannot be."""
        self._secret = self._runtime.secret()
        async with self._lock:
            kept = self._runtime.remembered(self._place)
            if kept is not None:
                self._words = self._runtime.words(self._place)
            patience_s = LETS_GO_S if kept is not None else 0.0
            answer = await self._install_patiently(self._read(), patience_s)
            if answer.get("kind") == "config" and kept is not None:
                self._tell("config.refused", answer)
                logs.warn("config.last_good", file=self._file, why="the file has errors")
                answer = await self._install_patiently(kept, patience_s)
        if answer["type"] == "loaded":
            self._ready()
            return None
        if self._stopping:
            return 0
        if answer["type"] == "ended":
            raise FoursevenError("the engine ended while it started (see above)")
        for problem in answer["problems"]:
            print(problem, file=sys.stderr)
        return BAD_CONFIG if answer["kind"] == "config" else FAILED

    async def _install_patiently(self, raw: bytes | Message, patience_s: float) -> Message:
        """As `_install`; the engine of a killed predecessor may still hold the sockets."""
        until = time.monotonic() + patience_s
        while True:
            answer = await self._install(raw)
            if answer.get("kind") != "sockets" or self._stopping or time.monotonic() >= until:
                return answer
            await asyncio.sleep(RETRY_S)

    async def reload(self) -> Message:
        """Puts the file as it is now in force, or changes nothing."""
        began = time.monotonic()
        async with self._lock:
            self._notifier.reloading()
            raw = self._read()
            if self._current is None:  # it crashed, and the next one waits its turn
                answer = await self._install(raw)
            elif isinstance(raw, bytes):
                answer = await self._current.load(str(self._file), raw)
                self._settle(raw, answer)
            else:
                answer = raw
            self._ready()
        if answer["type"] == "loaded":
            logs.say("config.loaded", file=self._file, took_ms=_since(began))
        else:
            self._tell("config.refused", answer)
        return answer

    async def upgrade(self) -> Message:
        """A new engine takes the sockets; the old one drains once the new one serves."""
        async with self._lock:
            old = self._current
            answer = await self._install(self._read())
            if answer["type"] == "loaded" and old is not None and old.alive:
                logs.say("engine.replaced", old=old.pid, new=self._engine_pid())
                self._drain(old, keep=True)
            self._ready()
        if answer["type"] != "loaded":
            self._tell("upgrade.refused", answer)
        return answer

    def _keep_words(self, child: Child) -> None:
        """What an operator has said outlives us too, where it was to be kept."""
        if child is self._current:
            with contextlib.suppress(OSError):  # a full disk: the engines still hand them on
                self._runtime.keep_words(child.words, self._place)

    def _read(self) -> bytes | Message:
        """The file's bytes, or a refusal."""
        try:
            return self._file.read_bytes()
        except OSError as error:
            problem = f"{self._file}: it cannot be read: {error.strerror}"
            return {"type": "refused", "kind": "config", "problems": [problem]}

    async def _install(self, raw: bytes | Message) -> Message:
        """Starts an engine with this file and makes it the current one."""
        if not isinstance(raw, bytes):
            return raw
        child = Child(self._command, self._sockets, self._ended, self._keep_words)
        child.secret = self._secret
        if self._current is None:
            child.words = self._words
        else:  # an upgrade loads the file anew: what was said until then is over
            child.words = [word for word in self._current.words if word[-1] is not False]
        self._children.add(child)
        if self._stopping:
            child.drain(0, keep=False)
        answer = await child.load(str(self._file), raw)
        if not child.alive:
            answer = {"type": "ended"}
        if answer["type"] == "loaded":
            self._current = child
        else:
            child.kill()
        self._settle(raw, answer)
        return answer

    def _settle(self, raw: bytes, answer: Message) -> None:
        """What the supervisor keeps of an answer."""
        if answer["type"] == "loaded":
            self._good = raw
            self._deadline_ms = answer["shutdown_timeout_ms"]
            with contextlib.suppress(OSError):  # a full disk: the one in memory still counts
                self._runtime.remember(raw, self._place)
            for warning in answer["problems"]:
                logs.warn("config.warning", text=warning)
        if self._current is not None:
            self._sockets.keep(self._current.wants)
        elif not self._good:
            self._sockets.close()

    # ---- the engine's end ----

    def _ended(self, child: Child) -> None:
        self._children.discard(child)
        if child is self._current:
            self._current, self._words = None, child.words
            lived = asyncio.get_running_loop().time() - child.started
            self._crashes = 0 if lived >= LIVED_S else self._crashes
            if not self._stopping:
                self._spawn(self._revive())
        if self._stopping and not self._children:
            self._gone.set()

    async def _revive(self) -> None:
        """Starts engines until one lives."""
        while not self._stopping:
            delay_s = restart_delay_s(self._crashes)
            self._crashes += 1
            self._restarts += 1
            logs.fail("engine.restart", crashes=self._crashes, delay_s=delay_s)
            await asyncio.sleep(delay_s)
            async with self._lock:
                if self._current is not None or self._stopping:
                    return
                answer = await self._install(self._good)
            if answer["type"] == "loaded":
                self._ready()
                return
            self._tell("engine.refused", answer)

    # ---- the end of it all ----

    def stop(self, signum: int) -> None:
        """Drains; the second time, cuts."""
        if self._stopping:
            if time.monotonic() - self._stopped_at < TWICE_S:
                return
            logs.warn("stop.cut", signal=signal.Signals(signum).name)
            self._cut_by = signum
            for child in self._children:
                child.kill()
            return
        self._stopping = True
        self._stopped_at = time.monotonic()
        logs.say("stop.drain", signal=signal.Signals(signum).name, deadline_ms=self._deadline_ms)
        self._notifier.stopping("draining")
        for child in self._children:
            self._drain(child, keep=child is not self._current)
        self._spawn(self._stop_listening())
        if not self._children:
            self._gone.set()

    def _drain(self, child: Child, keep: bool) -> None:
        child.drain(self._deadline_ms, keep)
        wait_s = self._deadline_ms / 1000 + OVERTIME_S
        asyncio.get_running_loop().call_later(wait_s, child.kill)

    async def _stop_listening(self) -> None:
        """Once the engines have taken what was waiting: new connections are refused."""
        for child in tuple(self._children):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.draining.wait(), OVERTIME_S)
        self._sockets.close()

    # ---- who speaks to us ----

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.stop, signum)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self.reload()))
        loop.add_signal_handler(signal.SIGUSR1, self._reopen)
        loop.add_signal_handler(signal.SIGUSR2, lambda: self._spawn(self.upgrade()))

    def _reopen(self) -> None:
        for child in self._children:
            child.reopen()

    async def _answer(self, question: dict[str, Any]) -> remote.Answer:
        match question.get("command"):
            case "reload":
                return self._told(await self.reload())
            case "upgrade":
                return self._told(await self.upgrade())
            case "status":
                return {"code": 0, "lines": [], "status": self._status()}
            case unknown:
                return {"code": FAILED, "lines": [f"{unknown!r} is no command"]}

    def _told(self, answer: Message) -> remote.Answer:
        problems = answer.get("problems", [])
        if answer["type"] == "loaded":
            return {"code": 0, "lines": problems}
        if answer["type"] == "ended":
            problems = ["the engine ended while it loaded the file; what was in force is back"]
        config = answer.get("kind") == "config"
        return {"code": BAD_CONFIG if config else FAILED, "lines": problems}

    def _status(self) -> dict[str, Any]:
        wants = self._current.wants if self._current else ()
        return {
            "file": str(self._file),
            "engine": self._engine_pid(),
            "draining": sorted(c.pid for c in self._children if c is not self._current),
            "restarts": self._restarts,
            "listeners": [
                [w.listener, w.bind, self._sockets[w.key].address]
                for w in wants
                if w.listener != ADMIN
            ],
            "admin": [self._sockets[w.key].address for w in wants if w.listener == ADMIN],
        }

    def _engine_pid(self) -> int:
        return self._current.pid if self._current else 0

    def _ready(self) -> None:
        if self._stopping:
            return
        wants = self._current.wants if self._current else ()
        self._notifier.ready(f"{len(wants)} sockets, engine {self._engine_pid()}")

    def _tell(self, event: str, answer: Message) -> None:
        for problem in answer.get("problems", ["the engine ended"]):
            logs.fail(event, text=problem)

    async def _watch(self, every_s: float) -> None:
        """WATCHDOG=1 as long as the engine's control thread answers."""
        while True:
            child = self._current
            if child is None:
                self._notifier.alive()  # the restart is ours to care for, not systemd's
            else:
                child.pong.clear()
                child.channel.send({"type": "ping"})
            await asyncio.sleep(every_s)
            if child is not None and (child.pong.is_set() or not child.alive):
                self._notifier.alive()

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def clean_kernel(home: str) -> None:
    """What engines that were killed have left in the kernel goes."""
    from fourseven.control import remains  # the supervisor is small, and mostly needs none of it

    for found, _ in remains.found():
        if found.name == home:
            remains.clean(found)


def restart_delay_s(crashes: int) -> float:
    """How long the next engine waits after so many crashes in a row."""
    if crashes < FREE_RESTARTS:
        return 0.0
    doublings = min(crashes - FREE_RESTARTS, 10)  # beyond, the maximum holds anyway
    return float(min(DELAY_FIRST_S * 2**doublings, DELAY_MAX_S))


def raise_descriptor_limit() -> None:
    """To what the host allows; engines inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
