"""A circuit: closed, open after too many errors, half open to find out.

    closed     errors are counted in windows; enough requests with too many errors open it
    open       nothing goes there until `open_until_ms`
    half open  one request goes there, whoever comes first of all workers; if it is answered well
               the circuit closes, if not it is open again

The counts are those of all workers together, in the server's slot or the backend's state.

Law: the window and its counts are three words that several workers write. At a window's turn a few
counts may go to the wrong side; the order of tens of requests is what is decided here.
"""

import cython
from cython.cimports.fourseven.native.atomics import (
    fetch_add_u32,
    load_relaxed,
    store_relaxed,
    store_relaxed_u32,
    swap_if,
    swap_if_u32,
)
from cython.cimports.libc.stdint import uint32_t, uint64_t


def circuit_lets(worker, circuit, probes):
    until_ms: uint64_t = load_relaxed(cython.address(circuit.open_until_ms))
    if until_ms == 0:
        return True
    if worker.now_ms >= until_ms and swap_if_u32(cython.address(circuit.probing), 0, 1):
        probes[0] = True
        return True
    return False


def circuit_said(worker, circuit, rules, probes, good):
    began_ms: uint64_t
    seen: uint32_t
    bad: uint32_t
    if probes:
        if good:
            store_relaxed(cython.address(circuit.open_until_ms), 0)
        else:
            open_circuit(worker, circuit, rules)
        store_relaxed_u32(cython.address(circuit.probing), 0)
        return not good
    if load_relaxed(cython.address(circuit.open_until_ms)):
        return False  # a request from before it opened
    began_ms = load_relaxed(cython.address(circuit.window_ms))
    if worker.now_ms >= began_ms + rules.breaker_window_ms and swap_if(
        cython.address(circuit.window_ms), began_ms, worker.now_ms
    ):
        store_relaxed_u32(cython.address(circuit.window_all), 0)
        store_relaxed_u32(cython.address(circuit.window_bad), 0)
    seen = fetch_add_u32(cython.address(circuit.window_all), 1) + 1
    if good:
        return False
    bad = fetch_add_u32(cython.address(circuit.window_bad), 1) + 1
    if seen < rules.breaker_requests or bad * 100 < seen * rules.breaker_percent:
        return False
    open_circuit(worker, circuit, rules)
    return True


def open_circuit(worker, circuit, rules):
    store_relaxed(cython.address(circuit.open_until_ms), worker.now_ms + rules.breaker_open_ms)
    store_relaxed_u32(cython.address(circuit.window_all), 0)
    store_relaxed_u32(cython.address(circuit.window_bad), 0)
