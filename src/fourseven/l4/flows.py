"""The flow table of UDP: who talks to whom, found by a hash.

One worker owns a table, so there is no lock. Entries are chained; the buckets are as many as the
flows that are allowed, so a chain is short on average, and the seed is secret, so nobody can make
it long on purpose.

Laws: the table owns its buckets, the plane its entries. The cap is the plane's business: it knows
the current file, the table only counts.
"""

import cython
from cython.cimports.fourseven.native.pages import pages_drop, pages_try
from cython.cimports.fourseven.snapshot.hashing import hash_number
from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcmp, memcpy


def flow_key(key, client, local):
    memcpy(cython.address(key.words[0]), cython.address(client.bytes[0]), 16)
    memcpy(cython.address(key.words[2]), cython.address(local.bytes[0]), 16)
    key.words[4] = client.port


def flow_same(one, other):
    return memcmp(one, other, cython.sizeof(FlowKey)) == 0


def flows_new(flows_max, seed):
    table: cython.pointer[FlowTable] = cython.cast(
        cython.pointer[FlowTable], calloc(1, cython.sizeof(FlowTable))
    )
    if table is cython.NULL:
        return table
    table.seed = seed
    table.bucket_count = 64
    while table.bucket_count < flows_max and table.bucket_count < cython.cast(
        uint32_t, BUCKETS_MAX
    ):
        table.bucket_count *= 2
    table.buckets = cython.cast(
        cython.pointer[cython.pointer[FlowEntry]],
        pages_try(table.bucket_count * cython.sizeof(cython.p_void)),
    )
    if table.buckets is cython.NULL:
        free(table)
        return cython.NULL
    return table


def bucket_of(table, key):
    h: uint64_t = table.seed
    i: cython.int
    for i in range(5):
        h = hash_number(h ^ key.words[i])
    return cython.address(table.buckets[h & (table.bucket_count - 1)])


def flows_find(table, key):
    entry: cython.pointer[FlowEntry] = bucket_of(table, key)[0]
    while entry is not cython.NULL and not flow_same(cython.address(entry.key), key):
        entry = entry.next
    return entry


def flows_add(table, entry):
    bucket: cython.pointer[cython.pointer[FlowEntry]] = bucket_of(table, cython.address(entry.key))
    entry.next = bucket[0]
    bucket[0] = entry
    table.count += 1


def flows_remove(table, entry):
    link: cython.pointer[cython.pointer[FlowEntry]] = bucket_of(table, cython.address(entry.key))
    while link[0] is not cython.NULL and link[0] != entry:
        link = cython.address(link[0].next)
    if link[0] == entry:
        link[0] = entry.next
        table.count -= 1


def flows_any(table, from_bucket):
    while from_bucket[0] < table.bucket_count:
        if table.buckets[from_bucket[0]] is not cython.NULL:
            return table.buckets[from_bucket[0]]
        from_bucket[0] += 1
    return cython.NULL


def flows_drop(table):
    if table is cython.NULL:
        return
    pages_drop(table.buckets, table.bucket_count * cython.sizeof(cython.p_void))
    free(table)
