"""Makes operands ready: a list is sorted, an expression compiled, address ranges are checked.

It runs when the table is packed; the tests then only read. What thousands of routes have in
common (a host, an expression) is kept once: it is made faster, and found in the cache.
"""

import cython
from cython.cimports.fourseven.matching.glob import glob_compile
from cython.cimports.fourseven.matching.records import (
    TEST_ANY_OF,
    TEST_GLOB,
    TEST_RANGES,
    TEST_REGEX,
    MatchSet,
)
from cython.cimports.fourseven.matching.regex import regex_compile
from cython.cimports.fourseven.native.arena import arena_take, arena_text
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.libc.stdint import uint32_t

from fourseven.matching.rows import unpack_list


def prepare(arena, test, operand):
    if test == TEST_ANY_OF:
        return prepare_set(arena, operand)
    if test == TEST_REGEX:
        return regex_compile(arena, operand)
    if test == TEST_GLOB:
        return glob_compile(arena, operand)
    if test == TEST_RANGES:
        check_ranges(operand)
    return cython.NULL


def prepare_set(arena, operand):
    values = sorted(set(unpack_list(operand)), key=by_size)
    found: cython.pointer[MatchSet] = cython.cast(
        cython.pointer[MatchSet], arena_take(arena, cython.sizeof(MatchSet))
    )
    found.items = cython.cast(
        cython.pointer[Span], arena_take(arena, (len(values) or 1) * cython.sizeof(Span))
    )
    at: uint32_t
    for at, value in enumerate(values):
        found.items[at] = arena_text(arena, value)
    found.count = len(values)
    return found


def by_size(value: bytes):
    return len(value), value


def check_ranges(operand):
    if len(operand) % 32 != 0:
        raise ValueError("address ranges come in pairs of 16 bytes")
    last = b""
    for at in range(0, len(operand), 32):
        first = operand[at : at + 16]
        if at and first <= last:
            raise ValueError("address ranges must ascend and not overlap")
        last = operand[at + 16 : at + 32]
        if last < first:
            raise ValueError("an address range ends before it starts")
    return 0


def kept_operand(arena, kept, test, operand):
    key = (test, operand)
    if key not in kept:
        kept[key] = cython.cast(cython.size_t, prepare(arena, test, operand))
    return cython.cast(cython.p_void, cython.cast(cython.size_t, kept[key]))


def kept_text(arena, kept, text):
    if text not in kept:
        kept[text] = cython.cast(cython.size_t, arena_text(arena, text).at)
    at: cython.size_t = kept[text]
    return Span(at=cython.cast(cython.p_const_char, at), size=len(text))
