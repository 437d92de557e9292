"""Starts the balancer on a configuration, and stops it by its process id.

`Balancer(config)` runs the data plane alone in a child process (support.engine); support.service
runs `fourseven run` with its supervisor. The configuration is a dictionary in the words of the file;
a listener gets a port that the kernel chose.

Law: the listening sockets are opened here and inherited, so that no port is ever guessed. A child
that dies is a failed test which names the signal and shows what it said last.
"""

from __future__ import annotations

import copy
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.wire import WAIT_S, Message, Wire

TESTS = Path(__file__).parent.parent
START_S = 20.0  # A cold start of Python with its imports on a busy machine.
STOP_S = 10.0
Config = dict[str, Any]


class Process:
    """A child process with its sockets and files, and what a test asks of it."""

    def __init__(self, config: Config) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="fourseven-test-")
        self.file = Path(self.folder.name, "fourseven.yaml")
        self.log = Path(self.folder.name, "stderr")
        self.sockets: dict[str, list[socket.socket]] = {}
        self.addresses: dict[str, tuple[str, int]] = {}
        self.config = copy.deepcopy(config)
        for name, listener in self.config["listeners"].items():
            self.open(name, listener)
        self.write(self.config)
        self.child: subprocess.Popen[bytes] | None = None

    def open(self, name: str, listener: Config) -> None:
        """Opens the listener's socket where its bind gives no port, and says which it is."""
        scheme, _, where = listener.pop("bind", "tcp://127.0.0.1").rpartition("://")
        host = where.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
        opened = socket.socket(family, kind)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the supervisor's
            opened.listen(1024)
        opened.setblocking(False)
        port = opened.getsockname()[1]
        self.sockets[name] = [opened]
        self.addresses[name] = (host, port)
        shown = f"[{host}]" if ":" in host else host
        listener["bind"] = f"{scheme or 'tcp'}://{shown}:{port}"

    def write(self, config: Config) -> Path:
        """Writes a configuration of the same listeners; their binds are filled in."""
        config = copy.deepcopy(config)
        for name, listener in config["listeners"].items():
            listener.setdefault("bind", self.config["listeners"][name]["bind"])
        self.file.write_text(yaml.safe_dump(config, sort_keys=False))
        return self.file

    def start(self, command: list[str], fds: list[int], **more: Any) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1"}
        if "FOURSEVEN_PRELOAD" in os.environ:  # a sanitizer's runtime (tools/sanitize.py)
            environment["LD_PRELOAD"] = os.environ["FOURSEVEN_PRELOAD"]
        environment.update(more.pop("environment", {}))
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                command,
                pass_fds=fds,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=self.folder.name,
                start_new_session=True,
                **more,
            )
        return self.child

    # ---- what a test asks ----

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    @property
    def address(self) -> tuple[str, int]:
        """The first listener's."""
        return next(iter(self.addresses.values()))

    def wire(self, listener: str | None = None, **more: Any) -> Wire:
        """A new raw connection."""
        return Wire(self.addresses[listener] if listener else self.address, **more)

    def ask(self, request: bytes, listener: str | None = None, **more: Any) -> Message:
        """One request on a connection of its own, and its whole answer."""
        with self.wire(listener, **more) as wire:
            wire.send(request)
            return wire.read(request.split(b" ")[0])

    def get(self, target: str = "/", *lines: str, **more: Any) -> Message:
        """A plain GET."""
        head = "".join(f"{line}\r\n" for line in ("Host: a", *lines))
        return self.ask(f"GET {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1"), **more)

    def alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def verify_alive(self) -> None:
        """Fails where the child has died, with its signal and its last words."""
        assert self.child is not None
        code = self.child.poll()
        if code is None:
            return
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        pytest.fail(f"the balancer died: {how}\n{self.last_words()}")

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def memory_kib(self) -> int:
        """Anonymous resident memory."""
        if "FOURSEVEN_SANITIZER" in os.environ:
            pytest.skip("a sanitizer's own memory hides that of the process")
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if "RssAnon" in line).split()[1])

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    # ---- the end ----

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.verify_alive()
        finally:
            self.stop()

    def stop(self) -> None:
        """Ends the child by its process id, and leaves nothing behind."""
        child, self.child = self.child, None
        if child is not None:
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    stream.close()
            if child.poll() is None and not self.ends_alone():
                child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                pytest.fail(f"the balancer did not end when asked to\n{self.last_words()}")
            finally:
                self.clean()
            if child.returncode not in (0, -signal.SIGTERM, *self.expected_codes()):
                pytest.fail(f"the balancer ended with {child.returncode}\n{self.last_words()}")
        else:
            self.clean()

    def ends_alone(self) -> bool:
        """Closing its standard input is enough."""
        return False

    def expected_codes(self) -> tuple[int, ...]:
        return ()

    def clean(self) -> None:
        for each in self.sockets.values():
            for opened in each:
                opened.close()
        self.folder.cleanup()


class Balancer(Process):
    """The data plane alone: `with Balancer(config) as balancer:`."""

    def __init__(self, config: Config, workers: int = 1, files_max: int = 0) -> None:
        super().__init__(config)
        fds = {name: [each.fileno() for each in opened] for name, opened in self.sockets.items()}
        numbers = [str(self.file), str(workers), str(files_max), json.dumps(fds)]
        flat = [fd for each in fds.values() for fd in each]
        self.start([sys.executable, "-m", "support.engine", *numbers], flat)
        try:
            assert self.read(START_S) == "ready"
        except BaseException:
            self.stop()
            raise

    def read(self, within_s: float) -> Any:
        """The child's next line."""
        assert self.child is not None
        assert self.child.stdout is not None
        ready, _, _ = select.select([self.child.stdout], [], [], within_s)
        line = self.child.stdout.readline() if ready else b""
        if not line:
            if ready:
                self.child.wait(STOP_S)
            self.verify_alive()
            pytest.fail(f"the balancer said nothing\n{self.last_words()}")
        return json.loads(line)

    def order(self, command: str, *arguments: Any) -> Any:
        """Runs one of the engine's commands and returns its answer."""
        assert self.child is not None
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps([command, *arguments]).encode() + b"\n")
        self.child.stdin.flush()
        return self.read(START_S)

    def counters(self) -> Any:
        """When the workers have caught up with what had come to them (see support.engine)."""
        return self.order("counters")

    def at_rest(self) -> Any:
        """The counters, once nothing is in flight and every request that has begun has ended.

        Read once more then: the parts of one reading are not of one moment, so those that were read
        before the last of them came to rest may lack its end. What a client has sent and the engine
        has not yet read is not in flight; so whoever waits for that waits for more than this.
        """
        until = time.monotonic() + WAIT_S
        while True:
            seen = self.counters()
            rows = [*seen["servers"].values(), *seen["backends"].values()]
            routes = seen["routes"].values()
            if not any(row["in_flight"] for row in rows) and all(
                row["begun"] == row["ended"] for row in routes
            ):
                return self.counters()
            assert time.monotonic() < until, seen

    def reload(self, config: Config) -> None:
        """Publishes another configuration of the same listeners."""
        self.order("reload", str(self.write(config)))

    def ends_alone(self) -> bool:
        return True


def site(*servers: str, **listener: Any) -> Config:
    """The smallest configuration: one listener `web`, all requests to these servers."""
    return {
        "listeners": {"web": {"protocol": "http", "routes": [{"backend": "all"}], **listener}},
        "backends": {"all": {"servers": list(servers)}},
    }
