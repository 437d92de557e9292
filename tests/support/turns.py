"""Waits until the workers of a data plane have done, and counted, all that had come to them.

A worker answers first and counts afterwards, and it learns of a new plan, or of a client that has
left, in its next turn. So what a test reads right after an answer may be of the moment before. After
`caught_up` it is not: a whole turn has been run since the call, and has met what had come until then.
"""

from __future__ import annotations

import time
from typing import Protocol

PATIENCE_S = 15.0  # a busy machine; then the reading is taken as it is: the test says what lacks
# A turn is counted when it has heard what came. So the first that is counted after the call may have
# listened before it; the second is whole, and the third says that the second is over.
TURNS = 3


class Turning(Protocol):
    def wake(self) -> None: ...
    def turns(self) -> list[int]: ...


def caught_up(plane: Turning) -> None:
    """Returns once every worker has ended a turn that began after this call."""
    until = time.monotonic() + PATIENCE_S
    for _ in range(TURNS):
        begun = plane.turns()
        plane.wake()
        while any(now == then for now, then in zip(plane.turns(), begun, strict=True)):
            if time.monotonic() > until:
                return
            time.sleep(0.0002)
