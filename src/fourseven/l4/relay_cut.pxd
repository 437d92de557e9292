from fourseven.l4.relay_udp cimport Flow
from fourseven.worker.worker cimport Worker

# The planes' `woken`: control has said of a server that what runs there ends.
cdef void cut_sessions "fourseven_relay_cut_sessions"(Worker *worker) noexcept nogil
cdef void cut_flows "fourseven_relay_cut_flows"(Worker *worker) noexcept nogil
# ---- of relay_cut.py alone ----
cdef void cut_flow(Worker *worker, Flow *flow) noexcept nogil
