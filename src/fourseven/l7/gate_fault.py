"""The gate of injected faults: a share of the requests is delayed, or answered with an error.

To find out before others do what a slow or failing service does to its callers. Delay and error are
drawn for themselves, so one request may get both. By a key the draw is a hash: the same client (or
header, or path) meets the same fault each time, on every worker and machine.

Laws: it is drawn once, before the delay; a delay waits by a timer and holds no server.
"""

import cython
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.gate_fault import (
    FAULT_ABORT_SHARE,
    FAULT_ABORTS,
    FAULT_DELAY_MS,
    FAULT_DELAY_SHARE,
    FAULT_STATUS,
)
from cython.cimports.fourseven.l7.gate_key import plain_key
from cython.cimports.fourseven.l7.gates import GATE_ANSWERED, GATE_PASS, GATE_WAIT
from cython.cimports.fourseven.l7.records import Stream
from cython.cimports.fourseven.matching.table import FIELD_HEADER, field_value
from cython.cimports.fourseven.snapshot.hashing import hash_number
from cython.cimports.fourseven.worker.tools import random_next
from cython.cimports.fourseven.worker.worker import REASON_INJECTED
from cython.cimports.libc.stdint import uint16_t, uint32_t, uint64_t

MILLION = cython.declare(uint64_t, 1000000)


def fault_ask(worker, session, gate):
    stream: cython.pointer[Stream] = session.stream
    if stream.gate_step == 0:
        if gate.text_count > 0:
            value = field_value(
                FIELD_HEADER, worker.request, cython.address(gate.texts[0]), worker.scratch
            )
            if value.at is cython.NULL:
                return GATE_PASS
        stream.gate_note = 0
        if falls(worker, gate, 1, gate.numbers[FAULT_ABORT_SHARE]):
            stream.gate_note = FAULT_ABORTS
        if falls(worker, gate, 2, gate.numbers[FAULT_DELAY_SHARE]):
            stream.gate_step = 1
            stream.gate_due_ms = worker.now_ms + gate.numbers[FAULT_DELAY_MS]
            return GATE_WAIT
    elif worker.now_ms < stream.gate_due_ms:
        return GATE_WAIT
    if stream.gate_note == FAULT_ABORTS:
        answer(worker, session, cython.cast(uint16_t, gate.numbers[FAULT_STATUS]), REASON_INJECTED)
        return GATE_ANSWERED
    return GATE_PASS


def falls(worker, gate, salt, share):
    drawn: uint64_t
    if share == 0:
        return False
    if gate.key_count == 0:
        drawn = random_next(worker)
    else:
        drawn = salt + plain_key(cython.address(gate.keys[0]), worker.request, worker.scratch)
    return (cython.cast(uint32_t, hash_number(drawn) >> 32) * MILLION) >> 32 < share
