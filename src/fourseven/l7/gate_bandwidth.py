"""The gate of bandwidth: it lets every request pass, and gives its bodies their limits (`pace`).

Each direction has a bucket of its own, also where a key shares them: an upload takes nothing off
the downloads. A shared one stands in the table of rate limits (rate_table) with bytes for requests.

Law: a limit is never lifted for want of memory: without a record the request is answered 503.
"""

import cython
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.gate_bandwidth import (
    BANDWIDTH_BURST,
    BANDWIDTH_REQUEST,
    BANDWIDTH_RESPONSE,
    BANDWIDTH_SHARED,
    BURST_MIN_MS,
    BURST_MS,
)
from cython.cimports.fourseven.l7.gate_key import gate_key, seed_draw
from cython.cimports.fourseven.l7.gates import GATE_ANSWERED, GATE_PASS, gate_hold
from cython.cimports.fourseven.l7.pace import PIECE_MAX, PIECE_MIN
from cython.cimports.fourseven.l7.rate_table import RateTable
from cython.cimports.fourseven.l7.records import PACES_MAX, Pace, Shape
from cython.cimports.fourseven.l7.shape import shape_take
from cython.cimports.fourseven.worker.tools import NS_PER_S
from cython.cimports.fourseven.worker.worker import REASON_OURS
from cython.cimports.libc.stdint import uint32_t, uint64_t

# Apart from the key of the other direction; the key without parts is 1.
UPWARD = cython.declare(uint64_t, 0x9E3779B97F4A7C15)


def bandwidth_ask(worker, session, gate):
    table: cython.pointer[RateTable] = cython.cast(cython.pointer[RateTable], gate.state)
    shape: cython.pointer[Shape] = shape_take(worker, session)
    key: uint64_t = 0
    if shape is cython.NULL:
        answer(worker, session, 503, REASON_OURS)
        return GATE_ANSWERED
    if gate.numbers[BANDWIDTH_SHARED]:
        key = 1
        if gate.key_count > 0:
            seed_draw(cython.address(table.seed))
            key = gate_key(cython.address(table.seed), gate, worker.request, worker.scratch)
        if not gate_hold(worker, session, gate, 0):  # the compiler has seen to it that it can
            answer(worker, session, 503, REASON_OURS)
            return GATE_ANSWERED
    if gate.numbers[BANDWIDTH_RESPONSE]:
        add_pace(shape, gate, key, gate.numbers[BANDWIDTH_RESPONSE], False)
    if gate.numbers[BANDWIDTH_REQUEST]:
        key = 0 if key == 0 else (key ^ UPWARD) | 1
        add_pace(shape, gate, key, gate.numbers[BANDWIDTH_REQUEST], True)
    return GATE_PASS


def add_pace(shape, gate, key, rate, upward):
    pace: cython.pointer[Pace]
    burst: uint64_t = gate.numbers[BANDWIDTH_BURST]
    piece: uint64_t = rate // 16  # a turn of the timers
    if shape.pace_count == PACES_MAX:
        return  # the compiler refuses it
    piece = min(max(piece, cython.cast(uint64_t, PIECE_MIN)), cython.cast(uint64_t, PIECE_MAX))
    if burst == 0:
        burst = rate * BURST_MS // 1000
    burst = max(burst, max(rate * BURST_MIN_MS // 1000, piece))
    pace = cython.address(shape.paces[shape.pace_count])
    pace.rate = rate
    pace.burst_ns = burst * NS_PER_S // rate
    pace.due_ns = 0
    pace.ready_ns = 0
    pace.granted = 0
    pace.piece = cython.cast(uint32_t, piece)
    pace.upward = upward
    pace.table = cython.NULL
    if key != 0:
        pace.table = gate.state
        pace.table_size = gate.state_size
        pace.key = key
    shape.pace_count += 1
    shape.pace_up += upward
