from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.protocols.message cimport Header, Span

cdef enum:
    CONNECTION_MAX = 32     # names in Connection: each is looked up among all fields
    LENGTH_DIGITS_MAX = 19  # of 2^63-1

# What the fields have said so far: bits of Fields.seen
cdef enum:
    SEEN_HOST = 1
    SEEN_LENGTH = 2
    SEEN_CODING = 4
    SEEN_UPGRADE = 8
    SEEN_UPGRADE_REFUSED = 16   # h2c and the like
    SEEN_EXPECT = 32
    SAID_CLOSE = 64             # tokens of Connection
    SAID_KEEP_ALIVE = 128
    SAID_UPGRADE = 256
    SAID_NAMES = 512            # others: names of fields

# The fields of a head while they are read.
cdef struct Fields:
    Header *headers
    uint32_t count
    uint32_t count_max
    uint32_t fault
    uint32_t seen
    uint32_t said           # names that Connection held
    uint32_t relax
    uint64_t content_length
    Span host
    uint8_t version         # 10 or 11
    uint8_t answer          # 1: of a response

# Reads field lines from `start` to the empty line: the size of the head; 0 when more bytes are
# needed; -STATUS with the reason in fields.fault.
cdef int32_t read_fields "fourseven_http1_read_fields"(
    const char *at, uint32_t start, uint32_t size, Fields *fields
) noexcept nogil

# The position behind the CRLF at `start`, where a line must end; 0: more bytes; -400 with `fault`.
cdef int32_t end_line "fourseven_http1_end_line"(
    const char *at, uint32_t start, uint32_t size, uint32_t *fault
) noexcept nogil

# Flags the fields that Connection names, and keeps Upgrade forwardable where `upgrade` says so.
cdef void settle_hops "fourseven_http1_settle_hops"(Fields *fields, bint upgrade) noexcept nogil

cdef inline int32_t refuse(uint32_t *fault, uint32_t why, int32_t status) noexcept nogil:
    fault[0] = why
    return -status

cdef int32_t refuse_name(
    const char *at, uint32_t start, uint32_t end, Fields *fields
) noexcept nogil
cdef int32_t place_field(Fields *fields, Header *header, uint32_t kinds) noexcept nogil
cdef int32_t take_field(Fields *fields, Header *header) noexcept nogil
cdef int32_t take_length(Fields *fields, const Span *value) noexcept nogil
cdef int32_t take_coding(Fields *fields, const Span *value) noexcept nogil
cdef int32_t take_connection(Fields *fields, const Span *value) noexcept nogil
cdef int32_t take_expect(Fields *fields, Header *header) noexcept nogil
cdef void take_upgrade(Fields *fields, const Span *value) noexcept nogil
cdef void drop_named(Fields *fields, const Span *token) noexcept nogil
cdef bint next_element(const Span *value, uint32_t *at, Span *element) noexcept nogil
cdef bint is_token(const Span *text) noexcept nogil
