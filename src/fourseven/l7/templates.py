"""Templates: literals and variables, written where they cannot do harm.

A variable holds what a stranger sent. Whether that is dangerous depends on the place: a line end
in a header starts another header, `<` in a page starts a script, `/../` in a path climbs. So the
place decides how a value is written, not the one who wrote the file: a header's value with a
control character is refused whole, a path and a URL are percent-encoded, a page is escaped.

Laws: a literal is the file's own and was checked when it was compiled; only variables are
escaped. A variable without a value is empty. Variables tell of the request as it came (after
normalising): no filter sees what an earlier filter did. Values with structure (the path, its rest,
a regex's groups, the query, the host) keep their `/` and `%XX`; all others are plain data in a URL.

Source: RFC 3986 2 and 3.3 for what may stand in a path; RFC 9110 5.5 for header values.
"""

import cython
from cython.cimports.fourseven.l7.addresses import address_text
from cython.cimports.fourseven.l7.output import (
    Output,
    put,
    put_byte,
    put_number,
    put_text,
    same_name,
)
from cython.cimports.fourseven.l7.templates import (
    GROUPS_MAX,
    PLACE_HEADER,
    PLACE_HTML,
    PLACE_JSON,
    PLACE_PATH,
    PLACE_TEXT,
    TEMPLATE_REFUSED,
    VALUE_ROOM,
)
from cython.cimports.fourseven.protocols.grammar import HOST, PLAIN, class_of
from cython.cimports.fourseven.protocols.message import CERTIFICATE_FACTS, Request, Span
from cython.cimports.fourseven.snapshot.layout import (
    PART_BACKEND,
    PART_CERTIFICATE,
    PART_CLIENT_ADDRESS,
    PART_CLIENT_PORT,
    PART_GROUP,
    PART_HEADER,
    PART_HOST,
    PART_LISTENER,
    PART_LITERAL,
    PART_METHOD,
    PART_PATH,
    PART_PATH_REST,
    PART_PEER_ADDRESS,
    PART_PORT,
    PART_QUERY,
    PART_REQUEST_ID,
    PART_ROUTE,
    PART_SCHEME,
    PART_SECURE,
    PART_VERIFIED,
    Part,
)
from cython.cimports.libc.stdint import uint8_t, uint32_t


def values_of(values, request, context):
    values.request = request
    values.context = context
    values.rest = Span(at=cython.NULL, size=0)
    values.group_count = 0


def put_template(out, template, place, values):
    room = cython.declare(cython.char[VALUE_ROOM])
    at: uint32_t
    value: Span
    part: cython.pointer[cython.const[Part]]
    for at in range(template.count):
        part = cython.address(template.parts[at])
        value = part_value(part, values, room)
        if part.kind == PART_QUERY and value.at is not cython.NULL:
            put_byte(out, 63)  # the request keeps it without its '?'
        if value.at is cython.NULL or value.size == 0:
            continue
        if part.kind == PART_LITERAL or place == PLACE_TEXT:
            put(out, value.at, value.size)
        elif place == PLACE_HEADER:
            if put_checked(out, cython.address(value)) != 0:
                return TEMPLATE_REFUSED
        elif place == PLACE_HTML:
            put_html(out, cython.address(value))
        elif place == PLACE_JSON:
            put_json(out, cython.address(value))
        else:
            put_url(out, cython.address(value), place, has_structure(part.kind))
    return 0


def part_value(part, values, room):
    request: cython.pointer[cython.const[Request]] = values.request
    kind: uint32_t = part.kind
    if kind == PART_LITERAL:
        return part.text
    if kind in (
        PART_REQUEST_ID,
        PART_LISTENER,
        PART_ROUTE,
        PART_BACKEND,
        PART_PATH_REST,
        PART_GROUP,
    ):
        return part_of_context(part, values)
    if request is cython.NULL:
        return Span(at=cython.NULL, size=0)
    if kind == PART_CLIENT_ADDRESS:
        return text_of_address(room, cython.address(request.client))
    if kind == PART_PEER_ADDRESS:
        return text_of_address(room, cython.address(request.peer))
    if kind == PART_CLIENT_PORT:
        return text_of_number(room, request.client.port)
    if kind == PART_PORT:
        return text_of_number(room, request.local.port)
    if kind == PART_HOST:
        return request.host
    if kind == PART_PATH:
        return request.path
    if kind == PART_METHOD:
        return request.method
    if kind == PART_SCHEME:
        return Span(at=b"https", size=5) if request.secure else Span(at=b"http", size=4)
    if kind == PART_CERTIFICATE:
        return certificate_fact(request, cython.address(part.text))
    if kind == PART_VERIFIED:
        if request.certificate is cython.NULL:
            return Span(at=b"false", size=5)
        return Span(at=b"true", size=4)
    if kind == PART_SECURE and request.secure:
        return part.text
    if kind == PART_HEADER:
        return header_value(request, cython.address(part.text))
    if kind == PART_QUERY:
        return request.query
    return Span(at=cython.NULL, size=0)


