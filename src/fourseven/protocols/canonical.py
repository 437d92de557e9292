"""One form for each path and each host, for matching and for forwarding alike.

A rule that denies `/admin` must hold for `//admin`, `/%61dmin`, `/x/../admin` and every other
spelling that some server takes for the same; so there is one canonical form, rules see it, and
the server gets it.

The path: dot segments removed (RFC 3986 5.2.4), duplicate slashes merged, every encoding undone
that changes nothing (%61), every other one kept with upper-case digits (%20), and what RFC 3986
wants encoded is encoded (a raw `|`). `;` and %3B stay apart, for parameters of a segment are not
the same as a name with a semicolon in it. Done twice, it changes nothing more.

Refused, because servers disagree on what they mean: %2F, %5C and the backslash (a slash for some),
%00 (the end for some), `..;` and `.;` (a dot segment for servers that cut parameters first), and
a `;` that begins a segment behind which another one comes (for them `/;/admin` is `/admin`).

The host: lower case, no port, no final dot; an IPv6 literal in its one text form (RFC 5952).
Sources: RFC 3986 3.2.2, 5.2.4, 6.2.2; RFC 9110 4.2.3.
"""

import cython
from cython.cimports.fourseven.native.linux import AF_INET6
from cython.cimports.fourseven.protocols.canonical import (
    AUTHORITY_HOST,
    AUTHORITY_PORT,
    HOST_MAX,
    LITERAL_MAX,
    PATH_DOTS,
    PATH_ENCODED_SLASH,
    PATH_LONG,
    PATH_MALFORMED,
    PATH_NUL,
    PORT_NONE,
    SEGMENT_EMPTY,
    SEGMENT_HERE,
    SEGMENT_NAME,
    SEGMENT_REFUSED,
    SEGMENT_UP,
    inet_ntop,
    inet_pton,
)
from cython.cimports.fourseven.protocols.grammar import HOST, PLAIN, UPPER, class_of, hex_value
from cython.cimports.fourseven.snapshot.layout import RELAX_ENCODED_SLASH, RELAX_MERGE_SLASHES
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.string import memchr, memcpy, strlen


def canonical_path(path, size, out, capacity, relax):
    i: uint32_t = 0
    start: uint32_t = 1  # of the current segment, behind its slash
    end: uint32_t = 1
    kind: uint32_t
    wrote: int32_t
    if size == 0 or capacity < 4:
        return PATH_LONG
    out[0] = b"/"
    for_slash: cython.bint
    while i < size:
        i += 1  # past a slash: the first one, or the one that ended the segment before
        while i < size and path[i] != b"/":
            if end + 4 > capacity:  # an escape, and the slash behind it
                return PATH_LONG
            if class_of(path[i]) & PLAIN:
                out[end] = path[i]
                end += 1
                i += 1
                continue
            wrote = put_escape(path + i, size - i, out + end, relax)
            if wrote < 0:
                return wrote
            end += wrote
            i += 3 if path[i] == b"%" else 1
        for_slash = i < size
        kind = segment_kind(out + start, end - start)
        if kind == SEGMENT_REFUSED or (for_slash and out[start] == b";" and end > start):
            return PATH_DOTS
        if kind == SEGMENT_UP:
            end = parent(out, start)
        elif kind == SEGMENT_HERE:
            end = start
        elif for_slash and (kind == SEGMENT_NAME or relax & RELAX_MERGE_SLASHES):
            if end + 4 > capacity:
                return PATH_LONG
            out[end] = b"/"
            end += 1
        start = end
    return end


def put_escape(at, left, out, relax):
    """Writes what stands for one byte that is not plain; how much, or a code."""
    high: cython.int
    low: cython.int
    value: cython.uint
    if at[0] == b"\\":
        return PATH_ENCODED_SLASH
    if at[0] == 0:
        return PATH_NUL
    if at[0] != b"%":
        return put_encoded(cython.cast(cython.uchar, at[0]), out)
    if left < 3:
        return PATH_MALFORMED
    high = hex_value(at[1])
    low = hex_value(at[2])
    if high < 0 or low < 0:
        return PATH_MALFORMED
    value = high * 16 + low
    if value == 0:
        return PATH_NUL
    if value == 0x2F or value == 0x5C:  # slash, backslash
        return put_encoded(value, out) if relax & RELAX_ENCODED_SLASH else PATH_ENCODED_SLASH
    if value != 0x3B and class_of(cython.cast(cython.char, value)) & PLAIN:  # all but ';'
        out[0] = cython.cast(cython.char, value)
        return 1
    return put_encoded(value, out)


