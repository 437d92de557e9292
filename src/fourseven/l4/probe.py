"""The flow table, driven from Python: the window through which its tests look.

Addresses are 16 bytes. Entries are made here and freed here, as the plane does with its flows.
"""

import cython
from cython.cimports.fourseven.l4.flows import (
    FlowEntry,
    FlowKey,
    flow_key,
    flows_add,
    flows_any,
    flows_drop,
    flows_find,
    flows_new,
    flows_remove,
)
from cython.cimports.fourseven.protocols.message import Address
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy, memset


class Flows:
    def __cinit__(self, flows_max, seed):
        self.table = flows_new(flows_max, seed)
        if self.table is cython.NULL:
            raise MemoryError

    def __dealloc__(self):
        bucket: uint32_t = 0
        entry: cython.pointer[FlowEntry]
        if self.table is cython.NULL:
            return
        entry = flows_any(self.table, cython.address(bucket))
        while entry is not cython.NULL:
            flows_remove(self.table, entry)
            free(entry)
            entry = flows_any(self.table, cython.address(bucket))
        flows_drop(self.table)

    def key(self, key, client, port, local):
        one: Address
        other: Address
        if len(client) != 16 or len(local) != 16:
            raise ValueError("an address is 16 bytes")
        memset(cython.address(one), 0, cython.sizeof(Address))
        memset(cython.address(other), 0, cython.sizeof(Address))
        memcpy(cython.address(one.bytes[0]), cython.cast(cython.p_const_char, client), 16)
        memcpy(cython.address(other.bytes[0]), cython.cast(cython.p_const_char, local), 16)
        one.port = port
        flow_key(key, cython.address(one), cython.address(other))
        return 0

    def entry(self, client, port, local):
        entry: cython.pointer[FlowEntry] = cython.cast(
            cython.pointer[FlowEntry], calloc(1, cython.sizeof(FlowEntry))
        )
        if entry is cython.NULL:
            raise MemoryError
        self.key(cython.address(entry.key), client, port, local)
        return entry

    def has(self, client: bytes, port: int, local: bytes) -> bool:
        """Is there such a flow?"""
        key: FlowKey
        self.key(cython.address(key), client, port, local)
        return flows_find(self.table, cython.address(key)) is not cython.NULL

    def add(self, client: bytes, port: int, local: bytes) -> None:
        """A new flow; it must not be there yet."""
        flows_add(self.table, self.entry(client, port, local))

    def remove(self, client: bytes, port: int, local: bytes) -> None:
        """Ends a flow that is there."""
        key: FlowKey
        self.key(cython.address(key), client, port, local)
        found: cython.pointer[FlowEntry] = flows_find(self.table, cython.address(key))
        if found is cython.NULL:
            raise KeyError(port)
        flows_remove(self.table, found)
        free(found)

    def count(self) -> int:
        return self.table.count

    def buckets(self) -> list:
        """How many flows each bucket holds."""
        at: uint32_t
        sizes = []
        for at in range(self.table.bucket_count):
            size = 0
            entry = self.table.buckets[at]
            while entry is not cython.NULL:
                size += 1
                entry = entry.next
            sizes.append(size)
        return sizes
