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
def choose(
    wanted: bytes,
    form: bytes,
    rows: bytearray | mmap,
    births: Memory,
    near: bytearray | mmap,
    first: int,
    count: int,
    found: array[int],
) -> int: ...
def other(
    form: bytes, rows: bytearray | mmap, births: Memory, near: bytearray | mmap, place: int
) -> tuple[int, int]: ...
