# The records of the HTTP engine: a client's connection, one request in it, a server's connection.
#
# Session 1 -- 1 Stream 1 -- 1 Upstream: with HTTP/1 a session carries one stream at a time, and has
# its record only while a request is under way: an idle connection costs little, and the record of
# the next request is the one that was used last, so it is still in the cache. With HTTP/2 the
# socket's session carries many: each stream is a Lane, a session of its own without a socket. Only
# `session` reads and writes the client's socket.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.protocols.chunked cimport Chunked
from fourseven.protocols.coding cimport CODINGS, Coder
from fourseven.protocols.message cimport Address
from fourseven.snapshot.layout cimport Backend, BackendState, GateState, Listener, ListenerState
from fourseven.snapshot.layout cimport TRIED_MAX, Gate, Route, Slot, Snapshot
from fourseven.worker.secure cimport Secure, secure_unsent
from fourseven.worker.worker cimport Arrived, Buffer, Dead, ListenerCounters, Source, Timer, Worker
from fourseven.worker.worker cimport WorkerListener

cpdef enum SessionState:
    SESSION_HEAD = 0        # waits for a request's head
    SESSION_PREFIX = 1      # reads the beginning of a body that decides the route
    SESSION_EXCHANGE = 2    # a stream is at work
    SESSION_TUNNEL = 3      # after an Upgrade: bytes both ways
    SESSION_LINGER = 4      # all is said; what still comes is read and thrown away
    SESSION_CLOSED = 5
    SESSION_HANDSHAKE = 6   # TLS: nothing of HTTP has come yet
    SESSION_HTTP2 = 7       # it carries lanes
    SESSION_GATE = 8        # a gate of its route holds the request up
    SESSION_ASIDE = 9       # no client: a request of our own (l7.aside)

# What a session waits for; its one timer means this.
cpdef enum Waiting:
    WAIT_NOTHING = 0
    WAIT_REQUEST = 1        # idle between requests
    WAIT_HEAD = 2           # the rest of a head
    WAIT_BODY = 3           # more of a body, at a minimum rate
    WAIT_CLIENT = 4         # the client to take what we have for it
    WAIT_SERVER = 5         # not watched yet: after a while we want to know if the client leaves
    WAIT_TUNNEL = 6
    WAIT_CLOSE = 7          # lingering
    WAIT_GATE = 8           # until stream.gate_due_ms, or somebody calls gate_open

cpdef enum:
    OUT_CAPACITY = 69632        # one head and a small body; its rest fits a large buffer
    JOIN_MAX = 16384            # a body piece up to this is copied behind its head: one write, no gather
    SPLICE_MIN = 131072         # body bytes still to come from which a pipe pays (bench/RESULTS.md)
    PIPE_SIZE = 1048576         # asked for; the system may give less
    PIPES_FREE_MAX = 32         # kept for the next big body
    ROOM_KEPT = 1024            # less room than this, and what was sent of a body gives way to the next
    TURNS_MAX = 32              # pieces that one connection may move before others have their turn
    BODY_WINDOW_MS = 5000       # over which a client's body rate is judged
    LINGER_MS = 2000            # for the client to read our last answer before we close
    LINGER_BYTES_MAX = 1048576  # what we read and throw away meanwhile
    REGISTER_MS = 250           # a request that takes longer has its client watched for leaving
    INTERIM_MAX = 32            # 1xx answers to one request; real servers send one or two
    PRIORITIES = 3              # of those who wait for a server: high, normal, low
    TEXT_MAX = 8192             # of a text in a record: a line must have an end
    PACES_MAX = 4               # limits of bytes on one route, each direction for itself
    TAG_MAX = 128               # of an ETag that is written anew; a longer one is left out
    HELD_MAX = 6                # gates that must hear of a request's end, on one route
    ACCEPTS_MAX = 8             # new connections a turn: more, and one worker would take a whole burst

# Bytes of a body on their way through: cooked ones stand at buffer[at : at + ready] and may be sent
# as they are; raw ones, not yet checked, at buffer[raw : end].
cdef struct Window:
    Buffer *buffer
    uint32_t at
    uint32_t ready
    uint32_t raw

cdef struct Body:
    uint64_t left           # with FRAMING_LENGTH
    uint64_t total          # data bytes so far
    uint64_t limit          # of total; 0: none
    Chunked chunked
    uint8_t framing         # as it comes
    uint8_t done            # its last byte has been taken from the source

cdef struct Pipe:
    Pipe *next
    int32_t read_fd
    int32_t write_fd
    uint32_t held           # bytes inside
    uint32_t size

