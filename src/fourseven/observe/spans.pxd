from fourseven.worker.ring cimport Ring

cdef class Spans:
    cdef Ring *rings[64]
    cdef int ring_count
