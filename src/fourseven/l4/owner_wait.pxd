from libc.stdint cimport int32_t

from fourseven.l4.relay_tcp cimport Session
from fourseven.snapshot.layout cimport Backend
from fourseven.worker.worker cimport Worker

cdef enum:
    OWNER_POLL_MS = 50      # how often a server that is waited for is looked at again

# A server for the session (l4.choose.Taken); LEASE_LATER: it waits, and its timer is set.
cdef int32_t relay_lease "fourseven_relay_lease"(
    Worker *worker, Session *session, const Backend *backend
) noexcept nogil
# The timer of a session that waits.
cdef void look_again "fourseven_relay_look_again"(Worker *worker, Session *session) noexcept nogil
cdef bint wait(Worker *worker, Session *session, const Backend *backend) noexcept nogil
