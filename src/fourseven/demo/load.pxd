from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fourseven.native.linux cimport timespec

# Linux calls that the product does not make.
cdef extern from "<poll.h>" nogil:
    short POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int ppoll(pollfd *fds, unsigned long count, const timespec *wait, const void *mask)

cdef extern from "<sys/prctl.h>" nogil:
    int PR_SET_TIMERSLACK
    int prctl(int option, unsigned long value)

cdef extern from "<string.h>" nogil:
    void *memmem(const void *text, size_t size, const void *sought, size_t sought_size)

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char *one, const char *other, size_t size)

cdef enum:
    HEAD_MAX = 4096        # an answer's head: demo servers and proxies send a few hundred bytes
    BUFFER = 262144        # read at once: a quarter of the largest answer that is measured
    EVENTS = 512           # handled in one turn
    TURN_NS = 5000000      # the longest sleep: how late the end of a run may be seen
    GRACE_NS = 1000000000  # how long the last answers are waited for

cdef struct Connection:
    int fd                 # -1: broken, used no more
    bint busy
    uint64_t due_ns        # when its request should have been sent
    uint64_t left          # bytes of the body still to come, once the head is read
    uint32_t head          # bytes of the head held in text
    uint32_t status        # 0 while the head is incomplete
    char[HEAD_MAX] text

cdef struct Load:
    int epoll
    uint32_t count
    uint32_t alive
    uint32_t busy
    Connection *connections
    uint32_t *idle         # a ring: the connection that rested longest goes next
    uint32_t idle_first
    uint32_t idle_count
    const char *request
    size_t request_size
    uint64_t start_ns
    uint64_t end_ns
    double gap_ns          # between two requests; 0: each connection sends as soon as it can
    uint64_t offered
    uint64_t answered
    uint64_t failed
    uint64_t received
    uint64_t *latency_ns
    uint64_t room          # of latency_ns; later answers overwrite the first ones
    char *buffer

cdef uint64_t now_ns() noexcept nogil
cdef void run_load "fourseven_demo_load"(Load *load) noexcept nogil
cdef void hand_out(Load *load, uint64_t now) noexcept nogil
cdef uint64_t next_due(Load *load, uint64_t now) noexcept nogil
cdef void send_request(Load *load, Connection *connection, uint64_t due) noexcept nogil
cdef void wait_until_due(Load *load, uint64_t now) noexcept nogil
cdef void break_off(Load *load, Connection *connection) noexcept nogil
cdef void read_answer(Load *load, uint32_t at) noexcept nogil
cdef void take_bytes(Load *load, uint32_t at, const char *data, size_t size) noexcept nogil
cdef size_t feed_head(Connection *connection, const char *data, size_t size) noexcept nogil
cdef void read_head(Connection *connection, uint32_t end) noexcept nogil
cdef void finish(Load *load, uint32_t at) noexcept nogil
