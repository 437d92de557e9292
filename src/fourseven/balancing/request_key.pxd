# The number that Pick.hash carries for a request: what its backend hashes.
#
# Law: a key that is absent or empty gives the client's address instead. All requests without the
# header would otherwise meet at one server.
from libc.stdint cimport uint64_t

from fourseven.balancing.key cimport hash_address
from fourseven.matching.table cimport FIELD_CLIENT, MatchScratch, field_value
from fourseven.protocols.message cimport Request, Span
from fourseven.snapshot.hashing cimport hash_bytes
from fourseven.snapshot.layout cimport Backend

cdef inline uint64_t hash_of(const Backend *backend, const Request *request, MatchScratch *scratch) noexcept nogil:
    cdef Span value
    if backend.hash_field != FIELD_CLIENT:
        value = field_value(backend.hash_field, request, &backend.hash_name, scratch)
        if value.at != NULL and value.size != 0:
            return hash_bytes(value.at, value.size)
    return hash_address(request.client.bytes, backend.hash_prefix_v4, backend.hash_prefix_v6)
