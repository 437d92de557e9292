from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef enum:
    BUFFER = 65536          # read at once: hundreds of waiting requests
    EVENTS = 512            # handled in one turn
    CONNECTIONS_MAX = 4096  # a proxy's pool and a measurement's clients; the next one is closed

cdef struct Client:
    int fd
    uint32_t next_free
    bint waits            # for its socket to take more
    uint32_t seen         # how much of the empty line that ends a head was read: 0 to 3
    uint64_t owed         # bytes of answers still to be sent

cdef struct Origin:
    int epoll
    int listener
    int stop
    const char *answers   # whole answers, one after the other
    size_t answer_size
    size_t block          # bytes of answers: a multiple of answer_size
    Client *clients
    uint32_t free
    char *buffer

cdef int32_t serve_all "fourseven_demo_origin"(Origin *origin) noexcept nogil
cdef void close_all(Origin *origin) noexcept nogil
cdef void accept_all(Origin *origin) noexcept nogil
cdef void read_requests(Origin *origin, uint32_t at) noexcept nogil
cdef uint32_t count_heads(Client *client, const char *data, size_t size) noexcept nogil
cdef void send_owed(Origin *origin, uint32_t at) noexcept nogil
cdef void drop(Origin *origin, uint32_t at) noexcept nogil
