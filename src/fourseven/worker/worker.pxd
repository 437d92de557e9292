from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fourseven.matching.table cimport MatchScratch
from fourseven.protocols.message cimport Address, Request, Response, Span
from fourseven.snapshot.cell cimport Seen, Shared
from fourseven.snapshot.layout cimport Listener, ListenerState, Snapshot
from fourseven.worker.ring cimport Ring

cpdef enum:
    FAULTS_MAX = 128
    TLS_FAULTS_MAX = 16
    REASONS_MAX = 64
    LATENCIES = 40
    SKIPS_MAX = 16
    EVENTS_MAX = 256        # one epoll_wait; more only delays the timers
    MODES = 4               # snapshot.layout.ListenerMode
    BUFFER_LARGE = 69632    # 64 KiB of body and room for a head's beginning: one read takes 64 KiB
    BUFFER_SMALL = 4096     # what waits over a turn is mostly a head: browsers send < 2 KiB
    WHEEL_SLOTS = 4096
    WHEEL_TICK_MS = 16      # no timeout of a balancer needs to be finer

cpdef enum WorkerState:
    RUNNING = 0
    STOPPING = 1            # leave at once
    STOPPED = 2

# Why a request was answered by us, or ended without an answer. New ones go to the end: their names
# are what logs and metrics say, in lower case and without the prefix.
cpdef enum Reason:
    REASON_NONE = 0             # a server's answer
    REASON_FAULT = 1            # the head is no request that we accept (protocols.http1.Fault says which)
    REASON_VERSION = 2          # a version that the listener does not speak
    REASON_METHOD = 3
    REASON_MISDIRECTED = 4      # another certificate stands for that host
    REASON_BODY_SIZE = 5
    REASON_BODY_FAULT = 6       # the body's framing is broken
    REASON_HEAD_TIME = 7        # the head did not come in time
    REASON_BODY_TIME = 8
    REASON_NO_ROUTE = 9
    REASON_ACTION = 10          # redirect, respond: the file says so
    REASON_REWRITE = 11         # a filter made of it what must not be sent
    REASON_HEAD_SIZE = 12       # with our headers it does not fit
    REASON_NO_SERVER = 13       # none is usable
    REASON_CONNECT = 14         # no server could be connected to
    REASON_CONNECT_TIME = 15
    REASON_TLS = 16             # the server did not prove who it is, or the like
    REASON_RESET = 17           # the server hung up before it answered
    REASON_SERVER_TIME = 18     # it did not answer in time
    REASON_BAD_ANSWER = 19
    REASON_OURS = 20            # no descriptors or memory of our own
    REASON_CLIENT_LEFT = 21
    REASON_CUT = 22             # the server hung up amid its answer
    REASON_RELOADED = 23        # the listener is gone, or has become stricter meanwhile
    REASON_SERVERS_FULL = 24    # every server is at its limit, and there is no queue
    REASON_BACKEND_FULL = 25    # the backend's own limit
    REASON_QUEUE_FULL = 26
    REASON_QUEUE_TIME = 27      # it waited as long as it may
    REASON_CIRCUIT_OPEN = 28    # too many errors of all servers that are left
    REASON_PERSISTED_DOWN = 29  # the one server that this client belongs to cannot be had
    REASON_RETRIED_STATUS = 30  # answers that were worth another try, and no server was left for it
    REASON_DENIED = 40          # `access`: not from that address
    REASON_CORS_ORIGIN = 41     # `cors`: a preflight from an origin that is not allowed
    REASON_CORS_PREFLIGHT = 42  # a preflight, answered by us
    REASON_PASSWORD = 43        # `basic_auth`: no name and password, or wrong ones
    REASON_TOKEN = 44           # `jwt`: no token, or not a good one
    REASON_ASKED = 45           # `forward_auth`: the service that was asked said no
    REASON_ASK_FAILED = 46      # ... or gave no answer
    REASON_CHECKS_FULL = 47     # too many passwords wait for their check
    REASON_RATE = 48            # a rate limit
    REASON_CONCURRENCY = 49     # too many requests of this key or route at once
    REASON_ADAPTIVE = 50        # likewise, by the limit that follows from the servers' latency
    REASON_INJECTED = 51        # a fault that the file asks for
    REASON_ANSWER_SIZE = 52     # the server's answer is larger than the route lets pass
    REASON_BACKEND_CIRCUIT = 60  # too many errors of the backend as a whole
    REASON_BACKEND_CONNECTIONS = 61  # the backend has all connections that it may have
    REASON_UNDECIDED = 62       # an expression of a match ran into its limit

