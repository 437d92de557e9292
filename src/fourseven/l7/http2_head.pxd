from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l7.records cimport Building, Http2, Lane, Upstream
from fourseven.native.nghttp2 cimport nghttp2_rcbuf, nghttp2_vec
from fourseven.snapshot.layout cimport Listener
from fourseven.worker.worker cimport Worker

cpdef enum:
    # Beyond, a head is no mistake but an attack on our memory or time: the connection ends.
    LIST_MAX = 262144       # bytes of a field list; eight times the default of head_max
    FIELDS_MAX = 4096       # each may cost its sender one byte (an indexed field)
    # Beyond, the request is answered with 431.
    CRUMBS_MAX = 256        # pieces of one Cookie header; browsers keep at most some 180 cookies a site
    TAIL_MAX = 16384        # bytes of trailers, as protocols.chunked.TRAILERS_MAX

cpdef enum Pseudo:
    PSEUDO_METHOD = 0
    PSEUDO_SCHEME = 1
    PSEUDO_AUTHORITY = 2
    PSEUDO_PATH = 3
    PSEUDO_PROTOCOL = 4
    PSEUDO_COUNT = 5

cdef void head_begin "fourseven_http2_head_begin"(Http2 *http2, Lane *lane) noexcept nogil
# One field of the head or of the trailers; -1 when it is an attack.
cdef int32_t head_field "fourseven_http2_head_field"(
    Http2 *http2, nghttp2_rcbuf *name, nghttp2_rcbuf *value
) noexcept nogil
# The head is whole: it stands in the lane's buffer, or the lane has a status to refuse it with.
cdef void head_end "fourseven_http2_head_end"(Http2 *http2, Lane *lane) noexcept nogil
cdef void head_forget "fourseven_http2_head_forget"(Building *building) noexcept nogil
# Trailers begin.
cdef void tail_begin "fourseven_http2_tail_begin"(Http2 *http2, Lane *lane) noexcept nogil
# The body has ended, with trailers or without.
cdef void tail_end "fourseven_http2_tail_end"(Http2 *http2, Lane *lane) noexcept nogil

# The head of a server's answer is whole.
cdef void answer_end "fourseven_http2_answer_end"(Http2 *http2, Lane *lane) noexcept nogil
cdef void answer_field(
    Http2 *http2, Lane *lane, const nghttp2_vec *name, const nghttp2_vec *value
) noexcept nogil
cdef void forget_length(Lane *lane, Building *building) noexcept nogil
cdef void request_field(
    Http2 *http2, Lane *lane, const nghttp2_vec *name, const nghttp2_vec *value
) noexcept nogil
cdef int32_t pseudo_of(const nghttp2_vec *name) noexcept nogil
cdef void begin_text(Http2 *http2, Lane *lane) noexcept nogil
cdef void request_line(
    Http2 *http2, Lane *lane, const nghttp2_vec *method, const nghttp2_vec *path
) noexcept nogil
cdef void put_crumb(Http2 *http2, Lane *lane, const nghttp2_vec *value) noexcept nogil
cdef bint heard(
    Worker *worker, const Upstream *upstream, const nghttp2_vec *name, const nghttp2_vec *value
) noexcept nogil
cdef void trailer_field(Lane *lane, const nghttp2_vec *name, const nghttp2_vec *value) noexcept nogil
cdef void put_upgrade(Http2 *http2, Lane *lane) noexcept nogil
cdef void put(Http2 *http2, Lane *lane, const void *at, size_t size) noexcept nogil
cdef bint room_for(Http2 *http2, Lane *lane, size_t size) noexcept nogil
