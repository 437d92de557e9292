"""The gate of a rate limit: a request passes if its key has a token left (rate_table).

What it may say to the client are the fields of draft-ietf-httpapi-ratelimit-headers-10: the policy
(what the file says) and where this key stands: how many it has left, and in how many seconds there
is one more. A refusal is 429 with Retry-After: the time after which the next one would pass, in
whole seconds, rounded up.
"""

import cython
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.gate_key import gate_key, seed_draw
from cython.cimports.fourseven.l7.gate_rate import (
    RATE_BURST_NS,
    RATE_DRY_RUN,
    RATE_FLAGS,
    RATE_HEADERS,
    RATE_INTERVAL_NS,
)
from cython.cimports.fourseven.l7.gates import GATE_ANSWERED, GATE_PASS, gate_say
from cython.cimports.fourseven.l7.output import Output, put_number, put_span, put_text
from cython.cimports.fourseven.l7.rate_table import Rate, RateTable, Taken, rate_take
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.worker.tools import NS_PER_S
from cython.cimports.fourseven.worker.worker import REASON_RATE
from cython.cimports.libc.stdint import uint32_t, uint64_t


def rate_ask(worker, session, gate):
    table: cython.pointer[RateTable] = cython.cast(cython.pointer[RateTable], gate.state)
    rate = cython.declare(Rate)
    taken: Taken = Taken(owed_ns=0, replaced=0)
    key: uint64_t = 0
    wait_ns: uint64_t
    rate.interval_ns = gate.numbers[RATE_INTERVAL_NS]
    rate.burst_ns = gate.numbers[RATE_BURST_NS]
    if gate.key_count > 0:
        seed_draw(cython.address(table.seed))
        key = gate_key(cython.address(table.seed), gate, worker.request, worker.scratch)
    wait_ns = rate_take(
        table, gate.state_size, key, cython.address(rate), worker.now_ns, cython.address(taken)
    )
    if taken.replaced:
        count(cython.address(worker.counters.rate_keys_replaced), taken.replaced)
    if gate.numbers[RATE_FLAGS] & RATE_HEADERS:
        say_limit(worker, session, gate, cython.address(rate), taken.owed_ns)
    if wait_ns == 0:
        return GATE_PASS
    if gate.numbers[RATE_FLAGS] & RATE_DRY_RUN:
        count(cython.address(worker.counters.rate_dry_run), 1)
        return GATE_PASS
    session.stream.retry_after_s = cython.cast(uint32_t, seconds_up(wait_ns))
    answer(worker, session, 429, REASON_RATE)
    return GATE_ANSWERED


def say_limit(worker, session, gate, rate, owed_ns):
    """`texts`: the policy with its parameters, and its name alone; both quoted already."""
    room = cython.declare(cython.char[160])
    to = cython.declare(Output)
    left: uint64_t = 0
    next_ns: uint64_t = 0
    if gate.text_count < 2:
        return
    if owed_ns < rate.burst_ns:
        left = (rate.burst_ns - owed_ns) // rate.interval_ns
    if (left + 1) * rate.interval_ns <= rate.burst_ns:
        next_ns = owed_ns + (left + 1) * rate.interval_ns - rate.burst_ns
    gate_say(worker, session, b"RateLimit-Policy", gate.texts[0].at, gate.texts[0].size)
    to = Output(at=cython.address(room[0]), size=0, capacity=cython.sizeof(room), full=0)
    put_span(cython.address(to), cython.address(gate.texts[1]))
    put_text(cython.address(to), b";r=")
    put_number(cython.address(to), left)
    put_text(cython.address(to), b";t=")
    put_number(cython.address(to), seconds_up(next_ns))
    if not to.full:
        gate_say(worker, session, b"RateLimit", to.at, to.size)


def seconds_up(ns):
    return (ns + NS_PER_S - 1) // NS_PER_S
