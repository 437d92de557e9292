"""The peak-sensitive average of a server's response time, and the pick that uses it.

A worse answer counts at once, a better one only over time: so a server that gets slow loses its
work within one answer, and earns it back over seconds. While nobody asks it, its average decays,
so that it is asked again some day.

    sample >= average:  average = sample
    otherwise:          average = average * w + sample * (1 - w),   w = exp(-elapsed / DECAY)
    cost              = average * exp(-elapsed / DECAY) * (in flight + 1) / weight

The cheaper of two servers drawn by weight wins. A server without an average costs nothing while
it is idle, so that it is tried, and more than any known one while its first answer is awaited, so
that not everybody tries it.

Laws: Slot.ewma_ns and ewma_at_ns are written by every worker without a lock. Two answers at the
same instant may lose one sample, never make a value that nobody measured.

Source: Finagle's PeakEwma (twitter/finagle, loadbalancer/PeakEwma.scala), whose default decay of
10 s Linkerd shares.
"""

import cython
from cython.cimports.fourseven.balancing.picks.common import draw, in_flight, slot_number, slot_of
from cython.cimports.fourseven.native.atomics import load_relaxed, store_relaxed
from cython.cimports.libc.math import exp
from cython.cimports.libc.stdint import int32_t, uint64_t


def ewma_update(slot, sample_ns, now_ns):
    old: uint64_t = load_relaxed(cython.address(slot.ewma_ns))
    weight: cython.double
    if sample_ns < old:
        weight = kept(slot, now_ns)
        sample_ns = cython.cast(
            uint64_t,
            cython.cast(cython.double, old) * weight
            + cython.cast(cython.double, sample_ns) * (1.0 - weight),
        )
    # 0 means not known; an answer within a nanosecond was known all the same.
    store_relaxed(cython.address(slot.ewma_ns), sample_ns if sample_ns != 0 else 1)
    if now_ns > load_relaxed(cython.address(slot.ewma_at_ns)):
        store_relaxed(cython.address(slot.ewma_at_ns), now_ns)


def kept(slot, now_ns):
    """What part of the average is left after the time since its last change: 1 down to 0."""
    at_ns: uint64_t = load_relaxed(cython.address(slot.ewma_at_ns))
    if now_ns <= at_ns:  # another worker's clock was read later than ours
        return 1.0
    return exp(-cython.cast(cython.double, now_ns - at_ns) / (DECAY_MS * 1e6))


def cost(backend, pick, at):
    load: cython.double = cython.cast(cython.double, in_flight(backend, pick, at))
    average: uint64_t = load_relaxed(cython.address(slot_of(backend, pick, at).ewma_ns))
    if average == 0 and load > 0:
        return 1e30 * load  # ns; 3e13 years are above anything measured
    return (
        cython.cast(cython.double, average)
        * kept(slot_of(backend, pick, at), pick.now_ns)
        * (load + 1.0)
        / cython.cast(cython.double, backend.weights[at])
    )


def pick_peak_ewma(backend, pick):
    number: uint64_t = pick.random
    first: int32_t = draw(backend, pick, cython.address(number), -1)
    second: int32_t
    if first < 0 or backend.server_count == 1:
        return slot_number(backend, first)
    second = draw(backend, pick, cython.address(number), first)
    if second >= 0 and cost(backend, pick, second) < cost(backend, pick, first):
        return slot_number(backend, second)
    return slot_number(backend, first)


def peak_ewma() -> int:
    """The address of the native pick, for the compiler."""
    return cython.cast(cython.size_t, cython.cast(cython.p_void, pick_peak_ewma))
