"""Who may come in, by address: what is denied first, then what is allowed.

The plan's texts are sorted ranges of addresses (first and last, 16 bytes each), as a match has
them; its number says whether there is a list of allowed ones.
"""

import cython
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.gates import GATE_ANSWERED, GATE_PASS
from cython.cimports.fourseven.worker.worker import REASON_DENIED
from cython.cimports.libc.stdint import uint8_t, uint32_t
from cython.cimports.libc.string import memcmp


def access_ask(worker, session, gate):
    client: cython.pointer[cython.const[uint8_t]] = cython.address(worker.request.client.bytes[0])
    denied: cython.bint = ranges_hold(cython.address(gate.texts[0]), client)
    if denied or (gate.numbers[0] and not ranges_hold(cython.address(gate.texts[1]), client)):
        answer(worker, session, 403, REASON_DENIED)
        return GATE_ANSWERED
    return GATE_PASS


def ranges_hold(ranges, address):
    low: uint32_t = 0
    high: uint32_t = ranges.size // 32
    middle: uint32_t
    pair: cython.p_const_char
    while low < high:
        middle = low + (high - low) // 2
        pair = ranges.at + middle * 32
        if memcmp(address, pair, 16) < 0:
            high = middle
        elif memcmp(address, pair + 16, 16) > 0:
            low = middle + 1
        else:
            return True
    return False
