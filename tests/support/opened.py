"""What this process has open, by what each descriptor leads to: so that what is left can be named.

A number of descriptors proves little: something older may end between two counts (another thread, a
collection of garbage), and then a leak goes unseen, or a test fails that leaves nothing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
from collections import Counter

PATIENCE_S = 20.0


def opened() -> Counter[str]:
    """How often each file, socket, namespace, … is open."""
    found: Counter[str] = Counter()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself is closed by now
            found[os.readlink(f"/proc/self/fd/{fd}")] += 1
    return found


def left(before: Counter[str]) -> Counter[str]:
    """What is open now and was not before; threads that are about to close it get the time."""
    until = time.monotonic() + PATIENCE_S
    while True:
        gc.collect()
        found = opened() - before
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.02)
