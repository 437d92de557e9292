"""Token buckets by key, exact over all workers: GCRA in one word, keys in a bounded table.

The generic cell rate algorithm (ITU-T I.371) is a token bucket told as one time: when the bucket
will be full again. A request moves that time on by one interval; it is refused where the time would
then lie further ahead than the burst allows. So a bucket is one 64-bit word, and taking from it is
one compare-and-swap, whoever else is at it: no lock, no timer that refills, nothing lost.

Keys stand in buckets of eight entries. A key that is there is found and served without a lock. A
new one takes the place of an empty entry, or of one whose time is past (its bucket is full: it is
as if it had never come), so idle keys need no sweep. Where all eight still count, the one that
would be full soonest makes room, and that is counted: it forgets what its client has used.

A bucket can be no emptier than empty: what a smaller rate has left behind, before the file was
loaded anew with a larger one, counts as one burst that is used up.

Laws: only a holder of the bucket's lock writes keys, so that no key stands twice. An entry that
changes its owner is nobody's while its time is swapped: a taker reads the time, then the key, then
swaps the time, so that one of the two fails and looks anew. What is refused takes nothing.
"""

import cython
from cython.cimports.fourseven.l7.rate_table import (
    BUCKET,
    CLOCKS_APART_NS,
    LOCKS,
    RateEntry,
)
from cython.cimports.fourseven.native.atomics import (
    load_acquire,
    load_relaxed,
    store_release,
    store_release_u32,
    swap_if,
    swap_if_u32,
)
from cython.cimports.fourseven.native.linux import sched_yield
from cython.cimports.fourseven.snapshot.layout import GATE_HEAD
from cython.cimports.libc.stdint import uint32_t, uint64_t

GONE = cython.declare(uint64_t, 0xFFFFFFFFFFFFFFFF)


def rate_take(table, size, key, rate, now_ns, taken):
    buckets: uint64_t = (size - GATE_HEAD) // (BUCKET * cython.sizeof(RateEntry))
    bucket: cython.pointer[RateEntry]
    entry: cython.pointer[RateEntry]
    lock: cython.pointer[uint32_t]
    wait_ns: uint64_t
    if key == 0:
        return take(cython.address(table.due_ns), cython.NULL, 0, rate, now_ns, taken)
    lock = cython.address(table.locks[key % buckets % LOCKS])
    bucket = (
        cython.cast(cython.pointer[RateEntry], cython.cast(cython.p_char, table) + GATE_HEAD)
        + (key % buckets) * BUCKET
    )
    while True:
        entry = find(bucket, key)
        if entry is not cython.NULL:
            wait_ns = take(
                cython.address(entry.due_ns),
                cython.address(entry.key),
                key,
                rate,
                now_ns,
                taken,
            )
            if wait_ns != GONE:
                return wait_ns
        elif insert(lock, bucket, key, now_ns, now_ns + rate.interval_ns, taken):
            taken.owed_ns = rate.interval_ns
            return 0


def take(due, owner, key, rate, now_ns, taken):
    """The wait, or GONE where the entry has come to another key."""
    before: uint64_t
    after: uint64_t
    while True:
        before = load_acquire(due)
        if owner is not cython.NULL and load_acquire(owner) != key:
            return GONE
        after = (before if before > now_ns else now_ns) + rate.interval_ns
        if after - now_ns > rate.burst_ns:
            if before - now_ns > rate.burst_ns + CLOCKS_APART_NS:
                swap_if(due, before, now_ns + rate.burst_ns)  # the file says a larger rate now
                continue
            taken.owed_ns = after - now_ns - rate.interval_ns
            return after - now_ns - rate.burst_ns
        if swap_if(due, before, after):
            taken.owed_ns = after - now_ns
            return 0


def find(bucket, key):
    at: uint32_t
    for at in range(BUCKET):
        if load_acquire(cython.address(bucket[at].key)) == key:
            return bucket + at
    return cython.NULL


def insert(lock, bucket, key, now_ns, due_ns, taken):
    """Gives the key an entry that is due then; false where another worker was quicker."""
    entry: cython.pointer[RateEntry]
    old_ns: uint64_t
    done: cython.bint = False
    while not swap_if_u32(lock, 0, 1):
        sched_yield()
    while not done and find(bucket, key) is cython.NULL:
        entry = soonest(bucket)
        owner: uint64_t = load_relaxed(cython.address(entry.key))
        old_ns = load_relaxed(cython.address(entry.due_ns))
        store_release(cython.address(entry.key), 0)
        done = swap_if(cython.address(entry.due_ns), old_ns, due_ns)
        store_release(cython.address(entry.key), key if done else owner)
        if done and old_ns > now_ns:
            taken.replaced += 1
    store_release_u32(lock, 0)
    return done


def soonest(bucket):
    """The entry that is full again before all others; an empty one always is."""
    found: cython.pointer[RateEntry] = bucket
    at: uint32_t
    for at in range(1, BUCKET):
        if load_relaxed(cython.address(bucket[at].due_ns)) < load_relaxed(
            cython.address(found.due_ns)
        ):
            found = bucket + at
    return found
