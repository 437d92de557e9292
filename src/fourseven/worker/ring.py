"""A ring of records from one thread to another: what a worker leaves for the access log.

Records are whole and contiguous: one that would not fit before the end stands at the beginning, and
a mark says so. Each side owns one position and reads the other's; no lock, no system call.

Laws: a record begins with its size (uint32, a multiple of 8, the size itself included) and takes at
most a quarter of the ring. A full ring refuses; it never blocks, and never overwrites.

Source: Lamport 1983, "Specifying concurrent program modules" (one producer, one consumer).
"""

import cython
from cython.cimports.fourseven.native.atomics import load_acquire, store_release
from cython.cimports.fourseven.native.pages import pages_drop, pages_new
from cython.cimports.fourseven.worker.ring import RING_SIZE, RING_SKIP, Ring
from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free


def ring_new():
    ring: cython.pointer[Ring] = cython.cast(cython.pointer[Ring], calloc(1, cython.sizeof(Ring)))
    if ring is cython.NULL:
        raise MemoryError
    try:
        ring.at = cython.cast(cython.p_char, pages_new(RING_SIZE))
    except MemoryError:
        free(ring)
        raise
    return ring


def ring_drop(ring):
    if ring is not cython.NULL:
        pages_drop(ring.at, RING_SIZE)
        free(ring)


def ring_room(ring, size):
    taken: uint64_t = load_acquire(cython.address(ring.taken))
    place: uint64_t = ring.written % RING_SIZE
    left: uint64_t = cython.cast(uint64_t, RING_SIZE) - place
    if size > cython.cast(uint32_t, RING_SIZE) // 4:
        return cython.NULL
    if size > left:
        if ring.written + left + size - taken > RING_SIZE:
            return cython.NULL
        cython.cast(cython.pointer[uint32_t], ring.at + place)[0] = RING_SKIP
        ring.written += left  # told to the reader with the record
        place = 0
    elif ring.written + size - taken > RING_SIZE:
        return cython.NULL
    return ring.at + place


def ring_done(ring, size):
    store_release(cython.address(ring.written), ring.written + size)


def ring_next(ring):
    written: uint64_t = load_acquire(cython.address(ring.written))
    place: uint64_t
    if ring.taken == written:
        return cython.NULL
    place = ring.taken % RING_SIZE
    if cython.cast(cython.pointer[uint32_t], ring.at + place)[0] == cython.cast(
        uint32_t, RING_SKIP
    ):
        ring_took(ring, cython.cast(uint32_t, RING_SIZE - place))
        if ring.taken == written:
            return cython.NULL
        place = 0
    return ring.at + place


def ring_took(ring, size):
    store_release(cython.address(ring.taken), ring.taken + size)
