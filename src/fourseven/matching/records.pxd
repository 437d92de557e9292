from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.protocols.message cimport Request, Span

# What a condition looks at.
cpdef enum Field:
    FIELD_CLIENT = 0        # the client's address (16 bytes)
    FIELD_HOST = 1
    FIELD_PATH = 2
    FIELD_METHOD = 3
    FIELD_HEADER = 4        # name: the header's; each line is a value of its own
    FIELD_COOKIE = 5
    FIELD_QUERY = 6         # a query parameter, percent-decoded
    FIELD_DEVICE = 7        # mobile, tablet, desktop or bot
    FIELD_BODY = 8          # the decoded prefix of the body; number: bytes that count, 0 = all
    FIELD_BODY_JSON = 9     # name: the JSON pointer; number as above
    FIELD_BODY_SIZE = 10    # in decimal
    FIELD_BODY_TYPE = 11    # the media type without parameters, lower case
    FIELD_SNI = 12          # the name that the ClientHello asks for
    FIELD_ALPN = 13         # each protocol that it offers is a value of its own
    FIELD_CERTIFICATE = 14  # number: a CertificateFact; each alternative name is a value of its own

# How the value is tested. Operands are in canonical form: hosts in lower case, paths as the reader makes them.
cpdef enum Test:
    TEST_PRESENT = 0
    TEST_EXACT = 1
    TEST_PREFIX = 2
    TEST_SUFFIX = 3
    TEST_CONTAINS = 4
    TEST_ANY_OF = 5         # operand: rows.pack_list
    TEST_REGEX = 6          # found anywhere in the value; ^ and $ pin it
    TEST_GLOB = 7           # operand: glob.py says which
    TEST_SEGMENTS = 8       # a path's prefix by whole segments; operand without a final slash
    TEST_WILDCARD = 9       # a host with one or more labels before the operand, which starts with a dot
    TEST_RANGES = 10        # operand: pairs of 16-byte addresses (first, last), ascending, disjoint
    TEST_ABOVE = 11         # more than `number`
    TEST_BELOW = 12
    TEST_EQUAL = 13

cpdef enum:
    ROUTE_NONE = -1         # no route matches
    ROUTE_NEEDS_BODY = -2   # a payload condition decides, and the body's prefix is not there yet
    ROUTE_UNDECIDED = -3    # an expression ran into its limit: nobody knows whether the route matches

cpdef enum:
    FIELD_NOTHING = 255     # of what persists: nothing else names a client
    FIELDS_USED = 15
    TESTS_USED = 14
    DEPTH_MAX = 32          # nesting of any, all and not: people stop at three, generators at ten
    ROWS_MAX = 4096         # conditions in one route: beyond it, a list (any_of) or more routes serve better
    ROUTES_MAX = 1000000    # in one listener: ten times what we measure
    MATCH_ROOM = 65536
    RUNS_MAX = 96
    HOSTS_MAX = 8
    ROW_MATCH = 0x7fffffff  # exits that are no row
    ROW_MISS = 0x7ffffffe

cpdef enum Payload:
    PAYLOAD_NONE = 0
    PAYLOAD_BYTES = 1       # the body's first bytes
    PAYLOAD_SIZE = 2        # its size: bytes only when no header says it

cpdef enum HostKind:
    HOST_EXACT = 0
    HOST_WILDCARD = 1

cdef extern from "fourseven/matching/records.h" nogil:
    ctypedef struct MatchRow:
        uint16_t field
        uint16_t test
        uint16_t many
        uint16_t payload
        uint32_t on_true
        uint32_t on_false
        uint64_t number
        Span name
        Span operand
        const void *compiled

    ctypedef struct MatchSet:
        uint32_t count
        Span *items

    ctypedef struct MatchGlob:
        uint32_t words
        uint32_t final
        uint64_t[4] stars
        uint8_t[256] row
        uint64_t *step
        uint64_t *stay

    ctypedef struct MatchHostKey:
        uint64_t hash
        Span key
        uint32_t kind
        uint32_t host

    ctypedef struct MatchHost:
        uint64_t depths
        uint32_t exacts
        uint32_t any_first
        uint32_t any_count

    ctypedef struct MatchBucket:
        uint64_t hash
        const char *key
        uint32_t key_size
        uint32_t owner
        uint32_t first
        uint32_t count

    ctypedef struct MatchTable:
        uint32_t route_count
        uint32_t row_count
        uint32_t *starts
        MatchRow *rows
        MatchHostKey *host_keys
        uint32_t host_mask
        uint32_t host_count
        uint64_t host_depths
        MatchHost *hosts
        MatchBucket *buckets
        uint32_t bucket_mask
        uint32_t *numbers

    ctypedef struct MatchRun:
        const uint32_t *at
        const uint32_t *end

    ctypedef struct MatchCursor:
        uint32_t line
        uint32_t at

    ctypedef struct MatchScratch:
        void *match_data
        void *match_context
        void *stack
        uint64_t regex_limited
        MatchRun[RUNS_MAX] runs
        char[MATCH_ROOM] room

# Reads one value of a field; called again it gives the next one. Absent: at is NULL.
ctypedef Span (*field_fn)(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil

# Does the value hold against the row's operand?
ctypedef bint (*test_fn)(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil
