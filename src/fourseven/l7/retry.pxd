from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.heads cimport HeadContext
from fourseven.l7.records cimport Session, Stream, Upstream
from fourseven.protocols.message cimport Request
from fourseven.snapshot.layout cimport Backend, Listener, Resilience, Route
from fourseven.worker.worker cimport Buffer, Worker

# Why a try at a server failed.
cpdef enum Failure:
    FAILED_CONNECT = 0      # refused, unreachable
    FAILED_CONNECT_TIME = 1
    FAILED_RESET = 2        # closed or reset before the answer was whole
    FAILED_TIME = 3         # no answer in time
    FAILED_ANSWER = 4       # not HTTP, or against its rules
    FAILED_TLS = 5          # connected, but no TLS: Upstream.tls says why
    FAILED_OURS = 6         # we have no descriptor or no memory: no fault of the server
    FAILED_REFUSED = 7      # HTTP/2: the server has not looked at it, and said so: no fault of anybody

# The server's connection failed: another try, an answer of our own, or the end of the client's.
cdef void stream_failed "fourseven_stream_failed"(Worker *worker, Session *session, uint8_t failure) noexcept nogil
cdef uint8_t failure_reason(uint8_t failure) noexcept nogil
cdef uint8_t tls_failure(Stream *stream, uint8_t failure) noexcept nogil
# The head of an answer has come: true when it is dropped for another try.
cdef bint retry_answer "fourseven_retry_answer"(Worker *worker, Session *session) noexcept nogil
cdef bint falls_back(Worker *worker, Session *session, uint8_t failure) noexcept nogil
cdef void try_again(Worker *worker, Session *session, bint same) noexcept nogil
cdef bint may_retry(Worker *worker, Session *session, uint8_t failure) noexcept nogil
cdef bint repeatable(const Stream *stream) noexcept nogil
cdef bint worth(const Stream *stream, uint8_t failure) noexcept nogil
cdef bint budget_grants(Worker *worker, Stream *stream) noexcept nogil
cdef bint spare(Worker *worker, const Stream *stream, const Resilience *rules) noexcept nogil
cdef void count_failure(Worker *worker, const Stream *stream, uint8_t failure) noexcept nogil
