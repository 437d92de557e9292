"""Distributed tracing: the request carries its trace on, and we are a span in it.

A `traceparent` that is well-formed is continued: same trace, our own span as the server's parent.
Otherwise a trace begins here, and a `tracestate` without its parent is dropped. Whether the trace
is recorded is decided where it begins; a proxy that we trust has decided for us, a stranger has
not: else anybody could fill the collector.

Source: W3C Trace Context (Recommendation 2021), version 00; later versions are read as 00, as 3.2.4
says.
"""

import cython
from cython.cimports.fourseven.l7.forwarded import is_trusted
from cython.cimports.fourseven.l7.output import put_byte, put_text
from cython.cimports.fourseven.l7.records import Stream
from cython.cimports.fourseven.l7.trace import Output, Span
from cython.cimports.fourseven.protocols.message import HEADER_TRACEPARENT
from cython.cimports.fourseven.worker.tools import random_next
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy

PARENT_SIZE = cython.declare(cython.int, 55)  # 00-<32>-<16>-<2>


def trace_begin(worker, session, request):
    stream: cython.pointer[Stream] = session.stream
    listener = session.listener.plan
    random: uint64_t = random_next(worker)
    flags: int32_t = -1
    at: uint32_t
    given: cython.int = 0
    memcpy(cython.address(stream.span[0]), cython.address(random), 8)
    stream.span[0] |= 1  # never all zeros
    for at in range(request.header_count):
        if request.headers[at].known == HEADER_TRACEPARENT and not request.headers[at].drop:
            given += 1
            flags = read_parent(stream, cython.address(request.headers[at].value))
    stream.traced = listener.traced
    if given != 1 or flags < 0:
        for at in range(2):
            random = random_next(worker)
            memcpy(cython.address(stream.trace[8 * at]), cython.address(random), 8)
        stream.trace[0] |= 1
        for at in range(8):
            stream.parent[at] = 0
        flags = -1
    if flags >= 0 and is_trusted(listener, cython.address(request.peer)):
        stream.sampled = flags & 1
    else:
        stream.sampled = cython.cast(uint32_t, random_next(worker) >> 32) < listener.trace_sample


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_parent(
    stream: cython.pointer[Stream], value: cython.pointer[cython.const[Span]]
) -> int32_t:
    """Fills trace and parent; the flags, or -1 where it is malformed."""
    version = cython.declare(uint8_t[1])
    flags = cython.declare(uint8_t[1])
    if value.size < PARENT_SIZE or (value.size > PARENT_SIZE and value.at[55] != b"-"):
        return -1
    if value.at[2] != b"-" or value.at[35] != b"-" or value.at[52] != b"-":
        return -1
    if not read_hex(value.at, 1, version) or version[0] == 255:
        return -1
    if version[0] == 0 and value.size != PARENT_SIZE:
        return -1
    if not read_hex(value.at + 3, 16, cython.address(stream.trace[0])):
        return -1
    if not read_hex(value.at + 36, 8, cython.address(stream.parent[0])):
        return -1
    if not read_hex(value.at + 53, 1, flags):
        return -1
    if is_zero(cython.address(stream.trace[0]), 16) or is_zero(cython.address(stream.parent[0]), 8):
        return -1
    return flags[0]


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def read_hex(at: cython.p_const_char, count: uint32_t, to: cython.pointer[uint8_t]) -> cython.bint:
    """Lower-case digits only, as the recommendation wants."""
    i: uint32_t
    digit: uint32_t
    for i in range(2 * count):
        if at[i] >= 48 and at[i] <= 57:
            digit = at[i] - 48
        elif at[i] >= 97 and at[i] <= 102:
            digit = at[i] - 87
        else:
            return False
        to[i // 2] = cython.cast(uint8_t, digit << 4 if i % 2 == 0 else to[i // 2] | digit)
    return True


def is_zero(at, count):
    i: uint32_t
    for i in range(count):
        if at[i]:
            return False
    return True


def put_traceparent(to, context):
    put_text(to, b"traceparent: 00-")
    put_hex(to, context.trace, 16)
    put_byte(to, 45)
    put_hex(to, context.span, 8)
    put_text(to, b"-01\r\n" if context.sampled else b"-00\r\n")


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_hex(
    to: cython.pointer[Output], at: cython.pointer[cython.const[uint8_t]], count: uint32_t
) -> cython.void:
    digits: cython.p_const_char = b"0123456789abcdef"
    i: uint32_t
    for i in range(count):
        put_byte(to, digits[at[i] >> 4])
        put_byte(to, digits[at[i] & 15])
