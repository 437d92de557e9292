"""Figures of this process, as the kernel has them."""

from __future__ import annotations

import os
import resource
import time

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
START_FIELD = 19  # of /proc/self/stat behind the name: ticks from the boot to our start


def started_at() -> float:
    """Seconds since 1970, to a hundredth."""
    with open("/proc/self/stat", "rb") as stream:
        fields = stream.read().rpartition(b")")[2].split()
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[START_FIELD]) / TICKS
    return time.time() - age_s


def resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as stream:
        return int(stream.read().split()[1]) * PAGE


def cpu_s() -> float:
    """User and system time of all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
