from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.protocols.message cimport Span

cdef enum:
    BINARY_TEXT_MAX = 4096  # as l7.load.REPORT_MAX
    BINARY_MAX = 3072       # what that comes to

cdef enum:                  # protobuf: wire types
    WIRE_VARINT = 0
    WIRE_FIXED64 = 1
    WIRE_BYTES = 2
    WIRE_FIXED32 = 5

cdef enum:                  # xds.data.orca.v3.OrcaLoadReport
    ORCA_CPU = 1
    ORCA_APPLICATION = 9

# A report in Base64 of protobuf: the load in 1/1024, or l7.load.LOAD_BAD.
cdef int32_t load_binary "fourseven_load_binary"(const Span *text) noexcept nogil

cdef int32_t unpacked(const Span *text, char *to) noexcept nogil
cdef int32_t read_message(const char *at, uint32_t size) noexcept nogil
cdef int32_t read_varint(const char *at, uint32_t size, uint64_t *value) noexcept nogil
cdef int32_t read_double(const char *at) noexcept nogil
