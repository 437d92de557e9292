from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fourseven.matching.table cimport MatchScratch
from fourseven.protocols.message cimport Span
from fourseven.snapshot.layout cimport Backend, Listener, Route

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
    Span said                       # whole lines for the answer's head
    Span told                       # ... for the request's
    uint32_t retry_after_s          # of an answer of our own; 0: the usual
    const uint8_t *trace            # 16 bytes; NULL: no traceparent of our own
    const uint8_t *span             # 8 bytes
    uint8_t sampled
    uint8_t begins_trace            # the client named none: its tracestate means nothing
    const char *hint                # of an answer of our own; NULL: the status's
