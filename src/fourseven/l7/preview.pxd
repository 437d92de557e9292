from libc.stdint cimport int32_t, uint32_t

from fourseven.l7.context cimport HeadContext
from fourseven.matching.table cimport MatchScratch
from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Address, Header, Request, Response, Span
from fourseven.snapshot.layout cimport Action, Backend, Listener, Route, Template

cdef class Preview:
    cdef Arena *arena
    cdef Request *request
    cdef Response *response
    cdef Listener listener
    cdef Route route
    cdef Backend backend
    cdef HeadContext context
    cdef char[64] room
    cdef MatchScratch *scratch
    cdef pack_listener(self, plan)
    cdef Action *pack_actions(self, plans) except? NULL
    cdef pack_template(self, Template *template, parts)
    cdef came(self, where)
    cdef Span text(self, bytes text) except *

cdef Address address_of(text, port) except *
cdef fill(Preview preview, Header *into, headers)
