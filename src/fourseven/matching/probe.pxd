from fourseven.matching.records cimport MatchScratch
from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Request, Span
from fourseven.snapshot.layout cimport Listener

cdef class Probe:
    cdef Arena *arena
    cdef MatchScratch *scratch
    cdef Request *message
    cdef Listener listener
    cdef list kept
    cdef Span keep(self, value)
