"""Picking tables on their way into the kernel: 65,537 places each, and a change writes a few.

A plan's table says for each place which of a backend's servers takes it; the program's says which
number that server has. `gather` looks the numbers up, `spread` writes them to where the kernel's
program reads them: its array is memory that the control plane sees as well. Python would take
several milliseconds over each.

Law: every index is checked, and a table that does not fit is refused before anything is written.
"""

import cython
from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memcpy


def gather(table, numbers, into):
    """into[i] = numbers[table[i]]."""
    count: uint64_t = len(table)
    servers: uint64_t = numbers.shape[0]
    i: uint64_t
    at: uint64_t
    if cython.cast(uint64_t, into.shape[0]) != count:
        raise IndexError("there must be as many places as the table has")
    for i in range(count):
        at = table[i]
        if at >= servers:
            raise IndexError("a picking table names a server that is not there")
        into[i] = numbers[at]
    return 0


def spread(content, rows, first):
    """Numbers, one after the other, become rows from `first` on."""
    count: uint64_t = content.shape[0] // NUMBER
    room: uint64_t = rows.shape[0] // ROW
    i: uint64_t
    found: uint32_t
    if count > room or first > room - count:
        raise IndexError("a picking table does not fit")
    for i in range(count):
        memcpy(cython.address(found), cython.address(content[i * NUMBER]), NUMBER)
        memcpy(cython.address(rows[(first + i) * ROW]), cython.address(found), NUMBER)
    return 0
