# Atomics on the snapshot pointer itself; the type makes them a file of their own.
from fourseven.snapshot.layout cimport Snapshot

cdef extern from "fourseven/native/atomics.h" nogil:
    Snapshot *load_snapshot "fs_load_seq"(Snapshot *const *p)
    Snapshot *exchange_snapshot "fs_exchange_seq"(Snapshot **p, Snapshot *snapshot)
