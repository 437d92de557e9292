from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.protocols.http1 cimport HeadLimits
from fourseven.protocols.message cimport Header, Request, Response, Span
from fourseven.protocols.proxyproto cimport ProxyHeader

# With -fsanitize=address: what lies behind the bytes that have "come" may not be touched.
cdef extern from "<sanitizer/asan_interface.h>" nogil:
    void poison "ASAN_POISON_MEMORY_REGION"(const void *at, size_t size)
    void unpoison "ASAN_UNPOISON_MEMORY_REGION"(const void *at, size_t size)

cdef Request[2] REQUESTS
cdef Response[2] RESPONSES

cdef void request(const char *data, uint32_t size) noexcept nogil
cdef void response(const char *data, uint32_t size) noexcept nogil
cdef void chunked(const char *data, uint32_t size) noexcept nogil
cdef void client_hello(const char *data, uint32_t size) noexcept nogil
cdef void server_flight(const char *data, uint32_t size) noexcept nogil
cdef void proxy(const char *data, uint32_t size) noexcept nogil
cdef void path(const char *data, uint32_t size) noexcept nogil

cdef uint32_t hear(const char *data, uint32_t size, uint32_t step, uint64_t *digest) noexcept nogil
cdef void check_proxy(const ProxyHeader *header, const char *at) noexcept nogil
cdef char *copied(const char *data, uint32_t size) noexcept nogil
cdef HeadLimits limits_of(uint8_t options) noexcept nogil
cdef void check_request(const Request *one, const char *at, int32_t result, const HeadLimits *limits) noexcept nogil
cdef void check_headers(const Header *headers, uint32_t count, const char *at, int32_t size) noexcept nogil
cdef void check_canonical(const Span *text, uint32_t relax) noexcept nogil
cdef bint inside(const Span *span, const char *at, uint32_t size) noexcept nogil
cdef bint same(const Span *one, const Span *other) noexcept nogil
cdef bint same_headers(const Header *one, const Header *other, uint32_t count) noexcept nogil
cdef bint known_status(int32_t status) noexcept nogil
cdef int32_t feed(
    const char *data, uint32_t size, uint32_t step, uint8_t mode, char *out, uint32_t *wrote, bint *done
) noexcept nogil
