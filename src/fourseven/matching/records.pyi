from enum import IntEnum

class Field(IntEnum):
    FIELD_CLIENT = 0
    FIELD_HOST = 1
    FIELD_PATH = 2
    FIELD_METHOD = 3
    FIELD_HEADER = 4
    FIELD_COOKIE = 5
    FIELD_QUERY = 6
    FIELD_DEVICE = 7
    FIELD_BODY = 8
    FIELD_BODY_JSON = 9
    FIELD_BODY_SIZE = 10
    FIELD_BODY_TYPE = 11
    FIELD_SNI = 12
    FIELD_ALPN = 13
    FIELD_CERTIFICATE = 14

class Test(IntEnum):
    TEST_PRESENT = 0
    TEST_EXACT = 1
    TEST_PREFIX = 2
    TEST_SUFFIX = 3
    TEST_CONTAINS = 4
    TEST_ANY_OF = 5
    TEST_REGEX = 6
    TEST_GLOB = 7
    TEST_SEGMENTS = 8
    TEST_WILDCARD = 9
    TEST_RANGES = 10
    TEST_ABOVE = 11
    TEST_BELOW = 12
    TEST_EQUAL = 13

class Payload(IntEnum):
    PAYLOAD_NONE = 0
    PAYLOAD_BYTES = 1
    PAYLOAD_SIZE = 2

class HostKind(IntEnum):
    HOST_EXACT = 0
    HOST_WILDCARD = 1

ROUTE_NONE: int
ROUTE_NEEDS_BODY: int
<<<<<<< HEAD
FIELD_NOTHING: int
=======
ROUTE_UNDECIDED: int
>>>>>>> 5a58829 (A request on which an expression runs into its limit is refused: it passes no rule by being hard to judge)
FIELDS_USED: int
TESTS_USED: int
DEPTH_MAX: int
ROWS_MAX: int
ROUTES_MAX: int
MATCH_ROOM: int
RUNS_MAX: int
HOSTS_MAX: int
ROW_MATCH: int
ROW_MISS: int
