"""How many requests at once a service bears, from its latency: Gradient2.

Where a service has more to do than it can, requests queue inside it and the latency grows, while no
more of them get done. So the latency of now (short) is compared with that of the long run (long):
as long as their quotient is near 1 the limit grows a little, by the queue that it may have; where
the latency has grown, the limit shrinks by the same quotient, to a half at most at one step.

    gradient = clamp(tolerance * long / short, 0.5, 1)
    limit    = 0.8 * limit + 0.2 * (limit * gradient + queue)

Source: Netflix concurrency-limits, Gradient2Limit (2018, Apache 2.0), with its constants. Its
Javadoc says why the long run is an average and not a minimum: a minimum never forgets.

Laws: a limit that is not used up does not grow (half of it must have been in flight), or it would
mean nothing when the load comes. The long average falls quickly where it is far above the short
one: a service that has recovered is not measured by its bad time. Other than in the source, a
window in which the service was above tolerance moves it a tenth as much: under a load that never
ends the limit would else creep up with the latency that it causes itself. Pure: time and samples
are passed in.
"""

from __future__ import annotations

QUEUE = 4.0  # requests that may wait inside the service; Netflix's default
SMOOTHING = 0.2
LONG_WINDOWS = 600.0  # windows of the long average
WARM_WINDOWS = 10.0  # the first ones count evenly


def long_latency(long_ns: float, short_ns: float, windows: float, tolerance: float) -> float:
    """The long average after one more window; `windows` are those before it."""
    if windows < 1.0 or long_ns <= 0.0:
        return short_ns
    if windows < WARM_WINDOWS and short_ns <= tolerance * long_ns:
        return long_ns + (short_ns - long_ns) / (windows + 1.0)
    weight = 2.0 / (LONG_WINDOWS + 1.0)
    if short_ns > tolerance * long_ns:
        weight = weight / 10.0
    long_ns += (short_ns - long_ns) * weight
    return long_ns * 0.95 if long_ns > 2.0 * short_ns else long_ns


def next_limit(
    limit: float,
    short_ns: float,
    long_ns: float,
    in_flight: float,
    tolerance: float,
    low: float,
    high: float,
) -> float:
    """The limit after a window in which at most `in_flight` were at work."""
    gradient = 1.0
    if in_flight < limit / 2.0:
        return limit
    if short_ns > 0.0:
        gradient = tolerance * long_ns / short_ns
    gradient = 0.5 if gradient < 0.5 else (1.0 if gradient > 1.0 else gradient)
    limit = limit * (1.0 - SMOOTHING) + (limit * gradient + QUEUE) * SMOOTHING
    return low if limit < low else (high if limit > high else limit)
