# The texts of statuses.h, by status.
from libc.stdint cimport uint32_t

cdef extern from "fourseven/l7/statuses.h" nogil:
    enum:
        STATUS_END "FOURSEVEN_STATUS_END"
    ctypedef struct StatusText:
        const char *reason
        const char *hint
    const StatusText[600] STATUSES "FOURSEVEN_STATUSES"
