from libc.stdint cimport int32_t

from fourseven.native.linux cimport sockaddr_storage
from fourseven.protocols.message cimport Address
from fourseven.snapshot.layout cimport Cidr

# The socket's own address; zero where the socket has none (a unix socket).
cdef void local_address(int32_t fd, Address *address) noexcept nogil
# A socket address in the 16-byte form; IPv4 as ::ffff:a.b.c.d.
cdef void to_address "fourseven_to_address"(const sockaddr_storage *name, Address *address) noexcept nogil
# Is the address in the network?
cdef bint cidr_holds "fourseven_cidr_holds"(const Cidr *cidr, const Address *address) noexcept nogil
