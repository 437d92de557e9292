"""`fourseven run` as a service manager runs it: started, watched, signalled, and stopped by its id.

`Service(config)` writes the file, starts the supervisor, and waits until it says READY=1 (the test
is the service manager: it owns $NOTIFY_SOCKET). A listener without `bind` gets port 0, and
`address` says which port it has become.
"""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from fourseven.control import remote
from fourseven.demo.processes import stat
from support.wire import Message, Wire

START_S = 30.0  # a cold start of Python with its imports on a busy machine
Config = dict[str, Any]


def answering(body: str, **listener: Any) -> Config:
    """One listener `web` that answers by itself."""
    respond = {"filters": [{"respond": {"status": 200, "body": body}}]}
    return {"listeners": {"web": {"protocol": "http", "routes": [respond], **listener}}}


def proxying(*servers: str, **more: Any) -> Config:
    """One listener `web`, all requests to these servers."""
    listener = {"protocol": "http", "routes": [{"backend": "all"}]}
    return {"listeners": {"web": listener}, "backends": {"all": {"servers": list(servers)}}, **more}


def settled(look: Callable[[], bool], within_s: float = 30.0) -> bool:
    """Whether it comes true in time; for what gives no sign when it does."""
    until = time.monotonic() + within_s
    while not look():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def own_host() -> str:
    """A loopback address of this process alone: a port that is given up there is nobody else's, and
    one that was bound can be bound again."""
    pid = os.getpid()
    return f"127.{47 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}"


class Service:
    """A running supervisor with its engine."""

    def __init__(
        self,
        config: Config | str,
        *,
        wait: bool = True,
        environment: dict[str, str] | None = None,
        fds: list[int] | None = None,
        launcher: list[str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._own = None if folder else tempfile.TemporaryDirectory(prefix="fourseven-run-")
        self.folder = folder or Path(self._own.name)  # type: ignore[union-attr]
        self.file = self.folder / "fourseven.yaml"
        self.runtime = self.folder / "run"
        self.log = self.folder / "log"
        self.write(config)
        self.said: list[str] = []  # what the service manager was told
        notify = self.folder / "notify"
        notify.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(notify))
        preload = os.environ.get("FOURSEVEN_PRELOAD")  # a sanitizer's runtime (tools/sanitize.py)
        command = ["-m", "fourseven", "run", str(self.file), "--runtime-dir", str(self.runtime)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*(launcher or [sys.executable]), *command],
                stdin=subprocess.DEVNULL,
                stderr=log,
                pass_fds=fds or [],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "NOTIFY_SOCKET": str(notify),
                    **({"LD_PRELOAD": preload} if preload else {}),
                    **(environment or {}),
                },
            )
        if wait:
            try:
                self.told("READY=1")
            except BaseException:
                self.stop()
                raise

    # ---- what it is told ----

    def write(self, config: Config | str) -> None:
        if not isinstance(config, str):
            config = copy.deepcopy(config)
            for listener in config["listeners"].values():
                listener.setdefault("bind", "127.0.0.1:0")
            config = yaml.safe_dump({"workers": 2, **config}, sort_keys=False)
        fresh = self.file.with_suffix(".fresh")
        fresh.write_text(config)
        fresh.rename(self.file)

    def ask(self, command: str) -> remote.Answer:
        return remote.ask(self.runtime / "control.sock", {"command": command})

    def reload(self, config: Config | str | None = None) -> remote.Answer:
        if config is not None:
            self.write(config)
        return self.ask("reload")

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    # ---- what it says ----

    def told(self, state: str, within_s: float = START_S) -> str:
        """Waits until the service manager is told this; the whole message."""
        until = time.monotonic() + within_s
        while True:
            self._notify.settimeout(max(until - time.monotonic(), 0.001))
            try:
                message = self._notify.recv(4096).decode()
            except TimeoutError:
                raise AssertionError(f"never said {state}: {self.said}\n{self.words()}") from None
            self.said.append(message)
            if state in message.split("\n"):
                return message

    def status(self) -> dict[str, Any]:
        return self.ask("status")["status"]

    def address(self, listener: str = "web") -> tuple[str, int]:
        found = next(a for name, _, a in self.status()["listeners"] if name == listener)
        host, _, port = found.partition("://")[2].rpartition(":")
        return host.strip("[]"), int(port)

    def engine(self) -> int:
        """The process id of the engine; waits for one while there is none."""
        until = time.monotonic() + START_S
        while not (pid := int(self.status()["engine"])):
            assert time.monotonic() < until, f"no engine came back\n{self.words()}"
            time.sleep(0.01)
        return pid

    def get(self, address: tuple[str, int], target: str = "/") -> Message:
        with Wire(address, timeout_s=60) as wire:  # it may wait for the next engine
            wire.send(b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target.encode())
            return wire.read(b"GET")

    def words(self) -> str:
        return self.log.read_text(errors="replace")

    def descriptors(self, pid: int) -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    # ---- the end ----

    def wait(self, within_s: float = 30.0) -> int:
        return self.process.wait(within_s)

    def stop(self) -> None:
        """Ends it, with its engines, whatever state it is in."""
        if self.process.poll() is None:
            engines = self._engines()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self._cut(engines)
        self._notify.close()
        log = self.log.read_text(errors="replace")
        if self._own is not None:
            self._own.cleanup()
        assert "Traceback (most recent call last)" not in log, log
        assert "Error in sys.excepthook" not in log, log  # of an object that Python's end found

    def kill(self) -> None:
        """The supervisor and its engine at once, and both are gone when this returns."""
        pids = [self.process.pid, self.engine()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        assert settled(lambda: not any(map(stat, pids)), START_S)

    def _engines(self) -> list[int]:
        try:
            status = self.status()
        except Exception:
            return []  # it is in no state to answer
        return [pid for pid in (status["engine"], *status["draining"]) if pid]

    def _cut(self, engines: list[int]) -> None:
        self.process.kill()
        self.process.wait()
        for pid in engines:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