# A gate that let this request pass and must hear of its end (l7.gates).
cdef struct Held:
    GateState *state            # its `users` counts us
    uint64_t since_ns           # when it passed
    uint64_t note               # the gate's own
    uint32_t kind               # GateKind

# A limit of bytes a second (l7.pace).
cdef struct Pace:
    uint64_t rate               # bytes a second
    uint64_t burst_ns           # how far ahead of the rate it may be
    uint64_t due_ns             # of a bucket of its own: when it is full again
    uint64_t ready_ns           # when what was granted may go
    GateState *table            # of a bucket that others share; NULL: its own
    uint64_t table_size
    uint64_t key
    uint32_t granted            # bytes that may go and have not
    uint32_t piece              # how many are asked for next
    uint8_t upward              # 1: of the request's body, 0: of the answer's

# What is done to the bodies of one stream: the answer's is compressed (l7.compressed), both are held
# to a rate (l7.pace). Few streams have one.
cdef struct Shape:
    Shape *next                 # while nobody has it
    Timer timer
    Session *session
    # compression
    const Gate *gate            # while the snapshot is pinned; NULL: nothing is compressed
    Coder *coder                # NULL: none, or it has ended
    Buffer *out                 # to the client: the head, and chunks of what was compressed
    Buffer *trailers            # of the server's answer
    uint64_t flush_ms           # when what was taken in must go out; 0: nothing waits
    uint32_t burned             # bytes compressed since others had their turn
    uint32_t said_before        # how long the gates' lines were before ours
    uint8_t coding              # protocols.coding.Coding: what this client would have
    uint8_t skip                # l7.compressed.Skip: why this request's answer stays as it is
    uint8_t varies              # another client might get this answer compressed
    uint8_t coded               # the body is compressed
    uint8_t at_once             # events: nothing is held back
    uint8_t unflushed           # something went in that has not come out
    uint8_t flushing
    uint8_t finished            # 1: the coder is through, 2: and so is the end behind it
    uint8_t stiff               # l7.pace: held back, by direction: bits 1 (answer), 2 (request)
    uint8_t pace_count
    uint8_t pace_up             # how many of them are of the request
    char tag[TAG_MAX]
    Pace paces[PACES_MAX]

# Behind the start of the session's buffer.
cdef struct TextPlace:
    uint16_t at
    uint16_t size               # 0: none, or beyond what a record takes

