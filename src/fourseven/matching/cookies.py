"""Cookies: pairs between semicolons, in any number of Cookie lines.

RFC 6265 5.4 says what a browser sends, servers take more: no space after the semicolon, tabs,
empty pieces. Names keep their case. One pair of quotes around a value is not part of it, as most
servers read it; a semicolon ends a value even within quotes.

Laws: of several cookies of one name each is a value, and a match holds when any one does. A piece
without = has no name, so it is none of ours.
"""

import cython
from cython.cimports.fourseven.matching.fields import same_name
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.string import memcmp


def field_cookie(request, name, number, scratch, cursor):
    header: Span = Span(at=b"cookie", size=6)
    value: Span = Span(at=cython.NULL, size=0)
    while cursor.line < request.header_count and value.at is cython.NULL:
        line: uint32_t = cursor.line
        if same_name(cython.address(request.headers[line].name), cython.address(header)):
            value = next_in_line(cython.address(request.headers[line].value), name, cursor)
        if value.at is cython.NULL:
            cursor.line += 1
            cursor.at = 0
    return value


def next_in_line(line, name, cursor):
    start: uint32_t
    equals: uint32_t
    end: uint32_t
    found: Span
    while cursor.at < line.size:
        start = equals = end = cursor.at
        while end < line.size and line.at[end] != b";":
            end += 1
        while equals < end and line.at[equals] != b"=":
            equals += 1
        cursor.at = end + 1
        found = trimmed(line.at, start, equals)
        if equals == end or found.size != name.size or memcmp(found.at, name.at, name.size) != 0:
            continue
        found = trimmed(line.at, equals + 1, end)
        if found.size >= 2 and found.at[0] == b'"' and found.at[found.size - 1] == b'"':
            return Span(at=found.at + 1, size=found.size - 2)
        return found
    return Span(at=cython.NULL, size=0)


def trimmed(text, start, end):
    while start < end and (text[start] == b" " or text[start] == b"\t"):
        start += 1
    while start < end and (text[end - 1] == b" " or text[end - 1] == b"\t"):
        end -= 1
    return Span(at=text + start, size=end - start)
