from libc.stdint cimport uint64_t

from fourseven.l7.rate_table cimport RateTable

cdef class RateProbe:
    cdef RateTable *table
    cdef uint64_t size
    cdef uint64_t interval_ns
    cdef uint64_t burst_ns
    cdef uint64_t replaced_keys