def put_encoded(byte, out):
    out[0] = b"%"
    out[1] = hex_digit(byte >> 4)
    out[2] = hex_digit(byte & 15)
    return 3


def hex_digit(value):
    return cython.cast(cython.char, value + 0x30 if value < 10 else value - 10 + 0x41)


def segment_kind(at, size):
    dots: uint32_t = 1
    if size == 0:
        return SEGMENT_EMPTY
    if at[0] != b".":
        return SEGMENT_NAME
    if size > 1 and at[1] == b".":
        dots = 2
    if size == dots:
        return SEGMENT_HERE if dots == 1 else SEGMENT_UP
    if at[dots] == b";":
        return SEGMENT_REFUSED
    if size >= dots + 3 and at[dots] == b"%" and at[dots + 1] == b"3" and at[dots + 2] == b"B":
        return SEGMENT_REFUSED
    return SEGMENT_NAME


def parent(out, start):
    """Where the segment before the one at `start` began; the root is its own parent."""
    slash: uint32_t = start - 1
    if slash == 0:
        return 1
    while out[slash - 1] != b"/":
        slash -= 1
    return slash


def read_authority(text, size, out, capacity, host, port):
    close: cython.p_const_char
    found: cython.p_const_char
    name_size: uint32_t = size
    result: int32_t
    port[0] = PORT_NONE
    if size == 0:
        return AUTHORITY_HOST
    if text[0] == b"[":
        close = cython.cast(cython.p_const_char, memchr(text, 0x5D, size))
        if close is cython.NULL:
            return AUTHORITY_HOST
        name_size = cython.cast(uint32_t, close - text) + 1
        result = read_literal(text, name_size, out, capacity, host)
    else:
        found = cython.cast(cython.p_const_char, memchr(text, 0x3A, size))
        if found is not cython.NULL:
            name_size = cython.cast(uint32_t, found - text)
        result = canonical_host(text, name_size, out, capacity, host)
    if result < 0 or name_size == size:
        return result
    if text[name_size] != b":":
        return AUTHORITY_HOST
    port[0] = read_port(text + name_size + 1, size - name_size - 1)
    return 0 if port[0] >= 0 else AUTHORITY_PORT


def read_port(at, size):
    """The number, or -1: an empty port is legal in a URI, but servers differ on it."""
    i: uint32_t
    value: int32_t = 0
    if size == 0 or size > 5:
        return -1
    for i in range(size):
        if at[i] < 0x30 or at[i] > 0x39:
            return -1
        value = value * 10 + (at[i] - 0x30)
    return value if value <= 65535 else -1


def canonical_host(text, size, out, capacity, host):
    i: uint32_t
    seen: uint32_t = 0
    kind: uint32_t
    dot: cython.bint = True  # a label may not be empty
    if size > HOST_MAX or size > capacity:
        return AUTHORITY_HOST
    for i in range(size):
        kind = class_of(text[i])
        if not kind & HOST:
            return AUTHORITY_HOST
        seen |= kind
        if text[i] == b".":
            if dot:
                return AUTHORITY_HOST
            dot = True
        else:
            dot = False
    if dot and size:
        size -= 1
    if size == 0:
        return AUTHORITY_HOST
    host.at = text
    host.size = size
    if seen & UPPER:
        for i in range(size):
            out[i] = text[i] | 0x20 if class_of(text[i]) & UPPER else text[i]
        host.at = out
    return 0


def read_literal(text, size, out, capacity, host):
    """`text` is '[' … ']'. No zone: it means nothing to another machine."""
    address = cython.declare(cython.uchar[16])
    literal = cython.declare(cython.char[46])
    length: uint32_t = size - 2
    if size < 4 or length > LITERAL_MAX or capacity < LITERAL_MAX + 3:
        return AUTHORITY_HOST
    memcpy(literal, text + 1, length)
    literal[length] = 0
    if strlen(literal) != length or inet_pton(AF_INET6, literal, address) != 1:
        return AUTHORITY_HOST
    if inet_ntop(AF_INET6, address, out + 1, LITERAL_MAX + 1) is cython.NULL:
        return AUTHORITY_HOST
    length = strlen(out + 1)
    out[0] = b"["
    out[length + 1] = b"]"
    host.at = out
    host.size = length + 2
    return 0
