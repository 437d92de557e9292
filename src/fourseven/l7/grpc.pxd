from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t

from fourseven.l7.context cimport HeadContext

# gRPC's own status codes (grpc/grpc, doc/statuscodes.md), those that we answer with.
cpdef enum GrpcStatus:
    GRPC_UNKNOWN = 2
    GRPC_DEADLINE_EXCEEDED = 4
    GRPC_PERMISSION_DENIED = 7
    GRPC_RESOURCE_EXHAUSTED = 8
    GRPC_UNIMPLEMENTED = 12
    GRPC_INTERNAL = 13
    GRPC_UNAVAILABLE = 14
    GRPC_UNAUTHENTICATED = 16

# Is it the content type of gRPC? gRPC-Web is not: its clients are browsers, which read statuses.
cdef bint is_grpc "fourseven_is_grpc"(const char *at, size_t size) noexcept nogil
# What a status of HTTP means to a client of gRPC.
cdef uint8_t grpc_status "fourseven_grpc_status"(uint16_t status) noexcept nogil
# As write_answer, for a client of gRPC: it gets no page, but a status of its own.
cdef int32_t write_grpc_answer "fourseven_write_grpc_answer"(
    char *out, uint32_t capacity, uint16_t status, const HeadContext *context
) noexcept nogil
