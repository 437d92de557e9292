"""Picks by live counters: the least loaded of all, and the less loaded of two.

The load of a server is in_flight / weight, compared by cross multiplication. The counts are
exact over all workers: each worker adds to the same Slot.

Least of all: one scan. Ties are frequent (an idle backend is one great tie) and must not fall on
the first in the file: they are shared by weight in a golden-ratio sequence over the backend's
cursor, which spreads evenly whatever the number of ties (Weyl's equidistribution).

Of two (Mitzenmacher 2001): two different servers drawn by weight, the less loaded wins. Costs the
same with 3 servers and with 3,000, and has no herd: many balancers with old news would all run to
the one least loaded server.

Limits: weights and counts each stay below 2^32, so that their product fits 64 bits.
"""

import cython
from cython.cimports.fourseven.balancing.picks.common import (
    available,
    draw,
    in_flight,
    slot_number,
    spared,
)
from cython.cimports.fourseven.native.atomics import fetch_add
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t


def pick_least(backend, pick):
    number: int32_t = least_of(backend, pick, True)
    return number if number >= 0 else least_of(backend, pick, False)


def least_of(backend, pick, sparing):
    """As pick_least; `sparing`: servers that start slowly are left out for a part of the picks."""
    at: uint32_t
    best: int32_t = -1
    best_load: uint64_t = 0
    load: uint64_t
    ours: uint64_t
    theirs: uint64_t
    tied: uint64_t = 0  # weight of those that are as good as the best
    single: cython.bint = True
    left: uint64_t
    for at in range(backend.server_count):
        if not available(backend, pick, at):
            continue
        if sparing and spared(backend, pick, at, pick.random):
            continue
        load = in_flight(backend, pick, at)
        if best >= 0:
            ours = load * backend.weights[best]
            theirs = best_load * backend.weights[at]
            if ours > theirs:
                continue
            if ours == theirs:
                tied += backend.weights[at]
                single = False
                continue
        best = at
        best_load = load
        tied = backend.weights[at]
        single = True
    if best < 0 or single:
        return slot_number(backend, best)
    left = fetch_add(cython.address(backend.state.cursor), 1) * cython.cast(
        uint64_t, 0x9E3779B97F4A7C15
    )
    left = cython.cast(uint64_t, cython.cast(cython.double, left >> 11) * 2.0**-53 * tied)
    for at in range(cython.cast(uint32_t, best), backend.server_count):
        # The counts may have moved since; a place in the old tie is still a fair choice.
        if not available(backend, pick, at):
            continue
        if sparing and spared(backend, pick, at, pick.random):
            continue
        load = in_flight(backend, pick, at)
        if load * backend.weights[best] != best_load * backend.weights[at]:
            continue
        if left < backend.weights[at]:
            return slot_number(backend, at)
        left -= backend.weights[at]
    return slot_number(backend, best)


def pick_of_two(backend, pick):
    number: uint64_t = pick.random
    first: int32_t = draw(backend, pick, cython.address(number), -1)
    second: int32_t
    if first < 0 or backend.server_count == 1:
        return slot_number(backend, first)
    second = draw(backend, pick, cython.address(number), first)
    if second < 0:
        return slot_number(backend, first)
    if (
        cython.cast(uint64_t, in_flight(backend, pick, second)) * backend.weights[first]
        < cython.cast(uint64_t, in_flight(backend, pick, first)) * backend.weights[second]
    ):
        return slot_number(backend, second)
    return slot_number(backend, first)


def least() -> int:
    """The address of the native pick, for the compiler."""
    return cython.cast(cython.size_t, cython.cast(cython.p_void, pick_least))


def of_two() -> int:
    """The address of the native pick, for the compiler."""
    return cython.cast(cython.size_t, cython.cast(cython.p_void, pick_of_two))
