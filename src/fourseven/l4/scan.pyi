from array import array

def walk(
    form: bytes,
    rows: bytes,
    count: int,
    now: int,
    second: int,
    over: array[int],
    servers: array[int],
    listeners: array[int],
) -> int: ...
def choose(
    form: bytes, wanted: bytes, keys: bytes, rows: bytes, count: int, found: array[int]
) -> int: ...
def of_server(form: bytes, rows: bytes, count: int, server: int, found: array[int]) -> int: ...
