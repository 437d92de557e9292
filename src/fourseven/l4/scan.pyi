from array import array
from mmap import mmap

Memory = bytes | bytearray | mmap

def walk(
    form: bytes,
    rows: bytearray | mmap,
    births: Memory,
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
    server: int,
    ended: array[int],
    listeners: int,
) -> int: ...
def mark(form: bytes, rows: bytearray | mmap, births: Memory, servers: bytearray) -> int: ...
def choose(
    form: bytes,
    wanted: bytes,
    rows: bytearray | mmap,
    births: Memory,
    first: int,
    count: int,
    found: array[int],
) -> int: ...
def other(form: bytes, rows: bytearray | mmap, births: Memory, place: int) -> tuple[int, int]: ...
