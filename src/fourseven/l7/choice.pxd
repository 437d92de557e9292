from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.l7.records cimport Session, Stream
from fourseven.snapshot.layout cimport Backend, Pick, Slot
from fourseven.worker.worker cimport Worker

cpdef enum Nobody:          # why no server takes the request
    NOBODY_USABLE = -1
    NOBODY_FREE = -2        # those that are usable are at their limit
    NOBODY_MORE = -3        # the backend is at its own limit
    NOBODY_TRUSTED = -4     # the circuits of those that are usable are open
    NOBODY_YET = -5         # the client's own server is waited for
    NOBODY_ELSE = -6        # the client's own server cannot be had, and no other will do
    NOBODY_CONNECTED = -7   # the backend has all the connections that it may have
    NOBODY_WHOLE = -8       # the backend's own circuit is open

cdef enum Full:             # bits of Stream.seen_full: what was at its limit
    FULL_SERVER = 1
    FULL_BACKEND = 2        # connections to all its servers

# A slot in which this stream now counts, or a Nobody.
cdef int32_t pick_server "fourseven_pick_server"(Worker *worker, Session *session) noexcept nogil
# Is there a server for another try, so that the answer of the present one may be dropped?
cdef bint another_server "fourseven_another_server"(Worker *worker, const Stream *stream) noexcept nogil

cdef int32_t find_server(Worker *worker, Session *session, Pick *pick) noexcept nogil
cdef int32_t next_server(Worker *worker, Session *session, Pick *pick) noexcept nogil
cdef int32_t search(Worker *worker, Stream *stream, const Backend *backend, Pick *pick) noexcept nogil
cdef int32_t nobody(Worker *worker, const Stream *stream, const Backend *backend) noexcept nogil
cdef bint enter(Worker *worker, Stream *stream, uint32_t number) noexcept nogil
cdef bint connection_at_hand(Worker *worker, Stream *stream, uint32_t number) noexcept nogil
