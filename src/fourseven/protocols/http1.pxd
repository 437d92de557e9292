from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.protocols.fields cimport Fields
from fourseven.protocols.message cimport Request, Response

# Why a reader refused. The name is a metric's label and the log's reason. The status stands behind
# it; the reader of answers makes 502 of each.
cpdef enum Fault:
    FAULT_NONE = 0
    FAULT_MALFORMED = 1             # 400 for what has no name of its own
    FAULT_NOT_HTTP = 2              # 400 the first byte can begin no request (or no answer)
    FAULT_TLS = 3                   # 400 a TLS ClientHello on a plain port
    FAULT_METHOD = 4                # 400 not a token, or too long
    FAULT_METHOD_REFUSED = 5        # 405 CONNECT, or TRACE where it is not allowed
    FAULT_TARGET_LONG = 6           # 414
    FAULT_TARGET_CHARACTER = 7      # 400 space, fragment, control or a byte >= 0x80
    FAULT_TARGET_FORM = 8           # 400 neither a path nor http(s)://… nor '*' for OPTIONS
    FAULT_PATH_PERCENT = 9          # 400 '%' without two hexadecimal digits
    FAULT_PATH_SLASH = 10           # 400 %2F, %5C or a backslash
    FAULT_PATH_NUL = 11             # 400 %00
    FAULT_PATH_DOTS = 12            # 400 '..;' or '.;'
    FAULT_VERSION = 13              # 400 no version, or a malformed one
    FAULT_VERSION_UNKNOWN = 14      # 505 well formed, but neither 1.0 nor 1.1
    FAULT_HEAD_LONG = 15            # 431
    FAULT_HEADERS_MANY = 16         # 431
    FAULT_BARE_LF = 17              # 400 a line that ends in LF alone
    FAULT_BARE_CR = 18              # 400 CR without LF
    FAULT_NUL = 19                  # 400
    FAULT_CONTROL = 20              # 400 another control character
    FAULT_NO_COLON = 21             # 400 a field line without one
    FAULT_NAME_EMPTY = 22           # 400
    FAULT_NAME_SPACE = 23           # 400 white space before the colon
    FAULT_NAME_CHARACTER = 24       # 400 not a token
    FAULT_FOLD = 25                 # 400 a line that begins with white space (obs-fold)
    FAULT_HOST_MISSING = 26         # 400
    FAULT_HOST_TWICE = 27           # 400
    FAULT_HOST_CHARACTER = 28       # 400 not a host name or an address
    FAULT_HOST_PORT = 29            # 400
    FAULT_HOST_DISAGREES = 30       # 400 the target names another host than the Host header
    FAULT_LENGTH = 31               # 400 Content-Length is no decimal number below 2^63
    FAULT_LENGTH_TWICE = 32         # 400
    FAULT_LENGTH_AND_CODING = 33    # 400 both Content-Length and Transfer-Encoding: smuggling
    FAULT_CODING = 34               # 400 a malformed Transfer-Encoding
    FAULT_CODING_TWICE = 35         # 400
    FAULT_CODING_UNKNOWN = 36       # 501
    FAULT_CODING_VERSION = 37       # 400 Transfer-Encoding in HTTP/1.0
    FAULT_CONNECTION = 38           # 400 Connection holds what is no token, or too much
    FAULT_EXPECT = 39               # 417
    FAULT_UPGRADE = 40              # an answer: 101 without Upgrade
    FAULT_TRACE_BODY = 41           # 400
    FAULT_STATUS_LINE = 42          # an answer's first line is malformed
    FAULT_PREFACE = 43              # 400 the preface of HTTP/2 where HTTP/1 is spoken
    FAULT_CHUNKED = 44              # 400 chunked framing is broken; the engine counts it

cdef enum:
    METHOD_MAX = 32         # bytes; the longest registered one has 17
    LEADING_MAX = 4         # bytes: two empty lines before a request (RFC 9112 2.2), for old clients
    FIRST_BYTES = 16        # until here each call parses, so that what is no HTTP is refused at once
    HOST_ROOM = 256         # of the scratch: for the target's host, and again for the Host header's
    PATH_AT = 512           # of the scratch: the canonical path, behind both

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

# Below, each reader of a part takes where the part starts and returns where the next one does;
# 0 when more bytes are needed, -STATUS when it is refused.
cdef bint worth_parsing(
    const char *at, uint32_t size, uint32_t *scanned, const HeadLimits *limits
) noexcept nogil
cdef int32_t parse_request(
    const char *at, uint32_t size, const HeadLimits *limits, Request *request
) noexcept nogil
cdef int32_t skip_leading(const char *at, uint32_t size, Request *request) noexcept nogil
cdef int32_t read_method(
    const char *at, uint32_t start, uint32_t size, const HeadLimits *limits, Request *request
) noexcept nogil
cdef uint8_t method_of(const char *at, uint32_t size) noexcept nogil
cdef int32_t read_target(
    const char *at, uint32_t start, uint32_t size, const HeadLimits *limits, Request *request
) noexcept nogil
cdef int32_t skip_origin(const char *at, uint32_t start, uint32_t size, Request *request) noexcept nogil
cdef int32_t read_path(
    const char *at, uint32_t start, uint32_t size, const HeadLimits *limits, Request *request
) noexcept nogil
cdef int32_t canonise(
    const char *at, uint32_t size, const HeadLimits *limits, Request *request
) noexcept nogil
cdef int32_t refuse_target(char byte, Request *request) noexcept nogil
cdef int32_t read_request_version(
    const char *at, uint32_t start, uint32_t size, Request *request
) noexcept nogil
cdef int32_t read_version(const char *at, uint32_t start, uint32_t size) noexcept nogil
cdef int32_t finish_request(Request *request, Fields *fields) noexcept nogil
cdef int32_t finish_host(Request *request, Fields *fields) noexcept nogil
cdef int32_t refuse_authority(int32_t code, Request *request) noexcept nogil

cdef int32_t parse_response(
    const char *at, uint32_t size, const HeadLimits *limits, uint8_t method_id, Response *response
) noexcept nogil
cdef int32_t read_status_line(const char *at, uint32_t size, Response *response) noexcept nogil
cdef int32_t finish_response(Response *response, Fields *fields, uint8_t method_id) noexcept nogil
