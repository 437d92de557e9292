from libc.stdint cimport uint32_t

from fourseven.l4.flows cimport FlowEntry, FlowKey, FlowTable

cdef class Flows:
    cdef FlowTable *table
    cdef FlowEntry *entry(self, client, int port, local) except NULL
    cdef int key(self, FlowKey *key, client, int port, local) except -1
