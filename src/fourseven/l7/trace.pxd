from libc.stdint cimport uint8_t, uint32_t

from fourseven.l7.context cimport HeadContext
from fourseven.l7.output cimport Output
from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Request, Span
from fourseven.worker.worker cimport Worker

# The request joins the trace that it names, or begins one: fills the stream's trace, span, parent.
cdef void trace_begin "fourseven_trace_begin"(Worker *worker, Session *session, const Request *request) noexcept nogil
cdef bint is_zero(const uint8_t *at, uint32_t count) noexcept nogil
# Our `traceparent` for the server.
cdef void put_traceparent(Output *to, const HeadContext *context) noexcept nogil
