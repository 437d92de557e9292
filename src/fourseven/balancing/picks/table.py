"""Three ways to read a table: in turn, at random, by hash.

The table was filled by control and knows nothing of health, which changes far more often. So a
server that takes no work is skipped here, and how one skips decides who inherits its share:

- in turn: the turn is used up and the next one is taken, from the cursor that all workers share.
  So the others keep their proportions; stepping on in the table alone would give everything to
  the neighbour. A further try is drawn and takes no turn: of two servers the failing one would have
  the first turn of every request, and its twin nothing but second tries.
- at random: another draw.
- by hash: the key is hashed again, so the keys of a dead server spread over all others, each key
  always to the same one, and no other key moves. (Random jumps instead of the ring's neighbour:
  Chen, Coleman, Shrivastava 2021, "Revisiting consistent hashing with bounded loads".)

A server that starts slowly is skipped in the same way, for a part of the picks (`spared`).

Bounded load (Mirrokni, Thorup, Zadimoghaddam 2018): with `bounded_load_percent` c, a server is
also skipped while it holds ceil(c% * (load + 1) * its share) or more, where the load is the
backend's and the share is among those that take work. Such a bound always leaves one free.

Laws: DRAWS_MAX bounds the tries, then an exact scan decides, so that -1 means nobody. Under
bounded load the counts of other workers may move between pick and count: the bound can be passed
by at most one for each other worker.
"""

import cython
from cython.cimports.fourseven.balancing.picks.common import (
    DRAWS_MAX,
    available,
    below,
    draw,
    draw_exact,
    in_flight,
    slot_number,
    spared,
    weight_available,
)
from cython.cimports.fourseven.native.atomics import fetch_add, load_i64
from cython.cimports.fourseven.snapshot.hashing import hash_number
from cython.cimports.libc.stdint import int32_t, int64_t, uint32_t, uint64_t


def pick_in_turn(backend, pick):
    turn: uint64_t
    at: uint32_t
    _turn: uint32_t
    if backend.table_size == 0:
        return -1
    if pick.tried_count:
        return pick_at_random(backend, pick)
    for _turn in range(cython.cast(uint32_t, DRAWS_MAX)):
        turn = fetch_add(cython.address(backend.state.cursor), 1)
        at = backend.table[turn % backend.table_size]
        if available(backend, pick, at) and not spared(backend, pick, at, pick.random + turn):
            return slot_number(backend, at)
    return slot_number(backend, draw_exact(backend, pick, pick.random, -1))


def pick_at_random(backend, pick):
    number: uint64_t = pick.random
    return slot_number(backend, draw(backend, pick, cython.address(number), -1))


def pick_by_hash(backend, pick):
    load: int64_t
    weight: uint64_t
    at: int32_t = -1
    if backend.table_size == 0:
        return -1
    if backend.bounded_load_percent != 0:
        weight = weight_available(backend, pick, -1)
        load = load_i64(cython.address(backend.state.in_flight))
        load = load + 1 if load > 0 else 1
        if weight != 0:
            at = hashed(
                backend, pick, cython.cast(uint64_t, load) * backend.bounded_load_percent, weight
            )
    if at < 0:  # no bound, or all reached it while we looked
        at = hashed(backend, pick, 0, 0)
    return slot_number(backend, at)


def hashed(backend, pick, allowed, weight):
    """The key's first server that takes work and, when `weight` is not 0, is below its bound:
    in_flight < ceil(allowed% * its weight / weight)."""
    key: uint64_t = pick.hash
    at: uint32_t
    i: uint32_t
    for i in range(cython.cast(uint32_t, DRAWS_MAX) + backend.server_count):
        if i < cython.cast(uint32_t, DRAWS_MAX):
            at = backend.table[below(key, backend.table_size)]
            key = hash_number(key)
        else:  # the exact scan, from a place that the key decides
            at = cython.cast(uint32_t, (key + i) % backend.server_count)
        if not available(backend, pick, at):
            continue
        if i < cython.cast(uint32_t, DRAWS_MAX) and spared(backend, pick, at, pick.hash):
            continue
        # x < ceil(y / z) is x * z < y
        if weight == 0 or (
            cython.cast(uint64_t, in_flight(backend, pick, at)) * 100 * weight
            < allowed * backend.weights[at]
        ):
            return cython.cast(int32_t, at)
    return -1


def in_turn() -> int:
    """The address of the native pick, for the compiler."""
    return cython.cast(cython.size_t, cython.cast(cython.p_void, pick_in_turn))


def at_random() -> int:
    """The address of the native pick, for the compiler."""
    return cython.cast(cython.size_t, cython.cast(cython.p_void, pick_at_random))


def by_hash() -> int:
    """The address of the native pick, for the compiler."""
    return cython.cast(cython.size_t, cython.cast(cython.p_void, pick_by_hash))
