from enum import IntEnum

HELLO_MAX: int
RECORDS_MAX: int
VERSIONS_MAX: int

class HelloResult(IntEnum):
    HELLO_OK = 1
    HELLO_MORE = 0
    HELLO_NOT_TLS = -1
    HELLO_MALFORMED = -2
    HELLO_LONG = -3
