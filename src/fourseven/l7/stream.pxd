from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.heads cimport HeadContext
from fourseven.l7.records cimport Session, Stream, Upstream
from fourseven.protocols.message cimport Request, Span
from fourseven.snapshot.layout cimport Backend, Listener, Route
from fourseven.worker.worker cimport Buffer, Worker

# Reads the head at the buffer's start and takes the request as far as it goes at once.
# False when the head is not whole yet.
cdef bint stream_begin "fourseven_stream_begin"(Worker *worker, Session *session) noexcept nogil
# More of the body's prefix has come: false when it does not suffice yet.
cdef bint stream_prefix "fourseven_stream_prefix"(Worker *worker, Session *session) noexcept nogil
# The response has gone to the client, and the request to the server.
cdef void stream_finish "fourseven_stream_finish"(Worker *worker, Session *session) noexcept nogil
# The client is gone: gives back what the stream holds.
cdef void stream_abort "fourseven_stream_abort"(Worker *worker, Session *session) noexcept nogil
# The response's head has been written: the configuration is no longer needed.
cdef void stream_unpin "fourseven_stream_unpin"(Worker *worker, Stream *stream) noexcept nogil
# Reads the request's head again, for filters of the response and for another try.
cdef bint stream_reread "fourseven_stream_reread"(Worker *worker, Session *session) noexcept nogil
# An empty record for the next request, or for an answer that is about none. False: no memory, and
# the session is closed.
cdef bint stream_clear "fourseven_stream_clear"(Worker *worker, Session *session) noexcept nogil
# An empty one for nobody yet; NULL: no memory.
cdef Stream *stream_take "fourseven_stream_take"(Worker *worker) noexcept nogil
# The request is over: its record is the next one's.
cdef void stream_rest "fourseven_stream_rest"(Worker *worker, Session *session) noexcept nogil
cdef void body_start(Session *session, const Request *request) noexcept nogil
cdef int32_t read_head(Worker *worker, Session *session) noexcept nogil
cdef void admit(Worker *worker, Session *session) noexcept nogil
cdef uint16_t over_limit(const Listener *listener, const Session *session, const Request *request) noexcept nogil
cdef void route_step(Worker *worker, Session *session) noexcept nogil
cdef void no_route(Worker *worker, Session *session, int32_t number) noexcept nogil
cdef void prefix_begin(Worker *worker, Session *session) noexcept nogil
cdef void set_prefix(Worker *worker, Session *session) noexcept nogil
# The gates have let it pass: its action answers, or a server is tried.
cdef void stream_go_on "fourseven_stream_go_on"(Worker *worker, Session *session) noexcept nogil
cdef void note_texts(Session *session, const Request *request) noexcept nogil
cdef void note_text(Session *session, uint32_t which, const Span *text) noexcept nogil
cdef uint8_t limit_reason(uint16_t status) noexcept nogil
cdef void take_route(Worker *worker, Session *session, int32_t number) noexcept nogil
cdef const Backend *choose(Worker *worker, Session *session) noexcept nogil
