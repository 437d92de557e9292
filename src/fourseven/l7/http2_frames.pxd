from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.native.nghttp2 cimport (
    nghttp2_data_source,
    nghttp2_frame,
    nghttp2_frame_hd,
    nghttp2_rcbuf,
    nghttp2_session,
    nghttp2_session_callbacks,
)

# Called once, by control: the library shall call what stands here.
cdef int frames_prepare(nghttp2_session_callbacks *callbacks) except -1

# What libnghttp2 calls.
cdef ssize_t on_send "fourseven_http2_on_send"(
    nghttp2_session *inner, const uint8_t *at, size_t size, int flags, void *data) noexcept nogil
cdef int on_send_data "fourseven_http2_on_send_data"(
    nghttp2_session *inner, nghttp2_frame *frame, const uint8_t *head, size_t size,
    nghttp2_data_source *source, void *data) noexcept nogil
cdef int on_begin_frame "fourseven_http2_on_begin_frame"(
    nghttp2_session *inner, const nghttp2_frame_hd *head, void *data) noexcept nogil
cdef int on_begin_headers "fourseven_http2_on_begin_headers"(
    nghttp2_session *inner, const nghttp2_frame *frame, void *data) noexcept nogil
cdef int on_header "fourseven_http2_on_header"(
    nghttp2_session *inner, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
    uint8_t flags, void *data) noexcept nogil
cdef int on_data "fourseven_http2_on_data"(
    nghttp2_session *inner, uint8_t flags, int32_t id, const uint8_t *at, size_t size, void *data
) noexcept nogil
cdef int on_frame "fourseven_http2_on_frame"(
    nghttp2_session *inner, const nghttp2_frame *frame, void *data) noexcept nogil
cdef int on_invalid_frame "fourseven_http2_on_invalid_frame"(
    nghttp2_session *inner, const nghttp2_frame *frame, int error, void *data) noexcept nogil
cdef int on_frame_sent "fourseven_http2_on_frame_sent"(
    nghttp2_session *inner, const nghttp2_frame *frame, void *data) noexcept nogil
cdef int on_stream_close "fourseven_http2_on_stream_close"(
    nghttp2_session *inner, int32_t id, uint32_t code, void *data) noexcept nogil
