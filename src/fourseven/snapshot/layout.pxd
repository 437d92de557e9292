from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.protocols.message cimport Address, Span

cpdef enum:
    WORKERS_MAX = 64
    SLOTS_MAX = 65536
    BACKENDS_MAX = 16384
    LISTENERS_MAX = 1024
    ROUTES_MAX = 65536
    TRIED_MAX = 4

cpdef enum ListenerMode:
    MODE_HTTP = 0       # L7
    MODE_RELAY_TCP = 1
    MODE_RELAY_UDP = 2
    MODE_NONE = 3       # served elsewhere (the kernel planes): workers leave it alone

cpdef enum ForwardedMode:   # bits
    FORWARDED_X = 1         # X-Forwarded-For, -Proto, -Host
    FORWARDED_RFC7239 = 2   # Forwarded

cpdef enum Relax:           # bits: a defence that the file relaxes by name
    RELAX_UNDERSCORES = 1   # keep headers whose name is the underscore twin of a known one
    RELAX_TRACE = 2         # allow TRACE
    RELAX_ENCODED_SLASH = 4     # allow %2F and %5C in a path, kept encoded
    RELAX_MERGE_SLASHES = 8     # do not merge //

cpdef enum ArrivalStage:    # bits: what is read of a connection before it is served
    ARRIVAL_PROXY = 1       # the PROXY protocol's header
    ARRIVAL_HELLO = 2       # the TLS ClientHello, which stays in the socket

cpdef enum Protocols:        # bits: what a listener speaks with its clients
    PROTOCOL_HTTP1 = 1
    PROTOCOL_HTTP2 = 2

cpdef enum PartKind:
    PART_LITERAL = 0
    PART_CLIENT_ADDRESS = 1
    PART_CLIENT_PORT = 2
    PART_HOST = 3
    PART_PATH = 4
    PART_QUERY = 5          # with its '?', or nothing
    PART_METHOD = 6
    PART_SCHEME = 7
    PART_REQUEST_ID = 8
    PART_LISTENER = 9
    PART_ROUTE = 10
    PART_BACKEND = 11
    PART_HEADER = 12        # a request header, by name
    PART_PATH_REST = 13     # the path behind the matched or named prefix
    PART_PEER_ADDRESS = 14
    PART_PORT = 15          # our port
    PART_GROUP = 16         # a group of the rewrite's regex; text: one digit
    PART_CERTIFICATE = 17   # of the client's certificate; text: one digit, a CertificateFact
    PART_VERIFIED = 18      # whether it has shown one: true or false
    PART_SECURE = 19        # the text, over TLS alone

# What stands in a line of the access log.
cpdef enum LineField:
    LINE_LITERAL = 0
    LINE_TIME = 1           # RFC 3339, UTC, milliseconds
    LINE_TIME_COMMON = 2    # 31/Dec/2026:23:59:59 +0000
    LINE_TIME_UNIX = 3      # seconds since 1970, with milliseconds
    LINE_CLIENT = 4
    LINE_PORT = 5
    LINE_LISTENER = 6
    LINE_ROUTE = 7
    LINE_BACKEND = 8
    LINE_SERVER = 9
    LINE_METHOD = 10
    LINE_TARGET = 11
    LINE_HOST = 12
    LINE_AGENT = 13
    LINE_REFERER = 14
    LINE_ID = 15
    LINE_PROTOCOL = 16      # HTTP/1.1
    LINE_SCHEME = 17
    LINE_STATUS = 18
    LINE_REASON = 19
    LINE_BYTES_IN = 20
    LINE_BYTES_OUT = 21
    LINE_TOTAL = 22         # milliseconds, three places
    LINE_QUEUE = 23
    LINE_CONNECT = 24
    LINE_ANSWER = 25
    LINE_RETRIES = 26
    LINE_TRACE = 27
    LINE_SPAN = 28

cpdef enum LineMode:
    LINE_PLAIN = 0          # absent: -
    LINE_JSON = 1           # strings in quotes; absent: null

cpdef enum ActionKind:
    ACTION_SET_HEADER = 0       # replaces all of that name
    ACTION_ADD_HEADER = 1
    ACTION_REMOVE_HEADER = 2
    ACTION_SET_HOST = 3         # the Host sent upstream
    ACTION_REWRITE_PREFIX = 4   # name: the prefix; value: what stands instead
    ACTION_REWRITE_PATH = 5     # value: the whole new path (the query stays)
    ACTION_REWRITE_REGEX = 6    # regex and value with \1 .. \9 (PART_GROUP by number in text)
    ACTION_REDIRECT = 7         # terminal: status, value = Location
    ACTION_RESPOND = 8          # terminal: status, value = body, name = content type

