"""A circuit for each server: closed, open after too many errors, half open to find out.

    closed     errors are counted in windows; enough requests with too many errors open it
    open       no request goes there until `broken_until_ms`
    half open  one request goes there, whoever comes first of all workers; if it is answered well
               the circuit closes, if not it is open again

The counts are those of all workers together, in the server's slot. A circuit opens in the midst of
a window, with the very request that tips it; ejection (control.ejection) looks once a second and
compares servers with each other, so a backend may have both.

Laws: the window and its counts are three words that several workers write. At a window's turn a few
counts may go to the wrong side; the order of tens of requests is what is decided here.
"""

import cython
from cython.cimports.fourseven.l7.records import slot_of
from cython.cimports.fourseven.native.atomics import (
    count,
    fetch_add_u32,
    load_relaxed,
    load_relaxed_u32,
    store_relaxed,
    store_relaxed_u32,
    swap_if,
    swap_if_u32,
)
from cython.cimports.fourseven.snapshot.layout import Resilience, Slot
from cython.cimports.libc.stdint import uint32_t, uint64_t


def breaker_lets(worker, stream, slot):
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    until_ms: uint64_t
    if rules.breaker_percent == 0:
        return True
    until_ms = load_relaxed(cython.address(slot.broken_until_ms))
    if until_ms == 0:
        return True
    if worker.now_ms >= until_ms and swap_if_u32(cython.address(slot.probing), 0, 1):
        stream.probe = 1
        return True
    stream.seen_open = 1
    return False


def breaker_said(worker, stream, good):
    slot: cython.pointer[Slot] = slot_of(worker, stream.slot)
    began_ms: uint64_t
    seen: uint32_t
    bad: uint32_t
    if stream.backend is cython.NULL or stream.backend.resilience is cython.NULL:
        return
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    if rules.breaker_percent == 0:
        return
    if stream.probe:
        stream.probe = 0
        if good:
            store_relaxed(cython.address(slot.broken_until_ms), 0)
        else:
            open_circuit(worker, stream, slot, rules)
        store_relaxed_u32(cython.address(slot.probing), 0)
        return
    if load_relaxed(cython.address(slot.broken_until_ms)):
        return  # a request from before it opened
    began_ms = load_relaxed(cython.address(slot.window_ms))
    if worker.now_ms >= began_ms + rules.breaker_window_ms and swap_if(
        cython.address(slot.window_ms), began_ms, worker.now_ms
    ):
        store_relaxed_u32(cython.address(slot.window_all), 0)
        store_relaxed_u32(cython.address(slot.window_bad), 0)
    seen = fetch_add_u32(cython.address(slot.window_all), 1) + 1
    bad = load_relaxed_u32(cython.address(slot.window_bad))
    if not good:
        bad = fetch_add_u32(cython.address(slot.window_bad), 1) + 1
        if seen >= rules.breaker_requests and bad * 100 >= seen * rules.breaker_percent:
            open_circuit(worker, stream, slot, rules)


def open_circuit(worker, stream, slot, rules):
    store_relaxed(cython.address(slot.broken_until_ms), worker.now_ms + rules.breaker_open_ms)
    store_relaxed_u32(cython.address(slot.window_all), 0)
    store_relaxed_u32(cython.address(slot.window_bad), 0)
    count(cython.address(worker.backend_counters[stream.backend_number].circuits_opened), 1)


def breaker_left(worker, stream):
    if stream.probe:
        stream.probe = 0
        store_relaxed_u32(cython.address(slot_of(worker, stream.slot).probing), 0)
