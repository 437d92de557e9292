"""Short timeouts on a machine that stands still: a test of them is run again, if it stood.

A timeout of a few tenths of a second strikes rightly where nobody gets a processor for so long, and
then what the test had to show has not taken place: the client was to send within 300 ms, and it did
not. Such a test has failed through the machine, and `again` runs it anew.

Laws, so that it loosens nothing. It is for tests whose short timeout is itself what they judge; any
other gets a longer timeout, another order of events, or waits for its condition. The test says the
shortest timeout that its file sets, `@again(0.3)`, and another try is granted only where, within
some span of that length, somebody of the test was measured to stand still for half of it: less
cannot be why a timeout struck. Who fails on a machine that did not stand has failed at once, and
each try judges all that the first one does. TRIES of them, and no more.

Measured are the threads of this process and of its children (the servers and the client are here,
the balancer is there), by what the kernel counts for each: how long it was ready to run and had to
wait for a processor (/proc/<pid>/task/<tid>/schedstat). And since a machine can itself be stopped by
who runs it, which its kernel does not count, one of our threads sleeps for moments and sees how late
it wakes.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ParamSpec, Protocol

import pytest

P = ParamSpec("P")
TRIES = 4  # A fault of the product fails them all; so does a machine that never gets round to it.
SHARE = 0.5  # of the shortest timeout: the other half is what the exchange itself may take
STEP_S = 0.02  # between two looks; a small part of any timeout that is tested so


class Measured(Protocol):
    """What is known when the try is over."""

    longest_s: float


class Standstill:
    """`with Standstill(span_s) as seen:` and then `seen.longest_s`: for how long, within some span
    of that length, somebody of ours waited for a processor."""

    def __init__(self, span_s: float) -> None:
        self.span_s = span_s
        self.longest_s = 0.0
        self.kin = Kin()
        self.looks: deque[tuple[float, dict[str, float]]] = deque()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> Standstill:
        self.look(time.monotonic())
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def watch(self) -> None:
        """Looks now and then, and a last time when all is over."""
        ends = False
        while not ends:
            slept_at = time.monotonic()
            ends = self.over.wait(STEP_S)
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - slept_at - STEP_S)
            self.look(now)

    def look(self, now: float) -> None:
        waited = self.kin.waited()
        while len(self.looks) > 1 and self.looks[1][0] <= now - self.span_s:
            self.looks.popleft()
        if self.looks:
            before = self.looks[0][1]
            grown = (waited[task] - before.get(task, 0.0) for task in waited)
            self.longest_s = max([self.longest_s, *grown])
        self.looks.append((now, waited))


class Kin:
    """This process and its children."""

    def __init__(self) -> None:
        self.ours = {os.getpid()}
        self.others: set[int] = set()  # known not to be ours: they need not be looked at again

    def waited(self) -> dict[str, float]:
        """How long each thread of ours has waited for a processor in its life, in seconds."""
        self.find()
        found = {}
        for process in self.ours:
            with contextlib.suppress(OSError):  # it has ended just now
                for task in os.listdir(f"/proc/{process}/task"):
                    found[task] = waited(process, task)
        return found

    def find(self) -> None:
        for name in os.listdir("/proc"):
            if not name.isdecimal() or int(name) in self.ours | self.others:
                continue
            try:
                stat = Path("/proc", name, "stat").read_text()
            except OSError:
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            (self.ours if parent == os.getpid() else self.others).add(int(name))


def waited(process: int, task: str) -> float:
    try:
        counted = Path(f"/proc/{process}/task/{task}/schedstat").read_text()
    except OSError:
        return 0.0  # it has ended just now, or this kernel does not count it
    return int(counted.split()[1]) / 1e9


def again(
    shortest_s: float,
    measure: Callable[[float], AbstractContextManager[Measured]] = Standstill,
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """For a test of timeouts, the shortest of which is this: it is run anew where it has failed
    while somebody stood still for half as long."""

    def decorate(test: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            for left in reversed(range(TRIES)):
                try:
                    with measure(shortest_s) as seen:
                        test(*args, **kwargs)
                except (AssertionError, OSError, pytest.fail.Exception):
                    if not left or seen.longest_s < shortest_s * SHARE:
                        raise
                else:
                    return

        return run

    return decorate
