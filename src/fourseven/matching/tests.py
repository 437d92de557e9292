"""The tests: does a value hold against a row's operand?

Each is a leaf over bytes. What needs preparing (a list is sorted, an address range is merged)
was prepared when the table was built, so that a long list costs its logarithm.

Laws: a value is never absent here (the program sees to that), and may hold any byte. Letters
are compared as they are: where a standard ignores case, field and operand are lower case both.
"""

import cython
from cython.cimports.fourseven.matching.records import MatchSet
from cython.cimports.fourseven.matching.tests import memmem
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.string import memcmp


def test_present(value, row, scratch):
    return True


def test_exact(value, row, scratch):
    if value.size != row.operand.size:
        return False
    return memcmp(value.at, row.operand.at, value.size) == 0


def test_prefix(value, row, scratch):
    if value.size < row.operand.size:
        return False
    return memcmp(value.at, row.operand.at, row.operand.size) == 0


def test_suffix(value, row, scratch):
    if value.size < row.operand.size:
        return False
    skip: uint32_t = value.size - row.operand.size
    return memcmp(value.at + skip, row.operand.at, row.operand.size) == 0


def test_contains(value, row, scratch):
    at: cython.p_void = memmem(value.at, value.size, row.operand.at, row.operand.size)
    return at is not cython.NULL


def test_any_of(value, row, scratch):
    items: cython.pointer[cython.const[MatchSet]] = cython.cast(
        cython.pointer[cython.const[MatchSet]], row.compiled
    )
    low: uint32_t = 0
    high: uint32_t = items.count
    middle: uint32_t
    order: cython.int
    item: cython.pointer[cython.const[Span]]
    while low < high:
        middle = low + (high - low) // 2
        item = cython.address(items.items[middle])
        if item.size != value.size:
            order = -1 if item.size < value.size else 1
        else:
            order = memcmp(item.at, value.at, value.size)
        if order == 0:
            return True
        if order < 0:
            low = middle + 1
        else:
            high = middle
    return False


def test_segments(value, row, scratch):
    size: uint32_t = row.operand.size
    if value.size < size or memcmp(value.at, row.operand.at, size) != 0:
        return False
    if value.size == size or value.at[size] == b"/":
        return True
    # RFC 3986 3.3: a segment may carry parameters, and many servers serve /admin;x as /admin.
    return value.at[size] == b";"


def test_wildcard(value, row, scratch):
    # One or more labels stand for the star, as in the Gateway API: never the bare domain.
    if value.size <= row.operand.size:
        return False
    skip: uint32_t = value.size - row.operand.size
    return memcmp(value.at + skip, row.operand.at, row.operand.size) == 0


def test_ranges(value, row, scratch):
    low: uint32_t = 0
    high: uint32_t = row.operand.size // 32
    middle: uint32_t
    pair: cython.p_const_char
    if value.size != 16:
        return False
    while low < high:
        middle = low + (high - low) // 2
        pair = row.operand.at + middle * 32
        if memcmp(value.at, pair, 16) < 0:
            high = middle
        elif memcmp(value.at, pair + 16, 16) > 0:
            low = middle + 1
        else:
            return True
    return False


def number_of(value):
    """The decimal number, or the greatest when it does not fit: what is too long is too large."""
    number: uint64_t = 0
    most: uint64_t = ~number
    digit: uint64_t
    at: uint32_t
    for at in range(value.size):
        digit = cython.cast(cython.uchar, value.at[at]) - 48
        if digit > 9 or number > (most - digit) // 10:
            return most
        number = number * 10 + digit
    return number


def test_above(value, row, scratch):
    return number_of(value) > row.number


def test_below(value, row, scratch):
    return number_of(value) < row.number


def test_equal(value, row, scratch):
    return number_of(value) == row.number
