from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l7.records cimport Http2, Lane, Session, Upstream
from fourseven.native.nghttp2 cimport nghttp2_nv
from fourseven.worker.worker cimport Worker

cpdef enum:
    FIELDS_OWN = 5          # :protocol, :method, :scheme, :path, :authority

# A stream to the slot that the session's stream has picked, on a connection that others share.
cdef Upstream *call_take "fourseven_call_take"(
    Worker *worker, Session *session, uint64_t identity
) noexcept nogil
# As upstream_read (without the buffer), upstream_send and upstream_drop.
cdef int32_t call_read "fourseven_call_read"(
    Worker *worker, Upstream *upstream, char *to, size_t room
) noexcept nogil
cdef int32_t call_send "fourseven_call_send"(
    Worker *worker, Upstream *upstream, const char *at, uint32_t size
) noexcept nogil
cdef void call_drop "fourseven_call_drop"(Worker *worker, Upstream *upstream) noexcept nogil
# Nothing more of the request will come.
cdef void call_end "fourseven_call_end"(Lane *lane) noexcept nogil
# Something has come for it, or there is room.
cdef void call_run "fourseven_call_run"(Worker *worker, Lane *lane) noexcept nogil
# Its connection is lost.
cdef void call_lost "fourseven_call_lost"(Worker *worker, Lane *lane) noexcept nogil
# The stream is closed, with this code.
cdef void call_closed "fourseven_call_closed"(Lane *lane, uint32_t code) noexcept nogil
# Its connection stands: its request may go.
cdef void call_begins "fourseven_call_begins"(Lane *lane) noexcept nogil
# The server allows fewer streams than wait: to another connection, or, if it may not, refused.
cdef void call_move "fourseven_call_move"(Lane *lane, bint may) noexcept nogil
# What a failure (l7.retry.Failure) was in truth.
cdef uint8_t call_failure "fourseven_call_failure"(
    Worker *worker, Session *session, uint8_t failure
) noexcept nogil
# A request's head, as the engine wrote it, in fields; how many bytes it has.
cdef int32_t call_head "fourseven_call_head"(Lane *lane, char *at, uint32_t size) noexcept nogil

cdef int32_t request_fields(Lane *lane, char *at, uint32_t size, nghttp2_nv *fields) noexcept nogil
cdef int32_t header_fields(
    Lane *lane, char *at, uint32_t position, uint32_t size, nghttp2_nv *fields
) noexcept nogil
cdef int32_t trailers_wanted(nghttp2_nv *field) noexcept nogil
cdef int32_t shake(Lane *lane, nghttp2_nv *fields, int32_t found, int32_t key) noexcept nogil
cdef bint http_building(const Lane *lane) noexcept nogil
