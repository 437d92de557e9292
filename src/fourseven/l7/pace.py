"""Bodies at a rate: so many bytes a second, of one request or of all that share a key.

A token bucket as in rate_table: one word says when it will be full again. Before bytes go, a piece
of them is drawn, and the word moves on by the piece's time. Where that lies ahead of what the burst
allows, the piece is drawn all the same, and the stream sleeps until its turn has come: so nobody
asks again and again, those who share a bucket have their turns in the order in which they asked,
and in any t seconds no more than burst + rate * t goes, over all workers together. Where turns lie
far ahead, because many share the bucket, pieces become smaller.

A stream with several limits draws from each, and goes by the smallest. It sleeps by its own timer;
others of the same HTTP/2 connection do not notice, for it is simply a stream that has nothing to
say. Who holds back is neither the client nor the server, so no timeout of theirs runs meanwhile.

Laws: what was drawn stays the stream's until it is spent; a stream that ends has drawn at most one
piece that it did not send. There are no timers but one for each sleeping stream.
"""

import cython
from cython.cimports.fourseven.l7.pace import AHEAD_MS, CROWDED_MS, PIECE_MAX, PIECE_MIN
from cython.cimports.fourseven.l7.rate_table import Rate, RateTable, Taken, rate_take
from cython.cimports.fourseven.l7.records import Pace, Shape
from cython.cimports.fourseven.l7.shape import shape_wake
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.worker.tools import NS_PER_S
from cython.cimports.libc.stdint import uint32_t, uint64_t

NS_PER_MS = cython.declare(uint64_t, 1000000)


def pace_allow(worker, session, upward, wanted):
    shape: cython.pointer[Shape] = session.stream.shape
    pace: cython.pointer[Pace]
    at: uint32_t
    due_ns: uint64_t = 0
    bit: uint32_t = 1 << upward
    for at in range(shape.pace_count):
        pace = cython.address(shape.paces[at])
        if pace.upward != upward:
            continue
        if pace.granted == 0 and worker.now_ns >= pace.ready_ns:
            draw(worker, pace, min(wanted, pace.piece))
        due_ns = max(due_ns, pace.ready_ns)
        wanted = min(wanted, pace.granted)
    if due_ns > worker.now_ns:
        if not shape.stiff & bit:
            count(cython.address(worker.counters.bandwidth_waits), 1)
        shape.stiff |= bit
        shape_wake(worker, shape, due_ns // NS_PER_MS + 1)
        return 0
    shape.stiff &= ~bit
    return wanted


def pace_spend(shape, upward, size):
    pace: cython.pointer[Pace]
    at: uint32_t
    for at in range(shape.pace_count):
        pace = cython.address(shape.paces[at])
        if pace.upward == upward:
            pace.granted -= size


def draw(worker, pace, size):
    """The next piece, and when it may go."""
    wait_ns: uint64_t = reserve(worker, pace, size)
    pace.ready_ns = worker.now_ns + wait_ns
    if wait_ns > CROWDED_MS * NS_PER_MS and pace.table is not cython.NULL:
        pace.piece = max(pace.piece // 2, cython.cast(uint32_t, PIECE_MIN))
    elif wait_ns == 0 and pace.table is not cython.NULL:
        pace.piece = min(2 * pace.piece, cython.cast(uint32_t, PIECE_MAX))


def reserve(worker, pace, size):
    """Moves the bucket on; the wait until it has really filled so far.

    Where turns are given out for a minute already nothing is granted: it is asked again then.
    """
    rate = cython.declare(Rate)
    taken: Taken = Taken(owed_ns=0, replaced=0)
    wait_ns: uint64_t
    cost_ns: uint64_t = (size * NS_PER_S + pace.rate - 1) // pace.rate
    if pace.table is cython.NULL:
        pace.due_ns = max(pace.due_ns, worker.now_ns) + cost_ns
        taken.owed_ns = pace.due_ns - worker.now_ns
    else:
        rate.interval_ns = cost_ns
        rate.burst_ns = pace.burst_ns + AHEAD_MS * NS_PER_MS
        wait_ns = rate_take(
            cython.cast(cython.pointer[RateTable], pace.table),
            pace.table_size,
            pace.key,
            cython.address(rate),
            worker.now_ns,
            cython.address(taken),
        )
        if taken.replaced:
            count(cython.address(worker.counters.rate_keys_replaced), taken.replaced)
        if wait_ns > 0:
            return wait_ns
    pace.granted = size
    return taken.owed_ns - pace.burst_ns if taken.owed_ns > pace.burst_ns else 0
