from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.l4.choose cimport Lease
from fourseven.l4.pump cimport Pipes, Side
from fourseven.protocols.message cimport Address
from fourseven.snapshot.layout cimport Backend, ListenerState
from fourseven.worker.worker cimport (
    Arrived, Dead, ListenerCounters, Plane, Source, Timer, Worker, WorkerListener,
)

cdef enum:
    ACCEPTS_MAX = 8         # connections taken in a turn; more, and one worker would take a whole burst

cdef struct Session:
    Dead dead               # first
    Session *next
    Session **link
    Side client
    Side server
    Timer timer             # of the connect, then of idleness
    Lease lease
    Address address         # the client's
    uint64_t connect_began_ns
    uint32_t greeting       # the client's TLS handshake is not done yet
    uint32_t unintroduced   # version of the PROXY header that the server is still to get
    uint32_t connecting     # nor is the server there, its TLS handshake included
    uint32_t idle_timeout_ms
    ListenerState *state
    ListenerCounters *counters
    WorkerListener *listener
    Arrived *arrived        # what was read of it before; NULL: nothing

cdef struct Relay:          # of one worker
    Session *sessions
    uint64_t count
    Pipes pipes
    uint32_t cuts           # how many of Shared.cuts were looked at (l4.relay_cut)

cdef enum:
    RELAY_TCP = 1           # MODE_RELAY_TCP, as an index

cdef Plane PLANE

# ---- of relay_tcp.py alone; owner_wait.py and relay_cut.py ask for some ----
cdef int32_t start(Worker *worker) noexcept nogil
cdef int32_t open(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void accept "fourseven_relay_accept"(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void take "fourseven_relay_take"(
    Worker *worker, WorkerListener *listener, int32_t fd, Arrived *arrived
) noexcept nogil
cdef void admit(
    Worker *worker, WorkerListener *listener, int32_t fd, const Address *client, Arrived *arrived
) noexcept nogil
cdef void shut(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void drain(Worker *worker) noexcept nogil
cdef uint64_t busy(Worker *worker) noexcept nogil
cdef void stop(Worker *worker) noexcept nogil

cdef bint ends_tls(const WorkerListener *listener, const Arrived *arrived) noexcept nogil
cdef void greet(Worker *worker, Session *session) noexcept nogil
cdef void go_on(Worker *worker, Session *session) noexcept nogil
cdef bint introduced(Worker *worker, Session *session) noexcept nogil
cdef bint secure_server(Worker *worker, Session *session, const Backend *backend, int32_t fd) noexcept nogil
cdef bint handshake(Worker *worker, Session *session) noexcept nogil
cdef void drop_server_tls(Session *session) noexcept nogil
cdef void refuse(Session *session) noexcept nogil
cdef bint enter(WorkerListener *listener) noexcept nogil
cdef void begin(Worker *worker, WorkerListener *listener, int32_t fd, const Address *client) noexcept nogil
cdef Session *session_new(Worker *worker, WorkerListener *listener, int32_t fd, const Address *client) noexcept nogil
cdef void try_server(Worker *worker, Session *session, const Backend *backend) noexcept nogil
cdef void try_another(Worker *worker, Session *session) noexcept nogil
cdef void connected(Worker *worker, Session *session) noexcept nogil
cdef void ready "fourseven_relay_ready"(Worker *worker, Source *source, uint32_t events) noexcept nogil
cdef void connecting(Worker *worker, Side *side, uint32_t events) noexcept nogil
cdef bint move "fourseven_relay_move"(Worker *worker, Session *session, Side *side) noexcept nogil
cdef void expired(Worker *worker, Timer *timer) noexcept nogil
cdef void cut(Worker *worker, Session *session) noexcept nogil
cdef void no_delay(int32_t fd) noexcept nogil
cdef void finish(Worker *worker, Session *session) noexcept nogil
cdef void bury_session(Worker *worker, Dead *dead) noexcept nogil

cdef inline Session *timed(Timer *timer) noexcept nogil:
    cdef Session *like = <Session *> timer  # for the distance alone; it is not read
    return <Session *> (<char *> timer - (<char *> &like.timer - <char *> like))

cdef inline Relay *relay_of(Worker *worker) noexcept nogil:
    return <Relay *> worker.plane_state[RELAY_TCP]
