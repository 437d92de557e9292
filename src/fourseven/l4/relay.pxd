from fourseven.worker.worker cimport Plane

cdef const Plane *relay_tcp_plane() noexcept
cdef const Plane *relay_udp_plane() noexcept
