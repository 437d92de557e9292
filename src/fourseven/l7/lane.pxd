from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l7.records cimport Http2, Lane, Session
from fourseven.native.nghttp2 cimport nghttp2_session
from fourseven.worker.worker cimport Worker

cpdef enum:
    LANE_ROOM_MIN = 64      # a read of a lane needs this much: a chunk's frame and some data

# A new stream; NULL when there is no memory.
cdef Lane *lane_open "fourseven_lane_open"(Http2 *http2, int32_t id) noexcept nogil
# A stream without a connection or an id yet; NULL when there is no memory.
cdef Lane *lane_new "fourseven_lane_new"(Worker *worker) noexcept nogil
# To a connection, and off it, with a reset where it is not over.
cdef void lane_join "fourseven_lane_join"(Http2 *http2, Lane *lane) noexcept nogil
cdef void lane_part "fourseven_lane_part"(Lane *lane, uint32_t code) noexcept nogil
# Likewise, and what has come is forgotten; the record itself stays.
cdef void lane_leave "fourseven_lane_leave"(Worker *worker, Lane *lane, uint32_t code) noexcept nogil
# What has come, as text of HTTP/1.1: bytes, READ_END or READ_LATER.
cdef int32_t lane_take "fourseven_lane_take"(
    Worker *worker, Lane *lane, char *to, size_t room
) noexcept nogil
# Of session_close: the stream is over for us, well or badly.
cdef void lane_close "fourseven_lane_close"(Worker *worker, Session *session) noexcept nogil
# An answer to a head that could not be written as one of HTTP/1.1.
cdef void lane_refuse "fourseven_lane_refuse"(Worker *worker, Lane *lane) noexcept nogil
# Data from the client; False when it cannot be kept.
cdef bint lane_data "fourseven_lane_data"(Lane *lane, const char *at, uint32_t size) noexcept nogil

# As session_receive.
cdef int32_t lane_read "fourseven_lane_read"(
    Worker *worker, Session *session, char *to, size_t room
) noexcept nogil
# In the carrier's list; who stands at its end is run last.
cdef void lane_append "fourseven_lane_append"(Http2 *http2, Lane *lane) noexcept nogil
cdef void lane_detach "fourseven_lane_detach"(Http2 *http2, Lane *lane) noexcept nogil

cdef int32_t read_body(Worker *worker, Lane *lane, char *to, size_t room) noexcept nogil

cdef inline nghttp2_session *inner_of(const Lane *lane) noexcept nogil:
    return <nghttp2_session *> lane.carrier.inner
