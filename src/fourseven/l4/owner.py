"""A client's own server at Layer 4: by its address, by the name that its ClientHello asks for, or
by the TLS session that it would take up again (l4.resumption).

The table is the one of Layer 7 (persistence.table), found by the backend: a client keeps its server
over listeners, planes in user space and reloads.

    known and takes connections, or drains    it goes there
    known and at its limit                    fallback; with rebalance it keeps its server
    known and down, or gone                   fallback; with rebalance it belongs to another one
    not known                                 balanced, and written down

Laws: only the first server of a connection is its client's own; when that one did not take the
connection, the fallback decides as for one that is down. A client that shows nothing (no name) is
balanced.
"""

import cython
from cython.cimports.fourseven.balancing.key import hash_address
from cython.cimports.fourseven.l4.owner import (
    OWNER_ELSEWHERE,
    OWNER_NONE,
    OWNER_REFUSED,
    OWNER_WAITED,
)
from cython.cimports.fourseven.matching.records import FIELD_CLIENT, FIELD_SNI
from cython.cimports.fourseven.native.atomics import count, load_i64, load_relaxed_u32
from cython.cimports.fourseven.persistence.table import table_find, table_put
from cython.cimports.fourseven.snapshot.hashing import hash_bytes
from cython.cimports.fourseven.snapshot.layout import (
    FALLBACK_REBALANCE,
    FALLBACK_WAIT,
    PERSIST_SESSION,
    PERSIST_TABLE,
    Persistence,
    Slot,
)
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t, uint32_t


def owner_key(persistence, client, arrived, now_ms):
    if persistence.kind == PERSIST_SESSION and arrived is not cython.NULL:
        if arrived.session_key and table_find(persistence, arrived.session_key, now_ms) >= 0:
            return arrived.session_key
        if arrived.ticket_key and table_find(persistence, arrived.ticket_key, now_ms) >= 0:
            return arrived.ticket_key
    if persistence.kind != PERSIST_TABLE and persistence.kind != PERSIST_SESSION:
        return 0
    if persistence.field == FIELD_CLIENT:
        return 1 | hash_address(
            cython.cast(cython.pointer[cython.const[uint8_t]], cython.address(client.bytes[0])),
            persistence.prefix_v4,
            persistence.prefix_v6,
        )
    if persistence.field != FIELD_SNI or arrived is cython.NULL or arrived.sni.size == 0:
        return 0
    return 1 | hash_bytes(arrived.sni.at, arrived.sni.size)  # 0 is an empty row


def owner_find(worker, backend, lease, key):
    persistence: cython.pointer[cython.const[Persistence]] = backend.persistence
    slot: cython.pointer[Slot]
    number: uint32_t
    most: uint32_t
    at: int32_t
    i: uint32_t
    if key == 0:
        return OWNER_NONE
    at = table_find(persistence, key, worker.now_ms)
    if at < 0 or cython.cast(uint32_t, at) >= backend.server_count:
        return OWNER_NONE
    number = backend.slots[at]
    for i in range(lease.tried_count):
        if lease.tried[i] == number:
            return owner_missing(worker, backend, lease, False)
    slot = cython.address(worker.shared.slots[number])
    if not load_relaxed_u32(cython.address(slot.usable)) and not load_relaxed_u32(
        cython.address(slot.persists)
    ):
        return owner_missing(worker, backend, lease, False)
    most = load_relaxed_u32(cython.address(slot.max_in_flight))
    if most and load_i64(cython.address(slot.in_flight)) >= cython.cast(int64_t, most):
        return owner_missing(worker, backend, lease, True)
    return cython.cast(int32_t, number)


def owner_missing(worker, backend, lease, full):
    persistence: cython.pointer[cython.const[Persistence]] = backend.persistence
    counters = cython.address(worker.backend_counters[backend.number])
    if persistence.fallback == FALLBACK_REBALANCE:
        if full:
            return OWNER_ELSEWHERE
        count(cython.address(counters.persisted_moved), 1)
        return OWNER_NONE
    if persistence.fallback == FALLBACK_WAIT and lease.tried_count == 0:
        return OWNER_WAITED
    count(cython.address(counters.persisted_refused), 1)
    return OWNER_REFUSED


def owner_went(worker, backend, key, slot, belongs):
    counters = cython.address(worker.backend_counters[backend.number])
    at: uint32_t
    if belongs >= 0:
        count(cython.address(counters.persisted), 1)
        return
    if belongs == OWNER_ELSEWHERE:
        return
    for at in range(backend.server_count):
        if backend.slots[at] == slot:
            count(cython.address(counters.persisted_new), 1)
            table_put(backend.persistence, key, at, worker.now_ms)
            return
