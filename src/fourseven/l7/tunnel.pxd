from libc.stdint cimport int32_t

from fourseven.l7.records cimport Session
from fourseven.worker.worker cimport Worker

# The server has agreed to an Upgrade: passes its 101 on, and what came with it.
cdef void tunnel_begin "fourseven_tunnel_begin"(Worker *worker, Session *session) noexcept nogil
# Moves bytes both ways; true when another step may follow at once.
cdef bint tunnel_step "fourseven_tunnel_step"(Worker *worker, Session *session) noexcept nogil

cdef bint to_server(Worker *worker, Session *session) noexcept nogil
cdef bint to_client(Worker *worker, Session *session) noexcept nogil
