from fourseven.snapshot.layout cimport GateState

# What gates keep over snapshots, by key and size.
cdef class States:
    cdef dict kept
    cdef GateState *take(self, key, size_t size) except NULL
