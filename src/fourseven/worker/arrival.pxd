from libc.stdint cimport int32_t, uint32_t

from fourseven.protocols.clienthello cimport ClientHello
from fourseven.protocols.message cimport Address, Request, Span
from fourseven.snapshot.layout cimport Listener
from fourseven.worker.worker cimport Arrival, Arrived, Dead, Source, Timer, Worker, WorkerListener

cdef enum Outcome:
    ARRIVAL_DONE = 1
    ARRIVAL_LATER = 0
    ARRIVAL_GONE = -1       # to be cut

cdef enum:                  # TLS alerts (RFC 8446 6)
    ALERT_DECODE_ERROR = 50
    ALERT_UNRECOGNIZED_NAME = 112
    ALERT_READS = 8         # 32 KiB: more than a ClientHello may be

# A new connection that a plane has counted at its listener (`state.sessions`) and that something
# must be read of first. Takes the descriptor and the count over; both go on to `Plane.take`.
cdef void arrival_open "fourseven_arrival_open"(
    Worker *worker, WorkerListener *listener, int32_t fd, const Address *client
) noexcept nogil
# Cuts all that have not arrived.
cdef void arrivals_stop "fourseven_arrivals_stop"(Worker *worker) noexcept nogil
# Gives a request what the hello and a proxy said, behind what the connection says of itself; NULL:
# nothing was read of it.
cdef void arrived_fill "fourseven_arrived_fill"(const Arrived *arrived, Request *request) noexcept nogil
# A request that has nothing but what a connection says of itself: for routes at Layer 4.
cdef void arrived_request "fourseven_arrived_request"(
    Request *request, const WorkerListener *listener, const Address *client, const Arrived *arrived
) noexcept nogil
# Says why a TLS client is turned away (RFC 8446 6) before its socket is closed.
cdef void tls_alert "fourseven_tls_alert"(int32_t fd, uint32_t alert) noexcept nogil

# ---- of arrival.py alone ----
cdef void ready(Worker *worker, Source *source, uint32_t events) noexcept nogil
cdef void expired(Worker *worker, Timer *timer) noexcept nogil
cdef void go_on(Worker *worker, Arrival *arrival) noexcept nogil
cdef Outcome peek(Worker *worker, Arrival *arrival) noexcept nogil
cdef Outcome look(Worker *worker, Arrival *arrival, uint32_t stage) noexcept nogil
cdef bint may_speak(const Listener *plan, const Address *peer) noexcept nogil
cdef Outcome proxy_seen(Worker *worker, Arrival *arrival, char *at, uint32_t size) noexcept nogil
cdef Outcome hello_seen(Worker *worker, Arrival *arrival, char *at, uint32_t size) noexcept nogil
cdef Outcome hand_over(Worker *worker, Arrival *arrival, const ClientHello *hello) noexcept nogil
cdef Arrived *what_is_known(Arrival *arrival, const ClientHello *hello) noexcept nogil
cdef int32_t passthrough(Worker *worker, const WorkerListener *listener, const Arrived *arrived) noexcept nogil
cdef Arrived *arrived_new(const Address *client, const Span *sni, const Span *alpn) noexcept nogil
cdef void refuse(Worker *worker, Arrival *arrival) noexcept nogil
cdef void end(Worker *worker, Arrival *arrival) noexcept nogil
cdef void leave(Worker *worker, Arrival *arrival) noexcept nogil
cdef void bury_arrival(Worker *worker, Dead *dead) noexcept nogil

# The arrival whose timer this is.
cdef inline Arrival *timed(Timer *timer) noexcept nogil:
    cdef Arrival *like = <Arrival *> timer  # for the distance alone; it is not read
    return <Arrival *> (<char *> timer - (<char *> &like.timer - <char *> like))

cdef inline Arrival *buried(Dead *dead) noexcept nogil:
    cdef Arrival *like = <Arrival *> dead  # for the distance alone; it is not read
    return <Arrival *> (<char *> dead - (<char *> &like.dead - <char *> like))