cpdef enum PersistenceKind:
    PERSIST_COOKIE = 0      # one of ours, which carries the server's name
    PERSIST_LEARNT = 1      # the application's, which a server has set
    PERSIST_TABLE = 2       # a header or an address, in a table
    PERSIST_SESSION = 3     # a session of TLS that is passed through; without one, `field`

cpdef enum Fallback:        # when the server of one who persists cannot be had
    FALLBACK_REBALANCE = 0
    FALLBACK_WAIT = 1
    FALLBACK_REFUSE = 2

cpdef enum RetryOn:         # bits: failures that are worth another try
    RETRY_CONNECT = 1
    RETRY_RESET = 2
    RETRY_TIMEOUT = 4

cpdef enum BreakerOf:        # bits: what a circuit is of
    BREAKER_SERVER = 1
    BREAKER_BACKEND = 2

cpdef enum LoadWord:         # bits: headers by which a server says how busy it is
    LOAD_X = 1              # X-Load
    LOAD_ORCA = 2           # endpoint-load-metrics

cpdef enum StickyKind:       # how a route with several backends knows a client again
    STICKY_NOT = 0
    STICKY_KEY = 1          # by what it brings
    STICKY_COOKIE = 2       # by a cookie that we give it

# A kind of gate: its functions stand in l7.gates, its plan comes from the filter of that name.
cpdef enum GateKind:
    GATE_NONE = 0
    GATE_ACCESS = 1
    GATE_CORS = 2
    GATE_BASIC = 3          # name and password
    GATE_TOKEN = 4          # a signed token (JWT)
    GATE_FORWARD = 5        # a service is asked
    GATE_COMPRESS = 6
    GATE_BANDWIDTH = 7
    GATE_RATE = 10
    GATE_CONCURRENCY = 11
    GATE_ADAPTIVE = 12
    GATE_FAULT = 13
    GATE_BODY = 14           # sizes of bodies
    GATE_MIRROR = 17         # a copy goes to another backend

cpdef enum:
    NO_BACKEND = 0xFFFFFFFF
    GATE_HEAD = 1024        # bytes in front of what a gate keeps by key: GateState and its own few words
    GATES_MAX = 32          # on one route; each costs every request of it

