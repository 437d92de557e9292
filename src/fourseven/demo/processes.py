"""Child processes: pinned to a core, measured through /proc, and stopped by their ids.

A proxy may be one process or a master with workers, so every figure is a sum over the tree below
the process that was started. CPU time is the scheduler's own run time (schedstat, nanoseconds);
where the kernel keeps none, the ticks of stat. On loopback the receiving half of the TCP stack runs
in the sender's system call, so a proxy's time holds what its own sends cost the receiver's socket,
and the same is true of each peer.

Laws: nothing is stopped by name. `stop` returns only when the whole tree is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from fourseven.errors import FoursevenError

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
STOP_PATIENCE_SECONDS = 5.0  # a drain without connections takes far less; then SIGKILL
PR_SET_PDEATHSIG = 1
START_PATIENCE_SECONDS = 30.0  # 10,000 routes are compiled before the first accept


class Failed(FoursevenError):
    """A process that the demo or the benchmark needs did not do what it should."""


class Child:
    """A child process, on given cores if any are given, with its words in a log."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        cores: Iterable[int] = (),
        environment: Mapping[str, str] | None = None,
        speaks: bool = False,  # its output is read line by line; else it goes to the log
        patience_seconds: float = STOP_PATIENCE_SECONDS,
    ) -> None:
        chosen = set(cores) or os.sched_getaffinity(0)
        prctl = ctypes.CDLL(None).prctl

        def before_exec() -> None:
            os.sched_setaffinity(0, chosen)  # before the first thread
            prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # even if we are killed, it is told to end

        self.command = list(command)
        self.log = log
        self.patience_seconds = patience_seconds
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,  # its end is how our own servers know that we are gone
                stdout=subprocess.PIPE if speaks else errors,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                preexec_fn=before_exec,  # noqa: PLW1509 (no threads here)
                start_new_session=True,  # Ctrl-C comes to us alone, and we stop it
            )

    def read_line(self) -> str:
        """The next line of its output; raises with the log when it ended without one."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode().strip()
        if not line:
            raise Failed(f"{' '.join(self.command)} said nothing:\n{self.log_tail()}")
        return line

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def wait_for_port(self, port: int, address: str = "127.0.0.1") -> None:
        """Returns once something answers on the port; raises with the log when it ended."""

        def listens() -> bool:
            with contextlib.suppress(OSError):
                socket.create_connection((address, port), timeout=1).close()
                return True
            return False

        self.wait_until(listens, f"does not listen on {port}")

    def wait_for_words(self, words: str) -> None:
        """Returns once its log has them."""
        told = words.encode()
        self.wait_until(lambda: told in self.log.read_bytes(), f"did not say {words}")

    def wait_until(self, ready: Callable[[], bool], failure: str) -> None:
        until = time.monotonic() + START_PATIENCE_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            if ready():
                return
            time.sleep(0.02)
        raise Failed(f"{' '.join(self.command)} {failure}:\n{self.log_tail()}")

    def pids(self) -> list[int]:
        return tree(self.process.pid)

    def cpu_us(self) -> float:
        return sum(cpu_us(pid) for pid in self.pids())

    def memory(self) -> int:
        """Resident bytes of the tree, shared pages counted once (PSS) where the kernel tells."""
        return sum(memory(pid) for pid in self.pids())

    def stop(self) -> None:
        pids = self.pids()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self.patience_seconds)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        wait_gone(pids)


def tree(root: int) -> list[int]:
    """The process and all below it; empty when it is gone."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [root] if stat(root) else []
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(children.get(pid, ()))
    return found


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (the name may hold blanks); empty if gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    fields = text.rpartition(")")[2].split()
    return [] if fields[0] == "Z" else fields


def cpu_us(pid: int) -> float:
    """Microseconds of CPU, user and system, over all threads of one process."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000
    except OSError:
        fields = stat(pid)
        return (int(fields[11]) + int(fields[12])) * TICK_US if fields else 0.0


def memory(pid: int) -> int:
    """Bytes: PSS, or RSS where smaps_rollup may not be read."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        fields = stat(pid)
        return int(fields[21]) * PAGE if fields else 0


def wait_gone(pids: Iterable[int]) -> None:
    """Returns when none of the processes is left (they are not all our children)."""
    until = time.monotonic() + STOP_PATIENCE_SECONDS
    left = list(pids)
    while left and time.monotonic() < until:
        left = [pid for pid in left if stat(pid)]
        time.sleep(0.01)
    if left:
        raise Failed(f"still there after SIGKILL: {left}")


def open_files() -> int:
    """Raises our limit of descriptors, and so our children's, as far as it may go; says how far."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
