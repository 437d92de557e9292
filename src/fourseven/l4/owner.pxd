from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.l4.choose cimport Lease
from fourseven.protocols.message cimport Address
from fourseven.snapshot.layout cimport Backend, Persistence
from fourseven.worker.worker cimport Arrived, Worker

cdef enum Owner:
    OWNER_NONE = -1         # the client belongs to nobody, or is balanced anew
    OWNER_WAITED = -2       # its server is known and cannot be had yet
    OWNER_REFUSED = -3      # ... and no other one will do
    OWNER_ELSEWHERE = -4    # ... and another one serves this once

# What names a client in the backend's table; 0: nothing.
cdef uint64_t owner_key "fourseven_owner_key"(
    const Persistence *persistence, const Address *client, const Arrived *arrived, uint64_t now_ms
) noexcept nogil
# The slot of the client's own server, or an Owner.
cdef int32_t owner_find "fourseven_owner_find"(
    Worker *worker, const Backend *backend, const Lease *lease, uint64_t key
) noexcept nogil
# The client's own server could not be had; `full`: it is at its limit.
cdef int32_t owner_missing(
    Worker *worker, const Backend *backend, const Lease *lease, bint full
) noexcept nogil
# A server was entered: what the table must know. `belongs` is what owner_find has said.
cdef void owner_went "fourseven_owner_went"(
    Worker *worker, const Backend *backend, uint64_t key, uint32_t slot, int32_t belongs
) noexcept nogil
