from array import array

def walk(
    form: bytes,
    keys: bytes,
    rows: bytes,
    count: int,
    now: int,
    second: int,
    done: bytearray,
    late: bytearray,
    whose: array[int],
    servers: array[int],
    listeners: array[int],
) -> tuple[int, int]: ...
def of_server(
    form: bytes,
    keys: bytes,
    rows: bytes,
    count: int,
    server: int,
    done: bytearray,
    late: bytearray,
    whose: array[int],
) -> tuple[int, int]: ...
def choose(
    form: bytes, wanted: bytes, keys: bytes, rows: bytes, count: int, found: array[int]
) -> int: ...