cdef extern from "fourseven/worker/worker.h" nogil:
    ctypedef struct WorkerCounters:
        uint64_t turns, accepted, accept_errors, sessions_opened, sessions_closed
        uint64_t requests, own_answers, upgrades, retries
        uint64_t buffers_large, buffers_small, pipes
        uint64_t upstream_idle
        uint64_t memory_refused
        uint64_t[FAULTS_MAX] faults
        uint64_t pick_failed, timeouts_head, timeouts_body, timeouts_idle, timeouts_send
        uint64_t tls_handshakes, tls_resumed, tls_failed
        uint64_t arrivals, hello_refused, proxy_refused, timeouts_hello
        uint64_t[TLS_FAULTS_MAX] tls_faults, tls_server_faults
        uint64_t http2_sessions, http2_streams, http2_resets, http2_calmed
        uint64_t http2_trunks, http2_calls
        uint64_t rate_dry_run, rate_keys_replaced, concurrency_untracked
        uint64_t records, records_dropped
        uint64_t mirror_copies, mirror_failed, mirror_skipped, mirror_given_up
        uint64_t compressors, compressed, compressed_in, compressed_out
        uint64_t[SKIPS_MAX] uncompressed
        uint64_t bandwidth_waits

    ctypedef struct ListenerCounters:
        uint64_t accepted, refused_limit, requests, bytes_in, bytes_out
        uint64_t[6] status
        uint64_t flows, flows_refused, datagrams_in, datagrams_out

    ctypedef struct SlotCounters:
        uint64_t requests, connects, connect_errors, timeouts, resets, bad_answers
        uint64_t bytes_to, bytes_from
        uint64_t[6] status
        uint64_t tls_handshakes, tls_resumed, tls_failed
        uint64_t tries, errors, latency_ns

    ctypedef struct RouteCounters:
        uint64_t begun, ended, bytes_in, bytes_out
        uint64_t[6] status
        uint64_t latency_ns
        uint64_t[LATENCIES] latencies
        uint64_t[REASONS_MAX] reasons

    ctypedef struct BackendCounters:
        uint64_t requests, retries, pick_failed
        uint64_t latency_ns
        uint64_t[LATENCIES] latencies
        uint64_t retries_of_status, retries_refused
        uint64_t persisted, persisted_new, persisted_moved
        uint64_t queued, queue_full, queue_timeouts, limited
        uint64_t circuits_opened, circuit_refused, spilled
        uint64_t hedges, hedges_won
        uint64_t backend_circuit_opened, backend_circuit_refused, fallbacks
        uint64_t persisted_refused, load_reports, load_reports_bad

# ---- what the loop knows of the things it drives ----

cdef struct Worker
cdef struct Source
cdef struct Timer
cdef struct WorkerListener

ctypedef void (*ready_fn)(Worker *worker, Source *source, uint32_t events) noexcept nogil
ctypedef void (*fire_fn)(Worker *worker, Timer *timer) noexcept nogil

# Anything that epoll watches; the first member of its owner.
cdef struct Source:
    ready_fn ready
    int32_t fd
    uint32_t registered     # 1: epoll knows it (edge-triggered, both ways)
    Source *again           # the next one that wants another turn although nothing happened
    uint32_t queued         # 1: it stands in the list `again`, 2: in `late`

# Intrusive; zeroed is unarmed. A timer that is put off need not be moved: set `due_ms` later and
# the wheel re-files it when its slot comes round.
cdef struct Timer:
    Timer *next
    Timer **link            # what points at us; NULL when unarmed
    uint64_t due_ms         # monotonic
    fire_fn fire

cdef struct Buffer:
    Buffer *next
    uint32_t start          # content is at[start:end]
    uint32_t end
    uint32_t capacity
    uint32_t large
    char *at

# Closed things may still have an event in this batch: they are freed when the batch is over.
cdef struct Dead:
    Dead *next
    void (*bury)(Worker *worker, Dead *dead) noexcept nogil

# ---- planes: what serves a listener of a mode ----

cdef struct WorkerListener:
    Source source
    const Listener *plan    # of the current snapshot; NULL once the file no longer names it
    uint32_t number
    uint32_t mode
    uint32_t open           # 1: registered with this worker's epoll
    ListenerCounters *counters
    ListenerState *state
    Address local           # where it is bound; a wildcard address gives only the port
    uint64_t generation     # of the last snapshot that named it
    Timer retry             # descriptors ran out: it listens again when this fires
    Worker *worker
    void *private           # the plane's own (UDP's flow table)

# What was learnt of a connection before it was served. It belongs to the session that takes the
# connection, which frees it; texts stand behind the record.
cdef struct Arrived:
    Address client          # the other end, or whom a proxy speaks for
    Address local           # where that client went to, if `told`
    Span sni                # canonical; absent where the client names no host, or nobody told it
    Span alpn               # protocols it offers (by a proxy: has chosen): of each its size, then its name
    uint64_t session_key    # of the TLS session that the hello would take up again, by its ID; 0: none
    uint64_t ticket_key     # ... by its ticket
    int32_t route           # of the listener: the one that passes TLS through; -1: none was chosen
    uint8_t hello           # a ClientHello was seen on this connection
    uint8_t told            # a proxy told the addresses
    uint8_t tls_client      # a proxy told how its client came: bits of protocols.proxyproto.ProxyClient
    uint8_t tls_verified

