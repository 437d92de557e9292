from enum import IntEnum

class Coding(IntEnum):
    CODING_NONE = 0
    CODING_GZIP = 1
    CODING_BROTLI = 2
    CODING_ZSTD = 3
    CODINGS = 4

def built() -> dict[str, str]: ...
