from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.heads cimport HeadContext
from fourseven.l7.records cimport Session, Stream, Upstream
from fourseven.protocols.message cimport Request
from fourseven.snapshot.layout cimport Backend, Listener, Route
from fourseven.worker.worker cimport Worker

# Why a try at a server failed.
cpdef enum Failure:
    FAILED_CONNECT = 0      # refused, unreachable, no descriptor
    FAILED_CONNECT_TIME = 1
    FAILED_RESET = 2        # closed or reset before the answer was whole
    FAILED_TIME = 3         # no answer in time
    FAILED_ANSWER = 4       # not HTTP, or against its rules

# Reads the head at the buffer's start and takes the request as far as it goes at once.
# False when the head is not whole yet.
cdef bint stream_begin "fourseven_stream_begin"(Worker *worker, Session *session) noexcept nogil
# More of the body's prefix has come: false when it does not suffice yet.
cdef bint stream_prefix "fourseven_stream_prefix"(Worker *worker, Session *session) noexcept nogil
# Ends the request with an answer of our own, and the connection with it.
cdef void stream_refuse "fourseven_stream_refuse"(Worker *worker, Session *session, uint16_t status) noexcept nogil
# The client is gone: gives back what the stream holds.
cdef void stream_abort "fourseven_stream_abort"(Worker *worker, Session *session) noexcept nogil
# The server's connection failed: another try, an answer of our own, or the end of the client's.
cdef void stream_failed "fourseven_stream_failed"(Worker *worker, Session *session, uint8_t failure) noexcept nogil
# The response has gone to the client, and the request to the server.
cdef void stream_finish "fourseven_stream_finish"(Worker *worker, Session *session) noexcept nogil
# The response's head has been written: the configuration is no longer needed.
cdef void stream_unpin "fourseven_stream_unpin"(Worker *worker, Stream *stream) noexcept nogil
# Reads the request's head again, for filters of the response and for another try.
cdef bint stream_reread "fourseven_stream_reread"(Worker *worker, Session *session) noexcept nogil
cdef void stream_context(Worker *worker, Session *session, HeadContext *context) noexcept nogil

# Forgets the last request, before an answer that is about none.
cdef void stream_clear(Session *session) noexcept nogil
cdef void drop_expect(Request *request) noexcept nogil
cdef int32_t read_head(Worker *worker, Session *session) noexcept nogil
cdef void admit(Worker *worker, Session *session) noexcept nogil
cdef void body_start(Session *session, const Request *request) noexcept nogil
cdef uint16_t over_limit(const Listener *listener, const Session *session, const Request *request) noexcept nogil
cdef void route_step(Worker *worker, Session *session) noexcept nogil
cdef void prefix_begin(Worker *worker, Session *session) noexcept nogil
cdef void set_prefix(Worker *worker, Session *session) noexcept nogil
cdef void take_route(Worker *worker, Session *session, int32_t number) noexcept nogil
cdef void answer_action(Worker *worker, Session *session) noexcept nogil
cdef void answer(Worker *worker, Session *session, uint16_t status) noexcept nogil
cdef void after_answer(Worker *worker, Session *session) noexcept nogil
cdef bint body_at_hand(Session *session) noexcept nogil
cdef const Backend *choose(Worker *worker, const Stream *stream) noexcept nogil
cdef int32_t pick_server(Worker *worker, Session *session) noexcept nogil
cdef void try_server(Worker *worker, Session *session) noexcept nogil
cdef void send_request(Worker *worker, Session *session) noexcept nogil
cdef void leave_server(Worker *worker, Stream *stream) noexcept nogil
cdef bint may_retry(const Session *session, uint8_t failure) noexcept nogil
cdef void count_failure(Worker *worker, const Stream *stream, uint8_t failure) noexcept nogil
