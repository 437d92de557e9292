from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l4.choose cimport Lease
from fourseven.l4.flows cimport FlowEntry, FlowKey, FlowTable
from fourseven.native.linux cimport iovec, mmsghdr, msghdr, sockaddr_storage
from fourseven.protocols.message cimport Address
from fourseven.snapshot.layout cimport Backend, ListenerState
from fourseven.worker.worker cimport Dead, Plane, Source, Timer, Worker, WorkerListener

cdef enum:
    RELAY_UDP = 2           # MODE_RELAY_UDP, as an index
    BATCH = 32              # datagrams by one system call
    ROUNDS_MAX = 4          # batches of one socket in a turn; then others have theirs
    DATAGRAM_MAX = 65536    # more than UDP can carry, so nothing is ever cut off
    DRAIN_IDLE_MS = 1000    # between the datagrams of one answer, once no client is heard
    CONTROL_SIZE = 64       # one packet-info record, IPv4's or IPv6's
    NAME_SIZE = 32          # sockaddr_in or sockaddr_in6

cdef struct Flow:
    FlowEntry entry         # first: the table gives us this pointer
    Source source           # the socket that is connected to the server
    Timer timer             # of idleness
    Dead dead
    WorkerListener *listener
    ListenerState *state
    Lease lease
    Address client
    uint32_t idle_timeout_ms
    uint64_t asked_ns       # when the client spoke first without an answer
    uint32_t awaiting       # the client has spoken, and the server not since
    uint32_t name_size
    uint32_t control_size
    uint8_t[NAME_SIZE] name         # the client's socket address
    uint8_t[CONTROL_SIZE] control   # from which address of ours a reply leaves

cdef struct Batch:
    mmsghdr[BATCH] messages
    iovec[BATCH] parts
    sockaddr_storage[BATCH] names
    uint8_t[BATCH * CONTROL_SIZE] controls
    char *room              # BATCH datagrams of DATAGRAM_MAX; only touched pages cost

cdef struct RelayUdp:       # of one worker
    Batch batch
    uint64_t count          # flows
    uint32_t cuts           # how many of Shared.cuts were looked at (l4.relay_cut)

# What a listener has of its own.
cdef struct Flows:
    FlowTable *table
    uint32_t any_address    # 1: bound to a wildcard, so each datagram says where it came to

cdef Plane PLANE

# ---- of relay_udp.py alone; relay_cut.py ends flows, too ----
cdef int32_t start(Worker *worker) noexcept nogil
cdef int32_t open(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void accept "fourseven_udp_accept"(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void shut(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void drain(Worker *worker) noexcept nogil
cdef void hasten(Worker *worker, Flow *flow) noexcept nogil
ctypedef void (*flow_fn)(Worker *worker, Flow *flow) noexcept nogil
cdef void flows_each "fourseven_udp_flows_each"(Worker *worker, flow_fn visit) noexcept nogil
cdef void visit_flows(Worker *worker, Flows *flows, flow_fn visit) noexcept nogil
cdef uint64_t busy(Worker *worker) noexcept nogil
cdef void stop(Worker *worker) noexcept nogil

cdef bint any_address(const Address *address) noexcept nogil
cdef int32_t receive "fourseven_udp_receive"(RelayUdp *relay, int32_t fd, bint names) noexcept nogil
cdef uint32_t forward(Worker *worker, WorkerListener *listener, uint32_t at, uint32_t end) noexcept nogil
cdef void key_of(RelayUdp *relay, WorkerListener *listener, uint32_t at, FlowKey *key, Address *client) noexcept nogil
cdef void local_of(msghdr *message, Address *local) noexcept nogil
cdef Flow *flow_new(
    Worker *worker, WorkerListener *listener, uint32_t at, const FlowKey *key, const Address *client
) noexcept nogil
cdef Flow *admitted(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void reply_path(RelayUdp *relay, Flow *flow, uint32_t at) noexcept nogil
cdef bint take_server(Worker *worker, Flow *flow, const Backend *backend) noexcept nogil
cdef bint take_another(Worker *worker, Flow *flow) noexcept nogil
cdef void forget_server(Worker *worker, Flow *flow) noexcept nogil
cdef bint silent(Worker *worker, Flow *flow) noexcept nogil
cdef void to_server(Worker *worker, Flow *flow, uint32_t at, uint32_t end) noexcept nogil
cdef void to_client(Worker *worker, Flow *flow, uint32_t count_of) noexcept nogil
cdef void await_reply(Worker *worker, Flow *flow, uint32_t awaiting) noexcept nogil
cdef void touch(Worker *worker, Flow *flow) noexcept nogil
cdef void ready "fourseven_udp_ready"(Worker *worker, Source *source, uint32_t events) noexcept nogil
cdef void expired(Worker *worker, Timer *timer) noexcept nogil
cdef void flow_end(Worker *worker, Flow *flow) noexcept nogil
cdef void end_all(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void bury_flow(Worker *worker, Dead *dead) noexcept nogil

cdef inline Flow *sourced(Source *source) noexcept nogil:
    cdef Flow *like = <Flow *> source  # for the distance alone; it is not read
    return <Flow *> (<char *> source - (<char *> &like.source - <char *> like))

cdef inline Flow *timed(Timer *timer) noexcept nogil:
    cdef Flow *like = <Flow *> timer  # for the distance alone; it is not read
    return <Flow *> (<char *> timer - (<char *> &like.timer - <char *> like))

cdef inline Flow *buried(Dead *dead) noexcept nogil:
    cdef Flow *like = <Flow *> dead  # for the distance alone; it is not read
    return <Flow *> (<char *> dead - (<char *> &like.dead - <char *> like))

cdef inline RelayUdp *relay_of(Worker *worker) noexcept nogil:
    return <RelayUdp *> worker.plane_state[RELAY_UDP]

cdef inline Flows *flows_of(WorkerListener *listener) noexcept nogil:
    return <Flows *> listener.private