cdef struct Stream:
    Upstream *upstream
    Stream *next_free
    # while pinned: from routing to the end of the response's head
    Snapshot *pinned
    const Listener *listener
    const Route *route
    const Backend *backend
    Shape *shape                # its bodies are changed or held back; NULL for most
    BackendState *backend_state  # set while the stream counts as in flight there
    uint32_t slot               # likewise
    uint8_t in_flight
    # the request
    uint8_t method_id
    uint8_t version
    uint8_t keep_alive          # the client's connection stays open after this
    uint8_t upgrade
    uint8_t replayable          # the whole request still stands in the session's buffer
    uint8_t continued           # we have said 100 Continue ourselves
    uint8_t sent                # some of the request has reached a connected socket
    uint8_t interim             # 1xx answers so far
    uint8_t mirrors             # bits of the route's mirrors that get a copy once it is whole
    uint8_t hedge               # l7.hedge.Hedge
    Body request
    uint32_t head_size
    # the response
    uint8_t response_begun      # its head has gone to the client
    uint8_t response_framing    # Framing towards the client
    uint16_t status
    Body response
    # tries
    uint8_t tries
    uint8_t ours                # no connection for want of our own descriptors or memory
    uint8_t stale               # pooled connections that proved dead
    uint32_t tried_count
    uint32_t tried[TRIED_MAX]
    uint64_t started_ns
    uint64_t gated_ns           # the gates have let it pass, and queues; 0: the gates have not
    uint64_t picked_ns          # the last try's server was picked
    uint64_t sent_ns            # the request's last byte
    uint64_t first_ns           # the answer's head has been read
    uint64_t bytes_out          # to the client
    uint64_t connected_ns       # the last try's connection stood, if it was a new one
    # for the record
    TextPlace[5] texts          # method, target, host, user agent, referer: in the head
    Address client
    uint8_t secure
    uint8_t logged
    uint8_t traced              # trace, span and parent hold; 2: and are recorded if sampled
    uint8_t sampled
    uint8_t[16] trace
    uint8_t[8] span
    uint8_t[8] parent           # all zeros: the trace begins here
    # the route, by its stable number: it outlives the pin
    uint32_t route_stable
    uint32_t backend_number
    uint8_t routed              # route_stable holds
    uint8_t backed              # backend_number and slot hold: a server was picked
    uint8_t reason              # worker.worker.Reason
    uint8_t last_failure        # Reason of the last try that failed
    uint8_t cut                 # the server broke off amid its answer
    uint8_t ended               # stream_ended has been here
    # gates
    uint8_t gate                # the one that is asked now
    uint8_t gate_ready          # what it waited for has come
    uint8_t gate_step           # the gate's own: how far it is; 0 when it is asked first
    uint8_t held_count
    uint32_t retry_after_s      # of an answer of our own; 0: the usual
    uint64_t gate_due_ms        # when it is asked again at the latest
    uint64_t gate_note          # the gate's own, while it waits
    void *gate_own              # likewise; whoever sets it frees it in `left`. In an exchange: the hedge
    Held held[HELD_MAX]
    Buffer *said                # lines that gates add to the answer's head
    Buffer *told                # ... and to the request's
    uint8_t tls_fault           # worker.secure.TlsFault of the last try
    # when servers fail or are full
    uint8_t seen_full           # within one choice: bits of l7.choice.Full
    uint8_t seen_open           # ... or its circuit was open
    uint8_t crowded             # no connection, for others were quicker to take the last
    uint8_t reserved            # a connection is counted for it and not yet made: bits of l7.connect.Counted
    uint8_t probe               # it finds out whether a circuit may close: bits of l7.breaker.Probe
    uint8_t budgeted            # it counts in the retry budget
    uint8_t belongs             # l7.persist.Belongs
    uint8_t moved               # its own server could not be had
    uint8_t client_secure       # the client came by TLS
    uint8_t fallen              # the route's fallback serves it
    uint64_t client_key         # in the table of those who persist
    uint8_t queued              # it stands in a queue
    uint8_t priority
    BackendState *queue_state   # whose `waiting` counts it
    Session *queue_next
    Session *queue_before
    uint64_t queue_until_ms     # how long it may wait; 0: it has not yet
    uint32_t id_size
    char id[128]

# HTTP/2: where the answer of a lane is read on, between two writes of the engine.
cpdef enum AnswerState:
    ANSWER_HEAD = 0
    ANSWER_LENGTH = 1       # `answer_left` bytes of a body
    ANSWER_OPEN = 2         # a body until the engine says that it is over, or a tunnel
    ANSWER_SIZE = 3         # a chunk's size
    ANSWER_CHUNK = 4        # `answer_left` bytes of its data
    ANSWER_CHUNK_END = 5    # the line end behind it
    ANSWER_TRAILERS = 6
    ANSWER_DONE = 7

cdef struct Session:
    Source source               # first: epoll gives it back
    Dead dead
    Timer timer
    Session *next               # all sessions of the worker
    Session **link
    WorkerListener *listener
    Address peer
    uint8_t state
    uint8_t waiting             # Waiting
    uint8_t readable            # a read may bring something
    uint8_t hup                 # the kernel has told of a FIN: a short read is not the last one
    uint8_t fin                 # we have read the FIN
    uint8_t broken              # reset, or an error: nothing can be sent any more
    uint8_t closing             # close once `out` is empty
    uint8_t lingering           # ... and linger, for unread bytes would turn our close into a reset
    uint32_t scanned
    uint32_t requests
    uint32_t discarded
    uint64_t window_bytes       # bytes in this rate window
    uint64_t window_start_ms
    uint8_t fin_sent            # tunnel: we have closed our half towards the client
    uint8_t outward             # HTTP/2: the socket leads to a server (l7.trunk)
    Upstream *kept              # idle connections to servers that speak of this client alone
    Arrived *arrived            # what was read before it was served; NULL: nothing
    Secure *tls                 # NULL: without TLS
    Http2 *http2                # HTTP/2: what it carries
    Lane *lane                  # HTTP/2: this is a stream's session; the socket is another's
    uint64_t body_due_ms        # when the whole body must be here; 0: no such limit
    Window in_                  # from the client; the current request's head stays at its start
    Buffer *out                 # to the client, what its socket did not take
    Stream *stream              # between requests: Http.resting, which is nobody's

