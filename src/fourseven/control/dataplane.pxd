from libc.stdint cimport uint64_t

from fourseven.snapshot.cell cimport Cell
from fourseven.snapshot.names cimport Names
from fourseven.tls.tickets cimport TicketRing
from fourseven.worker.worker cimport Worker

cdef class DataPlane:
    cdef Cell cell
    cdef Worker *workers[64]
    cdef readonly int worker_count
    cdef readonly int fatal_fd
    cdef readonly object numbers
    cdef readonly object plan
    cdef readonly uint64_t generation
    cdef list threads
    cdef TicketRing *tickets
    cdef Names names
    cdef readonly object log
    cdef readonly object spans
    cdef int set_backend(self, int number, object backend) except -1
    cdef int set_server(self, int number, object server) except -1
