"""The field lines of an HTTP/1 head, and what they say about the message and the connection.

One pass, left to right: a line is read, its name looked up, and the few fields that decide framing
or the connection are understood at once; the others are only recorded. So the first mistake in the
bytes is the one that is reported, however the bytes were cut on their way.

Laws: a line ends in CRLF, and nothing else ends one. What two servers could understand differently
is refused, never repaired. A field of this connection alone gets `drop`: the writer makes its own
or none.

Connection may name further fields to drop, and that is a weapon too: naming X-Forwarded-For or
Cookie would strip them for the server only. RFC 9110 7.6.1 forbids to name an end-to-end field, so
a name that we know as one is ignored; an unknown one is dropped as asked.

Sources: RFC 9112 5, 6, 7; RFC 9110 5.6, 7.6, 7.8, 8.6, 10.1.1.
"""

import cython
from cython.cimports.fourseven.protocols.fields import (
    CONNECTION_MAX,
    LENGTH_DIGITS_MAX,
    SAID_CLOSE,
    SAID_KEEP_ALIVE,
    SAID_NAMES,
    SAID_UPGRADE,
    SEEN_CODING,
    SEEN_EXPECT,
    SEEN_HOST,
    SEEN_LENGTH,
    SEEN_UPGRADE,
    SEEN_UPGRADE_REFUSED,
    refuse,
)
from cython.cimports.fourseven.protocols.grammar import (
    TOKEN,
    UNDERSCORE,
    Name,
    class_of,
    known_name,
    same_name,
    same_token,
    skip_field,
    twin_name,
)
from cython.cimports.fourseven.protocols.http1 import (
    FAULT_BARE_CR,
    FAULT_BARE_LF,
    FAULT_CODING,
    FAULT_CODING_TWICE,
    FAULT_CODING_UNKNOWN,
    FAULT_CONNECTION,
    FAULT_CONTROL,
    FAULT_EXPECT,
    FAULT_FOLD,
    FAULT_HEADERS_MANY,
    FAULT_HOST_TWICE,
    FAULT_LENGTH,
    FAULT_LENGTH_TWICE,
    FAULT_NAME_CHARACTER,
    FAULT_NAME_EMPTY,
    FAULT_NAME_SPACE,
    FAULT_NO_COLON,
    FAULT_NUL,
)
from cython.cimports.fourseven.protocols.message import (
    HEADER_CONNECTION,
    HEADER_CONTENT_LENGTH,
    HEADER_EXPECT,
    HEADER_HOST,
    HEADER_TRANSFER_ENCODING,
    HEADER_UPGRADE,
    Header,
    Span,
)
from cython.cimports.fourseven.snapshot.layout import RELAX_UNDERSCORES
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t


def read_fields(at, start, size, fields):
    kinds: uint32_t
    kind: uint32_t
    end: uint32_t
    value: uint32_t
    line: int32_t
    header: cython.pointer[Header]
    position: uint32_t = start
    while position < size:
        start = position
        kinds = 0
        while position < size:
            kind = class_of(at[position])
            if not kind & TOKEN:
                break
            kinds |= kind
            position += 1
        if position == size:
            return 0
        if position == start and at[position] == b"\r":
            return end_line(at, position, size, cython.address(fields.fault))
        if position == start or at[position] != b":":
            return refuse_name(at, start, position, fields)
        end = position
        position += 1
        while position < size and (at[position] == b" " or at[position] == b"\t"):
            position += 1
        value = position
        position = skip_field(at, position, size)
        if position == size:
            return 0
        line = end_line(at, position, size, cython.address(fields.fault))
        if line <= 0:
            return line
        while position > value and (at[position - 1] == b" " or at[position - 1] == b"\t"):
            position -= 1
        if fields.count >= fields.count_max:
            return refuse(cython.address(fields.fault), FAULT_HEADERS_MANY, 431)
        header = cython.address(fields.headers[fields.count])
        fields.count += 1
        header.name = Span(at=at + start, size=end - start)
        header.value = Span(at=at + value, size=position - value)
        header.known = 0
        header.drop = 0
        position = line
        line = place_field(fields, header, kinds)
        if line < 0:
            return line
    return 0


