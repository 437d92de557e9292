from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.protocols.message cimport Request, Response

# Why a reader refused. The name is a metric's label and the log's reason; docs say what each means.
cpdef enum Fault:
    FAULT_NONE = 0
    # the reader of protocols.http1 adds its own here, one for each rule of DEFENCE
    FAULT_MALFORMED = 1

cdef struct HeadLimits:
    uint32_t head_max       # bytes; beyond: 431 (414 when the request line alone is beyond target_max)
    uint32_t headers_max    # count; beyond: 431
    uint32_t target_max     # bytes; beyond: 414
    uint32_t relax          # bits of snapshot.layout.Relax

# Bytes of the head when it is whole; 0 when more bytes are needed; -STATUS when it is refused,
# with the reason in `fault`. `scanned` starts at 0 and remembers between calls how far the search
# for the end of the head has come, so that a head sent byte by byte costs no more than its size.
# Fills everything of Request but peer, client, local, secure, body, body_complete.
cdef int32_t read_request "fourseven_http1_read_request"(
    const char *at, uint32_t size, uint32_t *scanned, const HeadLimits *limits, Request *request
) noexcept nogil

# The same for an answer; -502 when it is refused. `method_id` is of the request it answers:
# a HEAD, 204 and 304 have no body whatever the headers say.
cdef int32_t read_response "fourseven_http1_read_response"(
    const char *at, uint32_t size, uint32_t *scanned, const HeadLimits *limits, uint8_t method_id, Response *response
) noexcept nogil
