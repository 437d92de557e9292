from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l7.records cimport Lane, Session
from fourseven.native.nghttp2 cimport nghttp2_data_source, nghttp2_nv, nghttp2_session
from fourseven.worker.worker cimport Worker

cpdef enum:
    FIELDS_OUT_MAX = 400    # of an answer: what its reader takes, and what filters add
    TRAILERS_OUT_MAX = 65536  # bytes of an answer's trailers; one large buffer

# As session_send.
cdef int32_t lane_send "fourseven_lane_send"(
    Worker *worker, Session *session, const char *at, uint32_t size
) noexcept nogil
# The same of any stream, without its session.
cdef int32_t lane_say "fourseven_lane_say"(Lane *lane, const char *at, uint32_t size) noexcept nogil
# Nothing more will come from the engine.
cdef void lane_over "fourseven_lane_over"(Lane *lane) noexcept nogil
# The engine has said all of its answer; true when the stream is closed by now.
cdef bint lane_finish "fourseven_lane_finish"(Worker *worker, Session *session) noexcept nogil
# Half close of a tunnel.
cdef void lane_end "fourseven_lane_end"(Session *session) noexcept nogil

cdef int32_t answer_head(Lane *lane, char *at, uint32_t size) noexcept nogil
cdef int32_t fields_of(
    Lane *lane, char *at, uint32_t size, nghttp2_nv *fields, bint trailers
) noexcept nogil
cdef int32_t answer_body(Lane *lane, const char *at, uint32_t size) noexcept nogil
cdef int32_t answer_framing(Lane *lane, const char *at, uint32_t size) noexcept nogil
cdef int32_t answer_trailers(Lane *lane, const char *at, uint32_t size) noexcept nogil
cdef int32_t push(Lane *lane, const char *at, uint32_t size) noexcept nogil
# What the library asks for when it may send data of a stream.
cdef ssize_t on_give "fourseven_lane_on_give"(
    nghttp2_session *inner, int32_t id, uint8_t *to, size_t size, uint32_t *flags,
    nghttp2_data_source *source, void *data) noexcept nogil
# A line as a field; False for one that is about the framing, which becomes the lane's state.
cdef bint one_field "fourseven_lane_one_field"(
    Lane *lane, char *line, char *colon, char *stop, nghttp2_nv *field
) noexcept nogil
cdef void put_field "fourseven_lane_put_field"(
    nghttp2_nv *field, const char *name, uint32_t name_size, const char *value, uint32_t value_size
) noexcept nogil
cdef uint64_t number_of(const char *at, const char *stop) noexcept nogil