def place_field(fields, header, kinds):
    """Looks its name up, and understands it where it decides something; 0 or -STATUS."""
    name: cython.pointer[cython.const[Name]] = known_name(header.name.at, header.name.size)
    if name is cython.NULL:
        # CGI makes X_Forwarded_For the same variable as X-Forwarded-For.
        if kinds & UNDERSCORE and not fields.relax & RELAX_UNDERSCORES:
            header.drop = twin_name(header.name.at, header.name.size) is not cython.NULL
        return 0
    header.known = name.known
    header.drop = name.hop & 1
    if header.drop or name.known == HEADER_HOST or name.known == HEADER_EXPECT:
        return take_field(fields, header)
    return 0


def end_line(at, start, size, fault):
    if start == size:
        return 0
    if at[start] == b"\r":
        if start + 1 == size:
            return 0
        return start + 2 if at[start + 1] == b"\n" else refuse(fault, FAULT_BARE_CR, 400)
    if at[start] == b"\n":
        return refuse(fault, FAULT_BARE_LF, 400)
    return refuse(fault, FAULT_NUL if at[start] == 0 else FAULT_CONTROL, 400)


def refuse_name(at, start, end, fields):
    """Says what is wrong with the name at[start:end], which no colon ends."""
    fault: cython.pointer[uint32_t] = cython.address(fields.fault)
    stop: cython.char = at[end]
    if stop == b":":
        return refuse(fault, FAULT_NAME_EMPTY, 400)
    if stop == b" " or stop == b"\t":
        return refuse(fault, FAULT_FOLD if start == end else FAULT_NAME_SPACE, 400)
    if stop == b"\n":
        return refuse(fault, FAULT_BARE_LF, 400)
    if stop == b"\r":
        return refuse(fault, FAULT_NO_COLON, 400)
    return refuse(fault, FAULT_NUL if stop == 0 else FAULT_NAME_CHARACTER, 400)


def take_field(fields, header):
    """Understands one field that decides about framing or the connection; 0 or -STATUS."""
    seen: uint32_t = fields.seen
    fault: cython.pointer[uint32_t] = cython.address(fields.fault)
    value: cython.pointer[Span] = cython.address(header.value)
    if header.known == HEADER_CONNECTION:
        return take_connection(fields, value)
    if header.known == HEADER_HOST:
        fields.seen |= SEEN_HOST
        fields.host = header.value
        return refuse(fault, FAULT_HOST_TWICE, 400) if seen & SEEN_HOST else 0
    if header.known == HEADER_CONTENT_LENGTH:
        fields.seen |= SEEN_LENGTH
        # RFC 9110 8.6 lets a recipient repair equal ones; two of them are an attack or a bug.
        if seen & SEEN_LENGTH:
            return refuse(fault, FAULT_LENGTH_TWICE, 400)
        return take_length(fields, value)
    if header.known == HEADER_TRANSFER_ENCODING:
        fields.seen |= SEEN_CODING
        if seen & SEEN_CODING:
            return refuse(fault, FAULT_CODING_TWICE, 400)
        return take_coding(fields, value)
    if header.known == HEADER_UPGRADE:
        fields.seen |= SEEN_UPGRADE
        take_upgrade(fields, value)
    elif header.known == HEADER_EXPECT and not fields.answer:
        return take_expect(fields, header)
    return 0


def take_length(fields, value):
    i: uint32_t
    number: uint64_t = 0
    digit: uint32_t
    fault: cython.pointer[uint32_t] = cython.address(fields.fault)
    if value.size == 0 or value.size > LENGTH_DIGITS_MAX:
        return refuse(fault, FAULT_LENGTH, 400)
    for i in range(value.size):
        digit = cython.cast(cython.uchar, value.at[i]) - 0x30
        if digit > 9:
            return refuse(fault, FAULT_LENGTH, 400)
        number = number * 10 + digit
    if number >> 63:
        return refuse(fault, FAULT_LENGTH, 400)
    fields.content_length = number
    return 0