cdef extern from "fourseven/snapshot/layout.h" nogil:
    ctypedef struct Backend
    ctypedef struct Snapshot
    ctypedef struct RouteTable
    ctypedef struct Regex

    ctypedef struct Circuit:
        uint64_t open_until_ms
        uint64_t window_ms
        uint32_t window_all
        uint32_t window_bad
        uint32_t probing

    ctypedef struct Slot:
        uint8_t[112] sockaddr
        uint32_t sockaddr_size
        uint32_t usable
        uint32_t max_in_flight
        uint32_t generation
        int64_t in_flight
        uint64_t ewma_ns
        uint64_t ewma_at_ns
        uint32_t errors_row
        uint32_t share
        uint32_t persists
        uint32_t cut
        int64_t connections
        Circuit circuit
        uint64_t load_at_ms
        uint32_t load
        uint32_t connections_max
        uint32_t idle_share
        uint32_t backend

    ctypedef struct BackendState:
        uint64_t cursor
        int64_t in_flight
        int64_t retrying
        int64_t waiting
        uint64_t spare_ns
        uint64_t waiters
        uint64_t hedge_ns
        int64_t connections
        Circuit circuit
        uint32_t idle_share

    ctypedef struct ListenerState:
        int64_t sessions

    ctypedef struct Pick:
        Slot *slots
        uint64_t hash
        uint64_t random
        uint64_t now_ns
        uint32_t tried_count
        uint32_t[TRIED_MAX] tried

    ctypedef int32_t (*pick_fn)(const Backend *backend, Pick *pick) noexcept nogil

    ctypedef struct GateState:
        int64_t users

    ctypedef struct ServerName:
        uint64_t first
        uint64_t second
        uint32_t at
        uint32_t old

    ctypedef struct Persistence:
        uint32_t kind
        uint32_t fallback
        uint32_t wait_ms
        uint32_t secure
        uint64_t ttl_ms
        uint16_t field
        uint8_t prefix_v4
        uint8_t prefix_v6
        Span name
        Span attributes
        uint32_t names_mask
        ServerName *names
        ServerName *given
        uint64_t set_count
        GateState *table

    ctypedef struct Resilience:
        uint32_t retry_on
        uint32_t retry_any_method
        uint32_t retry_same
        uint32_t try_timeout_ms
        uint32_t budget_percent
        uint32_t budget_min
        uint32_t hedge_ms
        uint32_t hedge_percent
        uint32_t status_count
        uint16_t[8] statuses
        uint32_t requests_max
        uint32_t connections_max
        uint32_t breaker_of
        uint32_t load_words
        uint32_t load_passes
        uint32_t queue_max
        uint32_t queue_wait_ms
        Span queue_header
        uint32_t breaker_percent
        uint32_t breaker_requests
        uint32_t breaker_window_ms
        uint32_t breaker_open_ms
        uint32_t tier_percent

    ctypedef struct Backend:
        pick_fn pick
        BackendState *state
        uint32_t number
        uint32_t server_count
        uint32_t *slots
        uint32_t *weights
        uint64_t weight_total
        uint32_t *table
        uint32_t table_size
        uint32_t bounded_load_percent
        uint16_t hash_field
        uint8_t hash_prefix_v4
        uint8_t hash_prefix_v6
        Span hash_name
        uint32_t connect_timeout_ms
        uint32_t response_timeout_ms
        uint32_t read_timeout_ms
        uint32_t idle_timeout_ms
        uint32_t idle_max
        uint32_t proxy_protocol
        uint32_t http2
        uint32_t retries
        Span name
        void *tls
        Persistence *persistence
        Resilience *resilience
        Backend *tiers
        uint32_t tier_count
        uint16_t spill_percent
        uint16_t spill_by_hash

    ctypedef struct Part:
        uint32_t kind
        Span text

    ctypedef struct Template:
        uint32_t count
        Part *parts

    ctypedef struct Action:
        uint16_t kind
        uint16_t status
        uint16_t known
        Span name
        Template value
        Regex *regex

    ctypedef struct Choice:
        uint32_t backend
        uint32_t up_to

    ctypedef struct Key:
        uint16_t field
        uint8_t prefix_v4
        uint8_t prefix_v6
        Span name

    ctypedef struct Cidr:
        uint8_t[16] bytes
        uint32_t prefix

    ctypedef struct Gate:
        uint32_t kind
        uint32_t backend
        GateState *state
        uint64_t state_size
        uint64_t[8] numbers
        uint32_t key_count, text_count, network_count
        Key *keys
        Span *texts
        Cidr *networks
        Template value
        void *own

    ctypedef struct Route:
        uint32_t number
        uint32_t stable
        uint32_t gate_count
        Gate *gates
        uint32_t choice_count
        Choice *choices
        uint32_t choice_total
        uint32_t fallback
        uint32_t sticky
        Key sticky_key
        uint32_t request_action_count
        uint32_t response_action_count
        Action *request_actions
        Action *response_actions
        Span name
        uint32_t passthrough

    ctypedef struct Listener:
        uint32_t number
        uint32_t state
        uint32_t mode
        int32_t *fds
        uint32_t fd_count
        RouteTable *table
        Route *routes
        uint32_t route_count
        uint32_t body_prefix_max
        Cidr *trusted
        uint32_t trusted_count
        uint32_t forwarded
        Span request_id
        uint32_t connections_max
        uint32_t head_max
        uint32_t headers_max
        uint32_t target_max
        uint64_t body_max
        uint32_t requests_max
        uint32_t flows_max
        uint32_t head_timeout_ms
        uint32_t body_timeout_ms
        uint32_t body_rate_min
        uint32_t idle_timeout_ms
        uint32_t send_timeout_ms
        uint32_t tunnel_timeout_ms
        uint32_t relax
        Span name
        uint32_t arrival
        uint32_t hello_timeout_ms
        Cidr *proxies
        uint32_t proxies_count
        RouteTable *hello_table
        uint32_t protocols
        uint32_t streams_max
        uint32_t logged
        uint32_t traced
        uint32_t trace_sample
        void *tls

    ctypedef struct Pins "__typeof__(((Snapshot *)0)->pins[0])":
        int64_t count

    ctypedef struct Snapshot:
        uint64_t generation
        uint32_t listener_count
        uint32_t backend_count
        Listener *listeners
        Backend *backends
        void *arena
        Pins[WORKERS_MAX] pins
