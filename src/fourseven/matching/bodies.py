"""What can be seen of a body: its first bytes, a value in its JSON, its size, its media type.

The engine buffers a prefix before a row here is reached (records.Payload), and a row says how
much of it counts, so that what one route asks for changes nothing for another.

Laws: a request without a body has size 0 and nothing to search in. The size is the
Content-Length where there is one. A chunked body has a size once it is wholly within the prefix;
until then it counts as larger than any size: who sends a body in chunks does not slip past
`size: "> 1MiB"`.
"""

import cython
from cython.cimports.fourseven.matching.bodies import TYPE_MAX
from cython.cimports.fourseven.matching.fields import field_header
from cython.cimports.fourseven.matching.json import json_find
from cython.cimports.fourseven.matching.records import MATCH_ROOM, MatchCursor
from cython.cimports.fourseven.protocols.message import FRAMING_LENGTH, FRAMING_NONE, Span
from cython.cimports.libc.stdint import uint32_t, uint64_t


def field_body(request, name, number, scratch, cursor):
    return prefix_of(request, number)


def field_body_json(request, name, number, scratch, cursor):
    body: Span = prefix_of(request, number)
    if body.at is cython.NULL:
        return body
    whole: cython.bint = request.body_complete and body.size == request.body.size
    return json_find(cython.address(body), whole, name, scratch.room, MATCH_ROOM)


def field_body_size(request, name, number, scratch, cursor):
    unknown: uint64_t = 0
    if request.framing == FRAMING_NONE:
        return decimal(0, scratch)
    if request.framing == FRAMING_LENGTH:
        return decimal(request.content_length, scratch)
    if request.body.at is not cython.NULL and request.body_complete:
        return decimal(request.body.size, scratch)
    return decimal(~unknown, scratch)


def field_body_type(request, name, number, scratch, cursor):
    header: Span = Span(at=b"content-type", size=12)
    first: MatchCursor = MatchCursor(line=0, at=0)
    line: Span = field_header(request, cython.address(header), 0, scratch, cython.address(first))
    size: uint32_t = 0
    byte: cython.uchar
    if line.at is cython.NULL:
        return line
    while size < line.size and line.at[size] != b";":
        size += 1
    while size and (line.at[size - 1] == b" " or line.at[size - 1] == b"\t"):
        size -= 1
    if size > TYPE_MAX:
        return Span(at=cython.NULL, size=0)
    at: uint32_t
    for at in range(size):
        byte = line.at[at]
        scratch.room[at] = byte | 32 if 65 <= byte <= 90 else byte
    return Span(at=cython.address(scratch.room[0]), size=size)


def prefix_of(request, number):
    body: Span = request.body
    if number and body.size > number:
        body.size = cython.cast(uint32_t, number)
    return body


def decimal(value, scratch):
    end: uint32_t = 20  # digits of the greatest 64-bit number
    at: uint32_t = end
    while True:
        at -= 1
        scratch.room[at] = 48 + cython.cast(cython.char, value % 10)
        value //= 10
        if value == 0:
            return Span(at=cython.address(scratch.room[at]), size=end - at)
