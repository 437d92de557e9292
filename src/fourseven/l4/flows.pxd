from libc.stdint cimport uint32_t, uint64_t

from fourseven.protocols.message cimport Address

cdef enum:
    BUCKETS_MAX = 1048576   # 8 MiB of pointers, of which only touched pages cost

# Who talks to whom: the client's address and port, and which address of ours it sent to.
cdef struct FlowKey:
    uint64_t[5] words

# The first member of whatever a flow is.
cdef struct FlowEntry:
    FlowEntry *next
    FlowKey key

cdef struct FlowTable:
    FlowEntry **buckets
    uint32_t bucket_count   # a power of two
    uint32_t count
    uint64_t seed           # secret, or an attacker could choose ports that share a bucket

cdef void flow_key(FlowKey *key, const Address *client, const Address *local) noexcept nogil
cdef bint flow_same(const FlowKey *one, const FlowKey *other) noexcept nogil
cdef FlowTable *flows_new(uint32_t flows_max, uint64_t seed) noexcept nogil
cdef FlowEntry *flows_find(const FlowTable *table, const FlowKey *key) noexcept nogil
# The key stands in the entry and is not in the table yet.
cdef void flows_add(FlowTable *table, FlowEntry *entry) noexcept nogil
cdef void flows_remove(FlowTable *table, FlowEntry *entry) noexcept nogil
# Any entry, or NULL when there is none; `from_bucket` is where to go on looking.
cdef FlowEntry *flows_any(const FlowTable *table, uint32_t *from_bucket) noexcept nogil
# Frees the table, not its entries.
cdef void flows_drop(FlowTable *table) noexcept nogil

# of flows.py alone
cdef FlowEntry **bucket_of(const FlowTable *table, const FlowKey *key) noexcept nogil