def certificate_fact(request, digit):
    number: uint32_t = 0
    if digit.size == 1:
        number = cython.cast(uint8_t, digit.at[0]) - 48
    if request.certificate is cython.NULL or number >= CERTIFICATE_FACTS:
        return Span(at=cython.NULL, size=0)
    return request.certificate.facts[number]


def part_of_context(part, values):
    group: uint32_t
    if part.kind == PART_REQUEST_ID:
        return values.context.request_id
    if part.kind == PART_LISTENER:
        return values.context.listener.name
    if part.kind == PART_PATH_REST:
        return values.rest
    if part.kind == PART_ROUTE and values.context.route is not cython.NULL:
        return values.context.route.name
    if part.kind == PART_BACKEND and values.context.backend is not cython.NULL:
        return values.context.backend.name
    if part.kind == PART_GROUP and part.text.size == 1:
        group = cython.cast(uint8_t, part.text.at[0]) - 48
        if group < GROUPS_MAX and group < values.group_count:
            return values.groups[group]
    return Span(at=cython.NULL, size=0)


def text_of_number(room, number):
    out: Output = Output(at=room, size=0, capacity=VALUE_ROOM, full=0)
    if number:  # port 0 is one that nobody told us
        put_number(cython.address(out), number)
    return Span(at=room, size=out.size)


def text_of_address(room, address):
    return Span(at=room, size=address_text(room, address))


def header_value(request, name):
    """The first one of that name, even where it is not forwarded; absent is empty."""
    at: uint32_t
    for at in range(request.header_count):
        if same_name(cython.address(request.headers[at].name), name):
            return request.headers[at].value
    return Span(at=cython.NULL, size=0)


def has_structure(kind):
    return kind in (PART_PATH, PART_PATH_REST, PART_GROUP, PART_QUERY, PART_HOST)


def put_checked(out, value):
    at: uint32_t
    byte: uint8_t
    for at in range(value.size):
        byte = value.at[at]
        if (byte < 32 and byte != 9) or byte == 127:
            return TEMPLATE_REFUSED
    put(out, value.at, value.size)
    return 0


def put_url(out, value, place, structure):
    hexadecimal: cython.p_const_char = b"0123456789ABCDEF"
    at: uint32_t
    byte: uint8_t
    for at in range(value.size):
        byte = value.at[at]
        # RFC 3986 2.3: unreserved are what a host name is made of, and '~'
        if class_of(byte) & HOST or byte == b"~" or (structure and stands_in_url(byte, place)):
            put_byte(out, byte)
        else:
            put_byte(out, 37)
            put_byte(out, hexadecimal[byte >> 4])
            put_byte(out, hexadecimal[byte & 15])


def put_html(out, value):
    at: uint32_t
    byte: uint8_t
    for at in range(value.size):
        byte = value.at[at]
        if byte == 38:
            put_text(out, b"&amp;")
        elif byte == 60:
            put_text(out, b"&lt;")
        elif byte == 62:
            put_text(out, b"&gt;")
        elif byte == 34:
            put_text(out, b"&quot;")
        elif byte == 39:
            put_text(out, b"&#39;")
        else:
            put_byte(out, byte)


def put_json(out, value):
    hexadecimal: cython.p_const_char = b"0123456789abcdef"
    at: uint32_t
    byte: uint8_t
    for at in range(value.size):
        byte = value.at[at]
        if byte == 34 or byte == 92:
            put_byte(out, 92)
            put_byte(out, byte)
        elif (
            byte < 32 or byte >= 127
        ):  # bytes that are not text read as Latin-1, and stay valid JSON
            put_text(out, b"\\u00")
            put_byte(out, hexadecimal[byte >> 4])
            put_byte(out, hexadecimal[byte & 15])
        else:
            put_byte(out, byte)


def stands_in_url(byte, place):
    """In a path what is plain in its canonical form, and '%'; in a URL also '?', '[', ']'."""
    if byte == b"?" or byte == b"[" or byte == b"]":
        return place != PLACE_PATH
    return byte == b"%" or class_of(byte) & PLAIN != 0
