"""A load report as gRPC sends it: protobuf in Base64.

    endpoint-load-metrics-bin: SQAAAAAAAOA/               in trailers, or in a head
    endpoint-load-metrics: BIN SQAAAAAAAOA/

Of xds.data.orca.v3.OrcaLoadReport two fields count, `application_utilization` (9) and
`cpu_utilization` (1), both doubles; all others are stepped over by their wire type, so that what is
added to the message later does no harm. A field that stands twice counts as it stands last, as
protobuf has it; so does of several reports in one line, which gRPC joins by commas.

Laws: every step is checked against the end; groups, which protobuf has given up, are refused. A
load is a number that is not negative, and no more than LOAD_MAX. Padding may be left out, as gRPC
does (doc/PROTOCOL-HTTP2.md).
"""

import cython
from cython.cimports.fourseven.l7.load import LOAD_BAD, LOAD_MAX, LOAD_WHOLE
from cython.cimports.fourseven.l7.load_binary import (
    BINARY_MAX,
    BINARY_TEXT_MAX,
    ORCA_APPLICATION,
    ORCA_CPU,
    WIRE_BYTES,
    WIRE_FIXED32,
    WIRE_FIXED64,
    WIRE_VARINT,
)
from cython.cimports.fourseven.protocols.base64 import base64_read
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy


def load_binary(text):
    raw = cython.declare(cython.char[3072])  # BINARY_MAX
    size: int32_t
    start: uint32_t = text.size
    last = cython.declare(Span)
    while start and text.at[start - 1] != b",":
        start -= 1
    while start < text.size and text.at[start] == b" ":
        start += 1
    last = Span(at=text.at + start, size=text.size - start)
    size = unpacked(cython.address(last), cython.address(raw[0]))
    return read_message(cython.address(raw[0]), size) if size >= 0 else LOAD_BAD


def unpacked(text, to):
    """The bytes in to[:BINARY_MAX]; padding is put where it was left out."""
    padded = cython.declare(cython.char[4100])  # BINARY_TEXT_MAX, and padding
    whole: Span = Span(at=cython.address(padded[0]), size=text.size)
    if text.size > BINARY_TEXT_MAX:
        return LOAD_BAD
    memcpy(cython.address(padded[0]), text.at, text.size)
    while whole.size % 4 and whole.size % 4 != 1:
        padded[whole.size] = b"="
        whole.size += 1
    return base64_read(cython.address(whole), False, to, BINARY_MAX)


def read_message(at, size):
    position: uint32_t = 0
    tag: uint64_t = 0
    skip: uint64_t = 0
    took: int32_t
    cpu: int32_t = LOAD_BAD
    application: int32_t = LOAD_BAD
    while position < size:
        took = read_varint(at + position, size - position, cython.address(tag))
        if took < 0 or tag >> 3 == 0:
            return LOAD_BAD
        position += cython.cast(uint32_t, took)
        if tag & 7 == WIRE_VARINT or tag & 7 == WIRE_BYTES:
            took = read_varint(at + position, size - position, cython.address(skip))
            if took < 0:
                return LOAD_BAD
            position += cython.cast(uint32_t, took)
            if tag & 7 == WIRE_VARINT:
                skip = 0
        elif tag & 7 == WIRE_FIXED64:
            skip = 8
        elif tag & 7 == WIRE_FIXED32:
            skip = 4
        else:
            return LOAD_BAD
        if skip > size - position:
            return LOAD_BAD
        if tag == ORCA_CPU << 3 | WIRE_FIXED64:
            cpu = read_double(at + position)
        elif tag == ORCA_APPLICATION << 3 | WIRE_FIXED64:
            application = read_double(at + position)
        position += cython.cast(uint32_t, skip)
    return application if application > 0 else max(application, cpu)


def read_varint(at, size, value):
    """How many bytes it has; -1 where it does not end in time."""
    i: uint32_t
    byte: uint64_t
    value[0] = 0
    for i in range(min(size, cython.cast(uint32_t, 10))):
        byte = cython.cast(cython.uchar, at[i])
        value[0] |= (byte & 127) << (7 * i)
        if byte < 128:
            return cython.cast(int32_t, i) + 1
    return -1


def read_double(at):
    """A load in 1/1024; LOAD_BAD for what is negative or no number."""
    number: cython.double = 0
    memcpy(cython.address(number), at, 8)  # little endian, as every host that we are built for
    if not number >= 0:
        return LOAD_BAD
    if number >= LOAD_MAX // LOAD_WHOLE:
        return LOAD_MAX
    return cython.cast(int32_t, number * LOAD_WHOLE)
