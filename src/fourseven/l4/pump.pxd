from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fourseven.worker.secure cimport Secure
from fourseven.worker.worker cimport Buffer, Source, Worker

cdef enum:
    READ_SIZE = 65536       # one read; a whole one means bulk
    ROUNDS_MAX = 16         # reads of one side in a turn, 1 MiB: then others have their turn
    SPLICE_SIZE = 1048576   # asked for at once; the pipe takes what fits
    PIPE_SIZE = 262144      # 1 MiB saves no more; a user may have 64 MiB of pipes in all (pipe(7))
    BULK_MIN = 65536        # a burst below this does not pay for the pipe
    PIPES_MAX = 1024        # each worker: 2048 descriptors; beyond, bulk is copied
    FREE_PIPES_MAX = 64     # kept open
    NOTHING_NOW = -1        # of take()
    NEVER = -2

cdef enum Flow:
    FLOWING = 0             # moved what could be moved; an edge or another turn goes on
    BROKEN = 1              # one of the two has gone, or memory has: reset both

cdef struct Pipe:
    Pipe *next
    int[2] ends             # read, write

cdef struct Pipes:          # of one worker
    Pipe *free
    uint32_t free_count
    uint32_t count          # free and taken

# One end of a session, and the direction that begins there.
cdef struct Side:
    Source source           # first: epoll gives us this pointer
    Side *other
    void *session
    Buffer *waiting         # was read here, and the other side has not taken it yet
    Pipe *pipe              # bulk: what comes from here goes through it
    uint32_t piped          # bytes in the pipe
    uint32_t burst          # bytes by the pipe since this side had last nothing to give
    uint32_t readable       # an edge said so, and no read has found the end since
    uint32_t hung           # the edge said that a FIN or an error comes behind the data
    uint32_t full           # the last write to it found no room; an edge will say otherwise
    uint32_t ended          # its FIN was read
    uint32_t shut           # the other side's FIN was passed on to it
    uint32_t progress       # something was moved; whoever puts off a timeout clears it
    uint64_t given          # bytes read here; whoever counts them clears it
    Secure *tls             # NULL: without TLS
    void *learner           # reads along what comes from here (l4.resumption); NULL: nobody

# Moves what this side gives to the other one, until one of them has no more.
cdef Flow pump "fourseven_pump"(Worker *worker, Pipes *pipes, Side *side) noexcept nogil
# What epoll said, noted.
cdef void note "fourseven_pump_note"(Side *side, uint32_t events) noexcept nogil
# Does something wait for the other side?
cdef bint pending "fourseven_pump_pending"(const Side *side) noexcept nogil
# Closes the socket and drops what waits.
cdef void side_drop "fourseven_side_drop"(Worker *worker, Pipes *pipes, Side *side) noexcept nogil
cdef void pipes_drop "fourseven_pipes_drop"(Worker *worker, Pipes *pipes) noexcept nogil

# ---- of pump.py alone ----
cdef Flow copy "fourseven_pump_copy"(Worker *worker, Pipes *pipes, Side *side) noexcept nogil
cdef Flow pull "fourseven_pump_pull"(Worker *worker, Pipes *pipes, Side *side) noexcept nogil
cdef Flow push "fourseven_pump_push"(Worker *worker, Side *side) noexcept nogil
cdef Flow not_read(Side *side, int64_t size) noexcept nogil
cdef Flow not_written(Side *side) noexcept nogil
cdef int64_t take(Side *side, char *to, uint32_t room) noexcept nogil
cdef int64_t give(Side *side, const char *at, uint32_t size) noexcept nogil
cdef bint unsent(const Side *side) noexcept nogil
cdef bint bulky(const Side *side) noexcept nogil
cdef void end_other(Side *side) noexcept nogil
cdef Pipe *pipe_take(Worker *worker, Pipes *pipes) noexcept nogil
cdef void pipe_give(Worker *worker, Pipes *pipes, Side *side) noexcept nogil
cdef void pipe_close(Pipe *pipe) noexcept nogil
