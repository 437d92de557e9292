from libc.stdint cimport uint32_t, uint64_t

from fourseven.l4.choose cimport Lease
from fourseven.l4.pump cimport Side
from fourseven.protocols.serverhello cimport ServerFlight
from fourseven.snapshot.layout cimport Backend
from fourseven.worker.worker cimport Arrived, Worker

# Of a server's side, until its handshake is over.
cdef struct Learner:
    uint32_t backend        # number of the BackendState
    uint32_t slot
    uint64_t session_key    # what the client would take up again (worker.Arrived)
    uint64_t ticket_key
    ServerFlight flight

# A server was chosen for this side: what it says is listened to, where its backend wants that.
cdef void learner_begin "fourseven_learner_begin"(
    Side *side, const Backend *backend, const Arrived *arrived, const Lease *lease
) noexcept nogil
# The server has said this.
cdef void learner_hear "fourseven_learner_hear"(
    Worker *worker, Side *side, const char *at, uint32_t size
) noexcept nogil
cdef void learner_drop "fourseven_learner_drop"(Side *side) noexcept nogil

cdef uint64_t named(const Learner *learner) noexcept nogil
cdef void belongs(Worker *worker, const Learner *learner, uint64_t key) noexcept nogil