# A connection of which something must be read before it is served.
cdef struct Arrival:
    Source source           # first
    Dead dead
    Timer timer
    Arrival *next           # all arrivals of the worker
    Arrival **link
    WorkerListener *listener
    Address client          # the other end
    Arrived *arrived        # what a proxy has told; NULL: nothing so far
    uint32_t hung           # a FIN or an error stands behind what has come

cdef struct Plane:
    int32_t (*start)(Worker *worker) noexcept nogil             # 0, or an errno
    int32_t (*open)(Worker *worker, WorkerListener *listener) noexcept nogil   # before it is registered
    void (*accept)(Worker *worker, WorkerListener *listener) noexcept nogil    # its socket is readable
    # As accept, with a descriptor that has arrived: it and `arrived` are the plane's from now on.
    void (*take)(Worker *worker, WorkerListener *listener, int32_t fd, Arrived *arrived) noexcept nogil
    void (*shut)(Worker *worker, WorkerListener *listener) noexcept nogil      # the file no longer names it
    void (*drain)(Worker *worker) noexcept nogil                # close what is idle, let the rest finish
    uint64_t (*busy)(Worker *worker) noexcept nogil             # sessions that a drain waits for
    void (*stop)(Worker *worker) noexcept nogil                 # cut everything
    void (*woken)(Worker *worker) noexcept nogil                # another thread asks for a look; may be NULL
    void (*drop)(Worker *worker) noexcept nogil                 # all is buried: free what is left; may be NULL

cdef struct Wheel:
    Timer *slots[WHEEL_SLOTS]
    uint64_t[64] occupied   # a bit for each slot that is not empty
    uint64_t tick           # the last one that was run

cdef struct Worker:
    Shared *shared
    Snapshot *snapshot      # of this turn
    uint64_t generation     # of the snapshot that the listeners were last set up for
    int32_t index
    int32_t epoll_fd
    int32_t wake_fd
    int32_t fatal_fd
    uint64_t now_ms         # monotonic, read once a turn (and where a wait matters, refreshed)
    uint64_t now_ns
    uint64_t random         # xorshift state
    uint32_t draining       # this worker has begun to drain
    Wheel *wheel
    Buffer *free_large
    Buffer *free_small
    uint32_t free_large_count
    uint32_t free_small_count
    Dead *dead
    Arrival *arrivals
    Source *again           # ready without an event: they had their share of the last turn
    Source *late            # once more at the end of this turn: their writes are joined
    MatchScratch *scratch
    Request *request        # valid within one call chain, never across turns
    Response *response
    WorkerCounters *counters
    SlotCounters *slot_counters         # [SLOTS_MAX], touched pages only
    ListenerCounters *listener_counters  # [LISTENERS_MAX]
    Ring *log_ring                      # records of requests: for the access log
    Ring *span_ring                     # ... for tracing
    RouteCounters *route_counters       # [ROUTES_MAX], touched pages only
    BackendCounters *backend_counters   # [BACKENDS_MAX], touched pages only
    Source wake                         # the eventfd by which control wakes us
    WorkerListener *listeners           # [LISTENERS_MAX]
    void *resumptions                   # worker.secure.Resumption[SLOTS_MAX], touched pages only
    const Plane *planes[MODES]
    void *plane_state[MODES]
    Seen *seen              # what this worker says of its turn
    # written by control
    uint32_t state          # atomic: WorkerState
    int32_t fatal           # atomic: the worker's errno; 0 while all is well

cdef Worker *worker_new(Shared *shared, int index, int fatal_fd) except NULL
cdef void worker_drop(Worker *worker) noexcept
cdef void worker_wake(Worker *worker) noexcept nogil
cdef void worker_run "fourseven_worker_run"(Worker *worker) noexcept nogil

# ---- of worker.py alone ----
cdef int32_t start(Worker *worker) noexcept nogil
cdef void stop(Worker *worker) noexcept nogil
cdef void fail(Worker *worker, int32_t error) noexcept nogil
cdef int32_t turn "fourseven_turn"(Worker *worker) noexcept nogil
cdef void set_time(Worker *worker) noexcept nogil
cdef void woken(Worker *worker, Source *source, uint32_t events) noexcept nogil
cdef void bury_all(Worker *worker) noexcept nogil
cdef void take_snapshot(Worker *worker) noexcept nogil
cdef void drain(Worker *worker) noexcept nogil
cdef void set_listeners(Worker *worker, const Snapshot *snapshot) noexcept nogil
cdef int32_t own_fd(Worker *worker, const Listener *plan) noexcept nogil
cdef void open_listener(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void listen(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void shut(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void listener_ready(Worker *worker, Source *source, uint32_t events) noexcept nogil
cdef void listener_retry(Worker *worker, Timer *timer) noexcept nogil

# The listener whose `retry` timer this is.
cdef inline WorkerListener *retried(Timer *timer) noexcept nogil:
    cdef WorkerListener *like = <WorkerListener *> timer  # for the distance alone; it is not read
    return <WorkerListener *> (<char *> timer - (<char *> &like.retry - <char *> like))
