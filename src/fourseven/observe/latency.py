"""Quantiles out of the workers' histograms (worker/latency.pxd): two classes for each doubling.

A quantile is told as a point within its class, in proportion to how many lie below it, so it is
wrong by a quarter at most.
"""

from __future__ import annotations

from collections.abc import Sequence

from fourseven.worker.worker import LATENCIES


def _bound_s(number: int) -> float:
    """The upper bound of a class, in seconds."""
    if number == 0:
        return 2**14 / 1e9
    doublings, half = divmod(number - 1, 2)
    nanoseconds: float = (1.5 if half == 0 else 2) * 2 ** (14 + doublings)
    return nanoseconds / 1e9


BOUNDS_S = tuple(_bound_s(number) for number in range(LATENCIES - 1))  # the last one has none


def quantile_s(counts: Sequence[int], share: float) -> float | None:
    """The duration that this share of all stays below; None where there are none."""
    total = sum(counts)
    if total <= 0:
        return None
    wanted = share * total
    below = 0
    for number, count in enumerate(counts):
        if count > 0 and below + count >= wanted:
            lower = BOUNDS_S[number - 1] if number else 0.0
            upper = BOUNDS_S[number] if number < len(BOUNDS_S) else lower
            return lower + (upper - lower) * (wanted - below) / count
        below += count
    return BOUNDS_S[-1]
