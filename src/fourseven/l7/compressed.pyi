from enum import IntEnum

class Skip(IntEnum):
    SKIP_NOT = 0
    SKIP_CLIENT = 1
    SKIP_VERSION = 2
    SKIP_STATUS = 3
    SKIP_ENCODED = 4
    SKIP_TYPE = 5
    SKIP_SMALL = 6
    SKIP_NO_TRANSFORM = 7
    SKIP_DIGEST = 8
    SKIP_CREDENTIALS = 9
    SKIP_FULL = 10
