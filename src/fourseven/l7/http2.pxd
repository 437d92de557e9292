from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l7.records cimport Blocked, Http2, Lane, Session
from fourseven.native.nghttp2 cimport nghttp2_session
from fourseven.worker.worker cimport Worker

cpdef enum:
    PREFACE_SIZE = 24
    CONNECTION_WINDOW = 1048576  # bytes of bodies that one connection can make us keep: sixteen streams' worth
    STREAM_WINDOW = 65535   # HTTP/2's own default; what comes in it fits one large buffer
    FRAME_HEAD = 9
    GOAWAY_SIZE = 17
    ROOM_MIN = 1024         # a DATA frame that carries less is not worth its head: rather wait for room
    # The fault budget, in points. A burst of 1000 is what 100 frames of a busy page never reach.
    DEBT_MAX = 1000
    DEBT_MAX_SERVER = 10000     # of servers, which answer many clients and may update windows often
    DEBT_RATE = 100         # points forgiven in a second
    DEBT_ANSWER = 5         # ... for each answer that went through
    DEBT_RESET = 5          # a client that resets a stream before its answer is complete
    DEBT_FAULT = 10         # a stream or frame that was against the rules
    DEBT_LARGE_HEAD = 20    # 431

# libnghttp2's callbacks and options: called once, by control, before the workers start.
cdef int http2_prepare() except -1
# The session's bytes are HTTP/2 from here on; 0, or -1 when there is no memory.
cdef int32_t http2_open "fourseven_http2_open"(Worker *worker, Session *session) noexcept nogil
# The session's socket leads to a server, to be spoken to in HTTP/2; 0, or -1.
cdef int32_t http2_connect "fourseven_http2_connect"(Worker *worker, Session *session) noexcept nogil
# A plain connection: 1: it begins with the preface and is HTTP/2 now, 0: not whole yet, -1: it is not.
cdef int32_t http2_preface "fourseven_http2_preface"(Worker *worker, Session *session) noexcept nogil
# As a step of a session: reads once, runs the lanes, writes; true when another may follow at once.
cdef bint http2_step "fourseven_http2_step"(Worker *worker, Session *session) noexcept nogil
cdef void http2_timer "fourseven_http2_timer"(Worker *worker, Session *session) noexcept nogil
# Asks the client to go elsewhere with its next request; what runs is finished.
cdef void http2_drain "fourseven_http2_drain"(Worker *worker, Session *session, bint now) noexcept nogil
# Frees what the session carries; nothing is said.
cdef void http2_drop "fourseven_http2_drop"(Worker *worker, Session *session) noexcept nogil
# What the library has to say goes out at the end of this turn at the latest.
cdef void http2_soon "fourseven_http2_soon"(Http2 *http2) noexcept nogil
# Takes what the library has to say into the socket's buffer.
cdef void http2_output "fourseven_http2_output"(Http2 *http2) noexcept nogil
# Puts a lane at the end of those that are run.
cdef void http2_ready "fourseven_http2_ready"(Http2 *http2, Lane *lane) noexcept nogil
# Costs or (negative) earns; true when the budget is spent.
cdef bint http2_charge "fourseven_http2_charge"(Http2 *http2, int32_t points) noexcept nogil
# Runs the lanes that wait for this.
cdef void http2_wake "fourseven_http2_wake"(Http2 *http2, Blocked reason) noexcept nogil
# Room for so many bytes in the socket's buffer.
cdef bint http2_room "fourseven_http2_room"(Http2 *http2, size_t wanted) noexcept nogil

cdef nghttp2_session *carry(Worker *worker, Session *session) noexcept nogil
cdef void read_step(Worker *worker, Session *session) noexcept nogil
cdef void feed(Worker *worker, Session *session, const char *at, uint32_t size) noexcept nogil
cdef bint run_ready(Worker *worker, Http2 *http2) noexcept nogil
cdef void flush(Worker *worker, Session *session) noexcept nogil
cdef bint is_over(Http2 *http2) noexcept nogil
cdef void finish(Worker *worker, Session *session) noexcept nogil
cdef void say_fault(Worker *worker, Session *session) noexcept nogil
