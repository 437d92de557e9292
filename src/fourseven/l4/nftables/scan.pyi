ROW: int
ENDED: int

def rows(data: bytes, into: bytearray) -> int: ...