# A stream of HTTP/2, as the engine sees it: a connection of HTTP/1.1 that carries one request.
cdef struct Lane:
    Session session             # first; of a stream to a server (l7.call) only `in_` is used
    Upstream *upstream          # of a stream to a server; NULL: it is a client's
    Http2 *carrier
    Lane *next                  # of the carrier
    Lane **link
    Lane *next_ready
    int32_t id                  # of the stream
    uint16_t refuse             # the status that its head has earned; 0: none
    uint8_t queued              # in the carrier's `ready`
    uint8_t closed              # the library has forgotten the stream
    uint8_t connect             # extended CONNECT: a tunnel
    uint8_t grpc                # its content type says so: our own answers are statuses of gRPC
    uint32_t code               # why the other side, or the server behind it, ended it early
    # from the client
    uint8_t chunked             # its length is not known beforehand: the engine gets it in chunks
    uint8_t remote_end          # its last byte has come
    uint8_t tailed              # `tail` is complete
    Buffer *body                # came, and not yet read by the engine
    Buffer *tail                # the last chunk and the trailers
    # to the client
    uint8_t answer              # AnswerState
    uint8_t last                # within one call: what is given ends the body
    uint8_t over                # nothing more will come from the engine
    uint8_t sent_end
    uint8_t blocked             # Blocked
    uint64_t answer_left
    const char *give            # within one call: the bytes that the library may take
    uint32_t give_size
    uint32_t used               # within one call: bytes of the head
    Buffer *trailers            # of the answer
    # to a server, where the directions are the other way round
    uint8_t headed              # the head of its answer has come
    uint8_t asks_head           # the method is HEAD
    uint8_t wrong               # the server has broken the rules
    char accept[28]             # WebSocket: what a client of HTTP/1.1 waits for
    uint8_t tls_fault           # worker.secure.TlsFault of its connection, which is lost

cpdef enum Blocked:
    BLOCKED_NOT = 0
    BLOCKED_WINDOW = 1          # the client's windows are full
    BLOCKED_SOCKET = 2          # `out` is full

# A request's head on its way in; one at a time on a connection (RFC 9113 4.3).
cdef struct Building:
    Lane *lane                  # NULL: none
    void *pseudo[5]             # the library's buffers, by Pseudo
    uint32_t list_size          # as RFC 9113 10.5.1 counts
    uint32_t fields
    uint32_t crumbs
    uint32_t cookie_end         # where the Cookie line ends, without its CRLF; 0: none yet
    uint8_t begun               # the request line stands
    uint8_t has_length
    uint8_t trailers            # it is a trailer section
    uint8_t lengths             # Content-Length lines of an answer; the last one is length_size bytes
    uint8_t tailed              # ... behind whose body trailers are to be expected
    uint8_t length_size
    uint32_t length_at          # ... from here

# A connection of HTTP/2: what the socket's session carries.
cdef struct Http2:
    Session *session
    Worker *worker
    void *inner                 # the library's session
    Lane *lanes                 # who waits longest for room stands first
    Lane **lanes_end
    Lane *ready                 # to be run when the input is through
    Lane **ready_end
    uint32_t lane_count
    uint32_t requests
    int32_t newest              # of the client's streams
    int32_t passed[2]           # first and last of those that it passed over latest
    uint32_t debt               # of the fault budget
    uint64_t debt_ms            # when it was last counted
    uint32_t fault              # the error code that ends the connection; 0: none
    uint8_t over                # the library is not to be called any more
    uint8_t greeted             # the client's first frame has come
    uint8_t running             # a step is at work: it flushes by itself
    uint8_t room_wanted         # a lane waits for the socket
    uint8_t draining            # 1: told that the end comes, 2: told which stream was the last
    Building building
    # to a server
    uint8_t outward
    uint8_t listed              # it stands in Http.roomy: it may take another stream
    Http2 *next                 # of its slot
    Http2 **link
    uint32_t slot
    uint32_t generation         # of the slot when it was connected
    uint32_t idle_timeout_ms
    uint64_t heard_ms           # when something last came
    uint64_t identity           # what TLS it was made under (tls.outward); 0: without

