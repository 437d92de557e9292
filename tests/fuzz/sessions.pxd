from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.control.dataplane cimport DataPlane
from fourseven.protocols.http1 cimport HeadLimits
from fourseven.protocols.message cimport Address
from fourseven.worker.worker cimport Worker, WorkerListener

cdef extern from "<sys/socket.h>" nogil:
    int AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC
    int socketpair(int domain, int kind, int protocol, int *ends)

cdef extern from "<sanitizer/allocator_interface.h>" nogil:
    size_t allocated "__sanitizer_get_current_allocated_bytes"()

# What an input means: a life of one client or server, from its first byte to the last of it gone.
ctypedef void (*life_fn)(const char *data, uint32_t size) noexcept nogil

cpdef enum:
    PEERS_MAX = 16          # clients, and connections that the engine makes to servers
    HEARD_MAX = 4096        # of what a peer gets, kept to be judged
    FRAME_MAX = 16384       # none of us has allowed more
    TURNS_MAX = 200         # in which all that is left must be gone, once all peers are

cpdef enum Kind:
    CLIENT_1 = 0            # of HTTP/1.1
    CLIENT_2 = 1
    SERVER_1 = 2
    SERVER_2 = 3

# One direction of a connection of HTTP/2, as its frames go by.
cdef struct Walk:
    uint32_t preface        # bytes of it that are still to come
    uint8_t[9] head
    uint32_t have           # bytes of the frame's head
    uint32_t left           # bytes of its payload still to come
    uint32_t frames

cdef struct Peer:
    int32_t fd              # our end
    uint8_t kind
    uint8_t deaf            # it does not read
    uint32_t answers        # it has given
    uint32_t size           # of `heard`
    char[HEARD_MAX] heard
    Walk walk

cdef struct Stage:
    Worker *worker
    WorkerListener *listener
    int32_t[2] servers      # listening, for HTTP/1.1 and for HTTP/2
    Peer[PEERS_MAX] peers
    uint32_t count
    uint8_t deaf            # servers read nothing, and so all that is sent to them piles up
    uint32_t mood           # which answers the servers give
    uint8_t scripted        # the servers of HTTP/2 say what the input says, and nothing else

cdef Stage STAGE
cdef Address NOWHERE
cdef HeadLimits LIMITS

# The targets.
cdef void http2(const char *data, uint32_t size) noexcept nogil
cdef void http2_servers(const char *data, uint32_t size) noexcept nogil

cdef void lived(life_fn life, const char *data, uint32_t size) noexcept nogil
cdef void client_life(const char *data, uint32_t size) noexcept nogil
cdef void server_life(const char *data, uint32_t size) noexcept nogil
cdef const char *field_of(uint32_t size) noexcept nogil
cdef Peer *enter(Stage *stage, uint8_t kind) noexcept nogil
cdef Peer *newest(Stage *stage, uint8_t kind) noexcept nogil
cdef void step(Stage *stage) noexcept nogil
cdef void return_spares(Worker *worker) noexcept nogil
cdef void admit(Stage *stage, uint8_t kind) noexcept nogil
cdef void attend(Stage *stage, Peer *peer) noexcept nogil
cdef void reply(Stage *stage, Peer *peer) noexcept nogil
cdef void curtain(Stage *stage) noexcept nogil
cdef void leave_all(Stage *stage, uint8_t kind) noexcept nogil
cdef void leave(Peer *peer) noexcept nogil
cdef void say(Peer *peer, const char *at, size_t size) noexcept nogil
cdef void speak(Stage *stage, Peer *peer, const char *data, uint32_t size) noexcept nogil
cdef uint32_t record(Stage *stage, Peer *peer, const char *data, uint32_t size) noexcept nogil
cdef void say_frame(Peer *peer, uint8_t kind, uint8_t flags, uint32_t stream, const char *at, uint32_t size) noexcept nogil
cdef void walk(Peer *peer, const char *at, uint32_t size) noexcept nogil
cdef void check_frame(Peer *peer) noexcept nogil
cdef void check_text(Peer *peer) noexcept nogil
