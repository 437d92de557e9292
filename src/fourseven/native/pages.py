"""Memory by the page: large tables of which only the touched part costs anything.

A table for 65,536 servers is there from the start, so no index ever moves and no reader ever
follows a pointer that control has replaced; the kernel gives a page at its first touch, zeroed.
"""

import cython
from cython.cimports.fourseven.native.linux import (
    MAP_ANONYMOUS,
    MAP_FAILED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_READ,
    PROT_WRITE,
    mmap,
    munmap,
)


def pages_new(size):
    at: cython.p_void = pages_try(size)
    if at is cython.NULL:
        raise MemoryError
    return at


def pages_try(size):
    at: cython.p_void = mmap(
        cython.NULL,
        size,
        PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
        -1,
        0,
    )
    return cython.NULL if at == MAP_FAILED else at


def pages_drop(at, size):
    if at is not cython.NULL:
        munmap(at, size)
