from libc.stdint cimport int32_t, uint32_t

from fourseven.protocols.message cimport Address
from fourseven.snapshot.layout cimport TRIED_MAX, Backend, Pick
from fourseven.worker.worker cimport Arrived, Worker, WorkerListener

cdef enum Taken:
    LEASE_TAKEN = 0
    LEASE_NOBODY = -1
    LEASE_LATER = -2        # the client's own server is waited for: ask again, until wait_ms are over

cdef enum Held:             # bits of Lease.held
    HELD_COUNTED = 1        # in flight at its server and its backend
    HELD_JUDGED = 2         # circuits want to hear how it goes (lease_said)
    HELD_PROBES_SERVER = 4  # it finds out whether a circuit may close
    HELD_PROBES_BACKEND = 8

# What a session or a flow has of its server; numbers only, so that it outlives snapshots.
cdef struct Lease:
    uint32_t backend        # number of the BackendState
    uint32_t slot           # the last of `tried`, while `held`
    uint32_t held           # bits of Held
    uint32_t tried_count
    uint32_t[TRIED_MAX] tried

# The backend that the listener's routes name for this client, or NULL. Valid in this turn.
cdef const Backend *route_address "fourseven_route_address"(
    Worker *worker, const WorkerListener *listener, const Address *client, const Arrived *arrived
) noexcept nogil
# The same backend in the snapshot of this turn; NULL when the file no longer has it.
cdef const Backend *backend_now "fourseven_backend_now"(const Worker *worker, uint32_t number) noexcept nogil
# Picks a server that this lease has not tried and counts it in flight; one of Taken.
cdef int32_t lease_take "fourseven_lease_take"(
    Worker *worker, const Backend *backend, const Address *client, const Arrived *arrived, Lease *lease
) noexcept nogil
# The server took the connection, or did not: for those who judge servers.
cdef void lease_said "fourseven_lease_said"(Worker *worker, Lease *lease, bint good) noexcept nogil
cdef void lease_end "fourseven_lease_end"(Worker *worker, Lease *lease) noexcept nogil
# Have descriptors or memory run out? Then it is our fault, and no other server would help.
cdef bint exhausted "fourseven_exhausted"(int32_t error) noexcept nogil
# A connected (or connecting) non-blocking socket to the lease's server; -errno when it failed at once.
cdef int32_t lease_connect "fourseven_lease_connect"(Worker *worker, const Lease *lease, int32_t kind) noexcept nogil

# of choose.py alone
cdef uint32_t chosen(Worker *worker, const WorkerListener *listener, uint32_t route) noexcept nogil
cdef bint cannot_serve(const Worker *worker, const Backend *backend) noexcept nogil
cdef bint room_at(Worker *worker, const Backend *backend, Lease *lease) noexcept nogil
cdef int32_t server_for(
    Worker *worker, const Backend *backend, const Address *client, const Arrived *arrived, Lease *lease
) noexcept nogil
cdef int32_t balanced(Worker *worker, const Backend *backend, Pick *pick, Lease *lease) noexcept nogil
cdef bint enter(Worker *worker, const Backend *backend, uint32_t number, Lease *lease) noexcept nogil
cdef bint circuit_open(Worker *worker, const Backend *backend, uint32_t number, Lease *lease) noexcept nogil
