"""An event loop whose clock jumps to the next timer instead of waiting for it.

    play(scene)      runs a coroutine function to its end; `asyncio.sleep(30)` in it takes no time

Sockets are served as they are ready; only when nothing is, time goes on.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any


class Selector(selectors.DefaultSelector):
    loop: Any = None

    def select(self, timeout: float | None = None):
        ready = super().select(0)
        if not ready and timeout:
            self.loop.now += timeout
        return ready


class Loop(asyncio.SelectorEventLoop):
    now = 1000.0

    def __init__(self) -> None:
        selector = Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def play(scene: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Runs it in virtual time."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(scene(*arguments))  # type: ignore[arg-type]