cdef struct Upstream:
    Source source               # first
    Dead dead
    Timer timer
    Upstream *next              # in the pool of its slot, most recent first
    Upstream **link
    Session *session            # NULL: idle
    uint32_t slot
    uint32_t generation         # of the slot when it was connected
    uint8_t connecting
    uint8_t readable
    uint8_t hup
    uint8_t fin
    uint8_t reused
    uint8_t keep_alive
    uint8_t fin_sent            # tunnel: we have closed our half towards the server
    uint8_t pooled
    uint8_t proxy               # version of the PROXY header that it began with; 0: none
    uint8_t unintroduced        # it is still to be sent
    uint8_t counted             # at its backend, which has a limit
    uint32_t scanned
    uint32_t response_timeout_ms    # the backend's, for it may be gone from the file
    uint32_t read_timeout_ms
    uint32_t idle_timeout_ms
    uint32_t idle_max
    uint64_t try_due_ms             # when the answer's head must be here; 0: by the times above
    Window in_                  # from the server
    Buffer *out                 # to the server, what its socket did not take
    Pipe *pipe                  # a big body on its way
    Lane *lane                  # HTTP/2: a stream of a connection that others share
    Secure *tls                 # NULL: without TLS
    uint64_t identity           # what TLS it was made under (tls.outward); 0: without

# Those of one worker that wait for a server of one backend, by priority.
cdef struct Queue:
    Session *first[PRIORITIES]
    Session *last[PRIORITIES]
    uint32_t size
    Queue *next                 # in Http.waited_for
    Queue **link

# What a worker keeps for the plane.
cdef struct Http:
    Queue *queues               # [BACKENDS_MAX]
    Queue *waited_for           # those that are not empty
    Session *sessions
    Session *free_sessions
    Lane *free_lanes
    Stream *free_streams
    Stream resting              # of all who have no request: read as zeros, never written with sense
    Upstream *free_upstreams
    Upstream **idle             # [SLOTS_MAX]
    uint32_t *idle_count        # [SLOTS_MAX]
    uint32_t *idle_counted      # [BACKENDS_MAX] of those that count at their backend
    Session *trunks             # connections of HTTP/2 to servers
    Session *asides             # requests of our own
    Http2 **roomy               # [SLOTS_MAX] those of them that may take another stream
    WorkerListener nowhere      # whose they are: sessions have a listener
    ListenerCounters nowhere_counters
    ListenerState nowhere_state
    Pipe *pipes
    uint32_t pipe_count
    Shape *free_shapes
    Coder *coders[CODINGS]      # at rest, to be used again
    uint32_t coder_count[CODINGS]
    char out[OUT_CAPACITY]

cdef inline Http *http_of(Worker *worker) noexcept nogil:
    return <Http *> worker.plane_state[0]

# The session that has the socket, TLS and all that belongs to the connection.
cdef inline Session *carrier_of(const Session *session) noexcept nogil:
    if session.lane is NULL:
        return <Session *> session
    return session.lane.carrier.session

cdef inline Session *session_of_timer(Timer *timer) noexcept nogil:
    cdef Session *like = <Session *> timer  # for the distance alone; it is not read
    return <Session *> (<char *> timer - (<char *> &like.timer - <char *> like))

cdef inline Session *session_of_dead(Dead *dead) noexcept nogil:
    cdef Session *like = <Session *> dead  # for the distance alone; it is not read
    return <Session *> (<char *> dead - (<char *> &like.dead - <char *> like))

cdef inline Upstream *upstream_of_timer(Timer *timer) noexcept nogil:
    cdef Upstream *like = <Upstream *> timer  # for the distance alone; it is not read
    return <Upstream *> (<char *> timer - (<char *> &like.timer - <char *> like))

cdef inline Upstream *upstream_of_dead(Dead *dead) noexcept nogil:
    cdef Upstream *like = <Upstream *> dead  # for the distance alone; it is not read
    return <Upstream *> (<char *> dead - (<char *> &like.dead - <char *> like))

cdef inline Slot *slot_of(Worker *worker, uint32_t number) noexcept nogil:
    return &worker.shared.slots[number]

# Does something wait until the client, or the server, takes it?
cdef inline bint session_unsent(const Session *session) noexcept nogil:
    return session.out is not NULL or (session.tls is not NULL and secure_unsent(session.tls))

cdef inline bint upstream_unsent(const Upstream *upstream) noexcept nogil:
    return upstream.out is not NULL or (upstream.tls is not NULL and secure_unsent(upstream.tls))

# Is the answer's body changed or held back?
cdef inline bint answer_shaped(const Stream *stream) noexcept nogil:
    if stream.shape is NULL:
        return False
    return stream.shape.coded or stream.shape.pace_count > stream.shape.pace_up

cdef inline bint coded_unsent(const Shape *shape) noexcept nogil:
    return shape.out is not NULL and shape.out.start < shape.out.end

# The earlier one of this time and the time for the whole try.
cdef inline uint64_t due_ms(const Upstream *upstream, uint64_t due) noexcept nogil:
    return upstream.try_due_ms if upstream.try_due_ms and upstream.try_due_ms < due else due
