from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.matching.table cimport MatchScratch
from fourseven.protocols.message cimport Request, Response, Span
from fourseven.snapshot.layout cimport Action, Backend, Listener, Route

# What a head's writer must know beside the message itself.
cdef struct HeadContext:
    const Listener *listener
    const Route *route              # NULL: refused before routing
    const Backend *backend          # NULL: an action answers
    MatchScratch *scratch
    Span request_id                 # of this request; absent: none wanted
    uint8_t client_keep_alive       # the client's connection stays open after this answer
    uint8_t client_version          # 10, 11 or 20
    uint8_t body_framing            # Framing of the body that follows *towards the other side*
    uint64_t body_size              # with FRAMING_LENGTH

# All three write into out[:capacity] and return the size, or -1 when it does not fit.

# The request head for the server: canonical path, hop-by-hop headers removed, our forwarding
# headers added, the route's request actions applied. Always HTTP/1.1.
cdef int32_t write_request_head "fourseven_write_request_head"(
    char *out, uint32_t capacity, const Request *request, const HeadContext *context
) noexcept nogil

# The response head for the client; `request` may be NULL when the route has no response actions.
cdef int32_t write_response_head "fourseven_write_response_head"(
    char *out, uint32_t capacity, const Response *response, const Request *request, const HeadContext *context
) noexcept nogil

# A whole answer of our own (head and body): an error page, with reason in a short text body.
cdef int32_t write_answer "fourseven_write_answer"(
    char *out, uint32_t capacity, uint16_t status, uint8_t method_id, const HeadContext *context
) noexcept nogil

# The terminal action of the route (redirect, respond), as a whole answer; -1 when it does not fit,
# -2 when the route has none.
cdef int32_t write_action_answer "fourseven_write_action_answer"(
    char *out, uint32_t capacity, const Request *request, const HeadContext *context
) noexcept nogil
