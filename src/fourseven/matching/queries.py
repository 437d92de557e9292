"""Query parameters: read from the query as it came, decoded only where a row asks.

The rules are those of forms (WHATWG URL, application/x-www-form-urlencoded): pieces between &,
the name up to the first =, + is a space, %XX a byte. What looks like an escape and is none stays
as it is. A piece without = has an empty value.

Laws: of several parameters of one name each is a value, and a match holds when any one does;
servers differ on which one they take, so a rule that only saw the first would be by-passed.
The query goes to the server as it came: nothing here changes it.
"""

import cython
from cython.cimports.fourseven.matching.records import MATCH_ROOM
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.libc.stdint import uint32_t


def field_query(request, name, number, scratch, cursor):
    text: cython.p_const_char = request.query.at
    size: uint32_t = request.query.size
    start: uint32_t
    equals: uint32_t
    end: uint32_t
    while text is not cython.NULL and cursor.at < size:
        start = equals = end = cursor.at
        while end < size and text[end] != b"&":
            end += 1
        while equals < end and text[equals] != b"=":
            equals += 1
        cursor.at = end + 1
        if end > start and decodes_to(text, start, equals, name):
            return decode_value(text, equals + 1 if equals < end else end, end, scratch)
    return Span(at=cython.NULL, size=0)


def decodes_to(text, at, end, name):
    n: uint32_t = 0
    while at < end:
        if n == name.size:
            return False
        if decoded_byte(text, cython.address(at), end) != cython.cast(cython.uchar, name.at[n]):
            return False
        n += 1
    return n == name.size


def decode_value(text, at, end, scratch):
    size: uint32_t = 0
    while at < end and size < MATCH_ROOM:  # a head is never longer than the room
        scratch.room[size] = decoded_byte(text, cython.address(at), end)
        size += 1
    return Span(at=cython.address(scratch.room[0]), size=size)


def decoded_byte(text, at, end):
    byte: cython.uchar = text[at[0]]
    at[0] += 1
    if byte == b"+":
        return 32
    if byte != b"%" or end - at[0] < 2:
        return byte
    if digit_of(text[at[0]]) < 0 or digit_of(text[at[0] + 1]) < 0:
        return byte
    byte = digit_of(text[at[0]]) * 16 + digit_of(text[at[0] + 1])
    at[0] += 2
    return byte


def digit_of(byte):
    if 48 <= byte <= 57:
        return byte - 48
    byte |= 32
    if 97 <= byte <= 102:
        return byte - 87
    return -1
