from enum import IntEnum

CHUNK_LINE_MAX: int
EXTENSIONS_MAX: int
TRAILERS_MAX: int

class ChunkedMode(IntEnum):
    CHUNKED_KEEP = 0
    CHUNKED_DECODE = 1
