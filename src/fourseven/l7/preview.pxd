from libc.stdint cimport int32_t, uint32_t

from fourseven.l7.context cimport HeadContext
from fourseven.matching.table cimport MatchScratch
from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Address, Header, Request, Response, Span
from fourseven.snapshot.layout cimport Backend, Listener

cdef class Preview:
    cdef Arena *arena
    cdef Request *request
    cdef Response *response
    cdef Listener listener
    cdef Backend backend
    cdef HeadContext context
    cdef char[64] room
    cdef MatchScratch *scratch
    cdef came(self, where)
    cdef Span text(self, bytes text) except *

cdef Address address_of(text, port) except *
cdef fill(Preview preview, Header *into, headers)