def take_coding(fields, value):
    """Only `chunked` is understood, once and alone."""
    element: Span = Span(at=cython.NULL, size=0)
    at: uint32_t = 0
    chunked: uint32_t = 0
    fault: cython.pointer[uint32_t] = cython.address(fields.fault)
    while next_element(value, cython.address(at), cython.address(element)):
        if chunked:  # RFC 9112 6.1: it is the last one, and stands once
            return refuse(fault, FAULT_CODING, 400)
        if element.size == 0 or not is_token(cython.address(element)):
            return refuse(fault, FAULT_CODING, 400)
        if element.size != 7 or not same_name(element.at, b"chunked", 7):
            return refuse(fault, FAULT_CODING_UNKNOWN, 501)
        chunked += 1
    return 0 if chunked else refuse(fault, FAULT_CODING, 400)


def take_connection(fields, value):
    element: Span = Span(at=cython.NULL, size=0)
    at: uint32_t = 0
    fault: cython.pointer[uint32_t] = cython.address(fields.fault)
    while next_element(value, cython.address(at), cython.address(element)):
        fields.said += 1
        if fields.said > CONNECTION_MAX or not is_token(cython.address(element)):
            return refuse(fault, FAULT_CONNECTION, 400)
        if element.size == 5 and same_name(element.at, b"close", 5):
            fields.seen |= SAID_CLOSE
        elif element.size == 10 and same_name(element.at, b"keep-alive", 10):
            fields.seen |= SAID_KEEP_ALIVE
        elif element.size == 7 and same_name(element.at, b"upgrade", 7):
            fields.seen |= SAID_UPGRADE
        elif element.size:
            fields.seen |= SAID_NAMES
    return 0


def take_expect(fields, header):
    if fields.version == 10:  # RFC 9110 10.1.1: such a client does not know what it says
        header.drop = 1
        return 0
    if header.value.size != 12 or not same_name(header.value.at, b"100-continue", 12):
        return refuse(cython.address(fields.fault), FAULT_EXPECT, 417)
    fields.seen |= SEEN_EXPECT
    return 0


def take_upgrade(fields, value):
    """A second HTTP inside the tunnel would by-pass every rule, so h2c is not passed on."""
    i: uint32_t
    element: Span = Span(at=cython.NULL, size=0)
    at: uint32_t = 0
    fine: cython.bint = value.size > 0
    while next_element(value, cython.address(at), cython.address(element)):
        if element.size == 0:
            fine = False
        if element.size >= 2 and same_name(element.at, b"h2", 2):
            fine = False
        if element.size >= 4 and same_name(element.at, b"http", 4):
            fine = False
        for i in range(element.size):
            if not class_of(element.at[i]) & TOKEN and element.at[i] != b"/":
                fine = False
    if not fine:
        fields.seen |= SEEN_UPGRADE_REFUSED


def settle_hops(fields, upgrade):
    i: uint32_t
    at: uint32_t
    element: Span = Span(at=cython.NULL, size=0)
    header: cython.pointer[Header]
    value: cython.pointer[Span]
    if not upgrade and not fields.seen & SAID_NAMES:
        return
    for i in range(fields.count):
        header = cython.address(fields.headers[i])
        if upgrade and header.known == HEADER_UPGRADE:
            header.drop = 0
        if header.known != HEADER_CONNECTION:
            continue
        at = 0
        while next_element(
            cython.address(header.value), cython.address(at), cython.address(element)
        ):
            drop_named(fields, cython.address(element))


def drop_named(fields, token):
    i: uint32_t
    header: cython.pointer[Header]
    if token.size == 0 or known_name(token.at, token.size) is not cython.NULL:
        return
    for i in range(fields.count):
        header = cython.address(fields.headers[i])
        if header.known or header.name.size != token.size:
            continue
        if same_token(header.name.at, token.at, token.size):
            header.drop = 1


def next_element(value, at, element):
    """The next element of a comma-separated list, trimmed (it may be empty); false at the end.

    `at` starts at 0; an empty value has no element, `a,` has two.
    """
    start: uint32_t = at[0]
    end: uint32_t
    if start > value.size or value.size == 0:
        return False
    end = start
    while end < value.size and value.at[end] != b",":
        end += 1
    at[0] = end + 1
    while start < end and (value.at[start] == b" " or value.at[start] == b"\t"):
        start += 1
    while end > start and (value.at[end - 1] == b" " or value.at[end - 1] == b"\t"):
        end -= 1
    element.at = value.at + start
    element.size = end - start
    return True


def is_token(text):
    i: uint32_t
    for i in range(text.size):
        if not class_of(text.at[i]) & TOKEN:
            return False
    return True
