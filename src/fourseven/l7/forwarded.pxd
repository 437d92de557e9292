from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fourseven.l7.output cimport Output
from fourseven.protocols.message cimport Address, Request, Span
from fourseven.snapshot.layout cimport Listener

cpdef enum:
    HOPS_MAX = 64           # proxies believed in one row; the longest known chains have fewer than ten
    REQUEST_ID_SIZE = 32
    REQUEST_ID_MAX = 128    # bytes of one that a trusted peer sent; longer ones are replaced

# One element list of a header, read from the left; the walk goes back over it.
cdef struct Hops:
    Address[HOPS_MAX] addresses
    uint8_t[HOPS_MAX] readable
    uint32_t count          # of all that came by; the last HOPS_MAX are kept

# Does this address stand in one of the listener's trusted CIDRs?
cdef bint is_trusted "fourseven_is_trusted"(const Listener *listener, const Address *address) noexcept nogil

# Sets request.client: the peer, or what a trusted peer says. The engine calls it for each request,
# as soon as peer and headers stand in it.
cdef void client_address "fourseven_client_address"(const Listener *listener, Request *request) noexcept nogil
cdef void hops_of_list(Hops *hops, const Span *value) noexcept nogil
cdef void hops_of_forwarded(Hops *hops, const Span *value) noexcept nogil
cdef const char *forwarded_pair(
    const char *at, const char *end, Span *name, Span *value
) noexcept nogil
cdef void add_hop(Hops *hops, const Span *text) noexcept nogil
cdef Span trim(const char *at, const char *end) noexcept nogil

# The request id: what a trusted peer sent, or 32 fresh hex digits in `room`; absent when the
# listener wants none. It lives as long as the request and `room` do.
cdef Span request_id "fourseven_request_id"(
    const Listener *listener, const Request *request, char *room, uint64_t random_a, uint64_t random_b
) noexcept nogil
cdef void make_request_id "fourseven_make_request_id"(
    char *out32, uint64_t random_a, uint64_t random_b
) noexcept nogil
cdef bint is_fit_id(const Span *value) noexcept nogil

# The header lines; `trusted`: keep what the peer's own lines say, and add to it.
cdef void put_x_forwarded_for(Output *out, const Request *request, bint trusted) noexcept nogil
cdef void put_forwarded(Output *out, const Request *request, bint trusted) noexcept nogil
cdef void put_earlier(Output *out, const Request *request, uint32_t known) noexcept nogil
cdef void put_quoted(Output *out, const Span *value) noexcept nogil
cdef void put_address(Output *out, const Address *address) noexcept nogil
