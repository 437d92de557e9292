from fourseven.matching.records cimport MatchScratch
from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Request, Span
from fourseven.snapshot.layout cimport Listener

cdef class Probe:
    cdef Arena *arena
    cdef MatchScratch *scratch
    cdef Request *message
    cdef Listener listener
    cdef list kept          # addresses of what the request points into
    cdef list routes
    cdef object shown       # the client's certificate (tls.shown), into which the request points
    cdef list firsts        # the number of each route's first row, once somebody asks for steps
    cdef Span keep(self, value)
    cdef forget(self)
