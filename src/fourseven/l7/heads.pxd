from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.context cimport HeadContext
from fourseven.l7.edits cimport Edits
from fourseven.l7.output cimport Output
from fourseven.l7.templates cimport Values
from fourseven.protocols.message cimport Header, Request, Response, Span
from fourseven.snapshot.layout cimport Action, Route

cpdef enum HeadResult:
    HEAD_FULL = -1          # it does not fit the capacity
    HEAD_NO_ACTION = -2     # the route has no terminal action
    HEAD_REFUSED = -3       # a filter made of this request what must not be sent: answer 400

# All four write into out[:capacity] and return the size, or a HeadResult, which is negative.

# The request head for the server: canonical path, hop-by-hop headers removed, our forwarding
# headers added, the route's request actions applied. Always HTTP/1.1. request.client must be set
# (l7.forwarded.client_address).
cdef int32_t write_request_head "fourseven_write_request_head"(
    char *out, uint32_t capacity, const Request *request, const HeadContext *context
) noexcept nogil

# The response head for the client; `request` may be NULL when the route has no response actions.
# 0 where nothing must be sent: a 1xx towards a client of HTTP/1.0.
cdef int32_t write_response_head "fourseven_write_response_head"(
    char *out, uint32_t capacity, const Response *response, const Request *request, const HeadContext *context
) noexcept nogil

# A whole answer of our own (head and body): an error page, with reason in a short text body. A
# status that we never answer is written as 500.
cdef int32_t write_answer "fourseven_write_answer"(
    char *out, uint32_t capacity, uint16_t status, uint8_t method_id, const HeadContext *context
) noexcept nogil

# The terminal action of the route (redirect, respond), as a whole answer; -1 when it does not fit,
# -2 when the route has none.
cdef int32_t write_action_answer "fourseven_write_action_answer"(
    char *out, uint32_t capacity, const Request *request, const HeadContext *context
) noexcept nogil

# ---- the parts, in the order of heads.py ----
cdef void put_host(Output *to, const Request *request, const HeadContext *context) noexcept nogil
cdef bint is_authority(const char *at, uint32_t size) noexcept nogil
cdef void put_local(Output *to, const Request *request) noexcept nogil
cdef uint64_t copy_request_headers(
    Output *to, const Request *request, const HeadContext *context, const Edits *edits, bint trusted
) noexcept nogil
cdef uint64_t never_copied() noexcept nogil
cdef bint claims_to_forward(const Span *name, bint underscores) noexcept nogil
cdef void put_request_framing(Output *to, const Request *request, const HeadContext *context) noexcept nogil
cdef void put_upgrades(Output *to, const Header *headers, uint32_t count) noexcept nogil
cdef void put_length(Output *to, uint64_t size) noexcept nogil
cdef void put_forwarding(
    Output *to, const Request *request, const HeadContext *context, const Edits *edits, uint64_t seen,
    bint trusted
) noexcept nogil
cdef bint covers(const Edits *edits, const char *name) noexcept nogil
cdef void response_edits(Edits *edits, const HeadContext *context, bint interim) noexcept nogil
cdef void put_response_edits(
    Output *to, const Edits *edits, const Request *request, const HeadContext *context
) noexcept nogil
cdef void copy_response_headers(Output *to, const Response *response, const Edits *edits) noexcept nogil
cdef void put_response_framing(
    Output *to, const Response *response, const HeadContext *context
) noexcept nogil
cdef void put_connection(Output *to, const HeadContext *context) noexcept nogil
cdef void put_status_line(Output *to, uint32_t status) noexcept nogil
cdef const Action *terminal_of(const Route *route) noexcept nogil
cdef int32_t put_redirect(Output *to, const Action *action, Values *values) noexcept nogil
cdef void put_respond(
    Output *to, const Action *action, const Values *values, const Edits *edits
) noexcept nogil
cdef uint32_t place_of(const Span *kind) noexcept nogil
