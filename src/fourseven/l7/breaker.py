"""The circuits that a request passes: of its backend, and of its server (worker.circuit).

A circuit opens in the midst of a window, with the very request that tips it; ejection
(control.ejection) looks once a second and compares servers with each other, so a backend may have
both. A backend's own circuit is for what all its servers share: a database behind them that is
down.

Law: who finds out gives `probing` back, whatever becomes of it (`breaker_left`).
"""

import cython
from cython.cimports.fourseven.l7.breaker import PROBE_BACKEND, PROBE_SERVER
from cython.cimports.fourseven.l7.records import slot_of
from cython.cimports.fourseven.native.atomics import count, store_relaxed_u32
from cython.cimports.fourseven.snapshot.layout import BREAKER_BACKEND, BREAKER_SERVER, Resilience
from cython.cimports.fourseven.worker.circuit import circuit_lets, circuit_said
from cython.cimports.libc.stdint import uint32_t


def breaker_lets(worker, stream, slot):
    probes: cython.bint = False
    if not stream.backend.resilience.breaker_of & BREAKER_SERVER:
        return True
    if circuit_lets(worker, cython.address(slot.circuit), cython.address(probes)):
        if probes:
            stream.probe |= PROBE_SERVER
        return True
    stream.seen_open = 1
    return False


def backend_lets(worker, stream):
    probes: cython.bint = False
    if not stream.backend.resilience.breaker_of & BREAKER_BACKEND:
        return True
    circuit = cython.address(stream.backend.state.circuit)
    if not circuit_lets(worker, circuit, cython.address(probes)):
        return False
    if probes:
        stream.probe |= PROBE_BACKEND
        stream.backend_state = stream.backend.state  # that gets `probing` back
    return True


def breaker_said(worker, stream, good):
    rules: cython.pointer[cython.const[Resilience]]
    counters = cython.address(worker.backend_counters[stream.backend_number])
    probe: uint32_t = stream.probe
    if stream.backend is cython.NULL or stream.backend.resilience is cython.NULL:
        return
    rules = stream.backend.resilience
    stream.probe = 0
    if rules.breaker_of & BREAKER_SERVER and circuit_said(
        worker,
        cython.address(slot_of(worker, stream.slot).circuit),
        rules,
        probe & PROBE_SERVER,
        good,
    ):
        count(cython.address(counters.circuits_opened), 1)
    if rules.breaker_of & BREAKER_BACKEND and circuit_said(
        worker,
        cython.address(stream.backend.state.circuit),
        rules,
        probe & PROBE_BACKEND,
        good,
    ):
        count(cython.address(counters.backend_circuit_opened), 1)


def breaker_left(worker, stream):
    probe: uint32_t = stream.probe
    stream.probe = 0
    if probe & PROBE_SERVER:
        store_relaxed_u32(cython.address(slot_of(worker, stream.slot).circuit.probing), 0)
    if probe & PROBE_BACKEND:
        store_relaxed_u32(cython.address(stream.backend_state.circuit.probing), 0)
