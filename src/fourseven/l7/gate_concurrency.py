"""The gate of a concurrency limit: so many requests of one key, or of the route, at once.

A key and its count are one word, so entering, leaving and giving a place to another key are each
one compare-and-swap. A word whose count is 0 is free for any key of its bucket. A new key enters
under the lock of its bucket, so that no key stands twice.

Laws: exact over all workers: nobody enters above the limit, not even for an instant. Who entered
leaves at the request's end, whatever that is; the note says which word. Where all eight places of a
bucket are in use by other keys the request is refused, and that is counted: letting it pass would
make a table that is full a way around the limit.
"""

import cython
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.gate_concurrency import (
    CONCURRENCY_BUCKET,
    CONCURRENCY_FIRST,
    CONCURRENCY_LOCKS,
    CONCURRENCY_MAX,
    CONCURRENCY_NO_ROOM,
    CONCURRENCY_REFUSED,
    CONCURRENCY_STATUS,
    CONCURRENCY_WHOLE,
    ConcurrencyTable,
)
from cython.cimports.fourseven.l7.gate_key import gate_key, seed_draw
from cython.cimports.fourseven.l7.gates import GATE_ANSWERED, GATE_PASS, gate_hold
from cython.cimports.fourseven.native.atomics import (
    count,
    fetch_add,
    load_relaxed,
    store_release_u32,
    swap_if,
    swap_if_u32,
)
from cython.cimports.fourseven.native.linux import sched_yield
from cython.cimports.fourseven.snapshot.layout import GATE_HEAD
from cython.cimports.fourseven.worker.worker import REASON_CONCURRENCY
from cython.cimports.libc.stdint import uint16_t, uint32_t, uint64_t

COUNT = cython.declare(uint64_t, 0xFFFF)
ALL_ONES = cython.declare(uint64_t, 0xFFFFFFFFFFFFFFFF)


def concurrency_ask(worker, session, gate):
    table: cython.pointer[ConcurrencyTable] = cython.cast(
        cython.pointer[ConcurrencyTable], gate.state
    )
    key: uint64_t = 0
    note: uint64_t
    if gate.key_count > 0:
        seed_draw(cython.address(table.seed))
        key = gate_key(cython.address(table.seed), gate, worker.request, worker.scratch)
    note = concurrency_enter(table, gate.state_size, key, gate.numbers[CONCURRENCY_MAX])
    if note == CONCURRENCY_NO_ROOM:
        count(cython.address(worker.counters.concurrency_untracked), 1)
    elif note != CONCURRENCY_REFUSED:
        if gate_hold(worker, session, gate, note):
            return GATE_PASS
        concurrency_leave(table, note)
    answer(
        worker,
        session,
        cython.cast(uint16_t, gate.numbers[CONCURRENCY_STATUS]),
        REASON_CONCURRENCY,
    )
    return GATE_ANSWERED


def concurrency_end(worker, session, held):
    concurrency_leave(cython.cast(cython.pointer[ConcurrencyTable], held.state), held.note)


def concurrency_enter(table, size, key, most):
    buckets: uint64_t = (size - GATE_HEAD) // (CONCURRENCY_BUCKET * cython.sizeof(uint64_t))
    first: cython.pointer[uint64_t] = cython.cast(
        cython.pointer[uint64_t], cython.cast(cython.p_char, table) + GATE_HEAD
    )
    bucket: cython.pointer[uint64_t]
    word: cython.pointer[uint64_t]
    lock: cython.pointer[uint32_t]
    owner: uint64_t = key & ~COUNT
    entered: uint64_t
    at: uint32_t
    if key == 0:
        entered = enter(cython.address(table.in_flight), 0, most)
        return CONCURRENCY_WHOLE if entered == 1 else CONCURRENCY_REFUSED
    bucket = first + (key % buckets) * CONCURRENCY_BUCKET
    word = find(bucket, owner)
    entered = 2
    if word is not cython.NULL:
        entered = enter(word, owner, most)
    if entered == 2:
        lock = cython.address(table.locks[key % buckets % CONCURRENCY_LOCKS])
        while not swap_if_u32(lock, 0, 1):
            sched_yield()
        word = find(bucket, owner)
        if word is not cython.NULL:
            entered = enter(word, owner, most)
        at = 0
        while entered == 2 and at < CONCURRENCY_BUCKET:
            word = bucket + at
            at += 1
            was: uint64_t = load_relaxed(word)
            if was & COUNT == 0 and swap_if(word, was, owner | 1):
                entered = 1
        store_release_u32(lock, 0)
    if entered == 2:
        return CONCURRENCY_NO_ROOM
    return (
        cython.cast(uint64_t, word - first) + CONCURRENCY_FIRST
        if entered == 1
        else CONCURRENCY_REFUSED
    )


def enter(word, owner, most):
    """1: entered, 0: the limit is reached, 2: the word has come to another key."""
    before: uint64_t
    while True:
        before = load_relaxed(word)
        if owner and before & ~COUNT != owner:
            return 2
        if (before & COUNT if owner else before) >= most:
            return 0
        if swap_if(word, before, before + 1):
            return 1


def find(bucket, owner):
    at: uint32_t
    for at in range(CONCURRENCY_BUCKET):
        if load_relaxed(bucket + at) & ~COUNT == owner:
            return bucket + at
    return cython.NULL


def concurrency_leave(table, note):
    first: cython.pointer[uint64_t] = cython.cast(
        cython.pointer[uint64_t], cython.cast(cython.p_char, table) + GATE_HEAD
    )
    if note == CONCURRENCY_WHOLE:
        fetch_add(cython.address(table.in_flight), ALL_ONES)
    else:
        fetch_add(first + (note - CONCURRENCY_FIRST), ALL_ONES)
