"""The table of who belongs where: one for all workers, without a lock.

A set of eight rows for each hash; a row is three words. A row is written word by word, so a reader
may meet the key of one client with the server of another. It cannot be fooled: the second word is
the server's name xor the key, and a mixture of two rows gives a name that no server has (Hyatt's
lockless table). The third word is only a time.

A server stands there by its name, a keyed hash of its address, not by a number: so rows outlive
reloads, and a server that comes back finds its clients again.

Laws: a row that nobody uses for its time is empty. When a set is full, the one that was used
longest ago makes room. A row's time is put off only when a sixteenth of it has passed, so that
reading seldom writes.

Source: Hyatt and Mann, "A lockless transposition-table implementation", 2002.
"""

import cython
from cython.cimports.fourseven.native.atomics import load_relaxed, store_relaxed
from cython.cimports.fourseven.persistence.table import ROWS, Row
from cython.cimports.fourseven.snapshot.layout import GateState
from cython.cimports.libc.stdint import uint32_t, uint64_t


def name_find(persistence, first, second, whole):
    at: uint32_t = cython.cast(uint32_t, first) & persistence.names_mask
    _step: uint32_t
    for _step in range(persistence.names_mask + 1):
        name = cython.address(persistence.names[at])
        if name.first == 0 and name.second == 0:
            break
        if name.first == first and (name.second == second or not whole):
            return name
        at = (at + 1) & persistence.names_mask
    return cython.NULL


def set_of(persistence, key):
    base: cython.p_char = cython.cast(cython.p_char, persistence.table)
    rows: cython.pointer[Row] = cython.cast(cython.pointer[Row], base + cython.sizeof(GateState))
    return rows + (key >> 20) % persistence.set_count * ROWS


def table_find(persistence, key, now_ms):
    row: cython.pointer[Row] = set_of(persistence, key)
    until_ms: uint64_t
    at: uint32_t
    for at in range(cython.cast(uint32_t, ROWS)):
        if load_relaxed(cython.address(row[at].key)) != key:
            continue
        until_ms = load_relaxed(cython.address(row[at].until_ms))
        name = name_find(persistence, load_relaxed(cython.address(row[at].name)) ^ key, 0, False)
        if name is cython.NULL or until_ms <= now_ms:
            return -1
        if until_ms < now_ms + persistence.ttl_ms - persistence.ttl_ms // 16:
            store_relaxed(cython.address(row[at].until_ms), now_ms + persistence.ttl_ms)
        return name.at
    return -1


def table_put(persistence, key, at, now_ms):
    row: cython.pointer[Row] = set_of(persistence, key)
    oldest: uint32_t = 0
    least_ms: uint64_t = 0
    until_ms: uint64_t
    i: uint32_t
    for i in range(cython.cast(uint32_t, ROWS)):
        if load_relaxed(cython.address(row[i].key)) == key:
            oldest = i
            break
        until_ms = load_relaxed(cython.address(row[i].until_ms))
        if i == 0 or until_ms < least_ms:
            least_ms = until_ms
            oldest = i
    store_relaxed(cython.address(row[oldest].key), key)
    store_relaxed(cython.address(row[oldest].name), persistence.given[at].first ^ key)
    store_relaxed(cython.address(row[oldest].until_ms), now_ms + persistence.ttl_ms)
