from array import array
from mmap import mmap

Memory = bytes | bytearray | mmap

def walk(
    form: bytes,
    rows: bytearray | mmap,
    births: Memory,
    near: bytearray | mmap,
    first: int,
    count: int,
    now: int,
    second: int,
    live: array[int],
    ended: array[int],
    listeners: int,
) -> int: ...
def cut(
    form: bytes,
    rows: bytearray | mmap,
    births: Memory,
    near: bytearray | mmap,
    server: int,
    ended: array[int],
    listeners: int,
) -> int: ...
def mark(
    form: bytes, rows: bytearray | mmap, births: Memory, near: bytearray | mmap, servers: bytearray
) -> int: ...
def tell(
    wanted: bytes,
    form: bytes,
    rows: bytearray | mmap,
    births: Memory,
    near: bytearray | mmap,
    first: int,
    count: int,
    now: int,
    second: int,
    told: bytearray,
) -> int: ...
