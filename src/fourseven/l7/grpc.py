"""Answers of our own to clients of gRPC: a status of gRPC, never a page of HTTP.

A client of gRPC that gets a page must guess what it means. So what would be an error page is an
answer without a body, HTTP status 200, whose one head says `grpc-status` and `grpc-message`: the
"Trailers-Only" of the protocol (grpc/grpc, doc/PROTOCOL-HTTP2.md).

Which status: gRPC's own table for clients that meet a page (doc/http-grpc-status-mapping.md) where
we know no more than it does. Where we do, the truer one: a time that ran out is DEADLINE_EXCEEDED,
too many bytes are RESOURCE_EXHAUSTED, no route is UNIMPLEMENTED as in that table.
"""

import cython
from cython.cimports.fourseven.l7.grpc import (
    GRPC_DEADLINE_EXCEEDED,
    GRPC_INTERNAL,
    GRPC_PERMISSION_DENIED,
    GRPC_RESOURCE_EXHAUSTED,
    GRPC_UNAUTHENTICATED,
    GRPC_UNAVAILABLE,
    GRPC_UNIMPLEMENTED,
    GRPC_UNKNOWN,
)
from cython.cimports.fourseven.l7.output import Output, put_number, put_span, put_text, written
from cython.cimports.fourseven.l7.statuses import STATUS_END, STATUSES
from cython.cimports.posix.strings import strncasecmp


def is_grpc(at, size):
    if size < 16 or strncasecmp(at, b"application/grpc", 16) != 0:
        return False
    return size == 16 or at[16] == 43 or at[16] == 59  # +proto, or ; and parameters


def grpc_status(status):
    if status == 401:
        return GRPC_UNAUTHENTICATED
    if status == 403:
        return GRPC_PERMISSION_DENIED
    if status in (404, 405, 501, 505):
        return GRPC_UNIMPLEMENTED
    if status in (408, 504):
        return GRPC_DEADLINE_EXCEEDED
    if status in (413, 414, 431):
        return GRPC_RESOURCE_EXHAUSTED
    if status in (421, 429, 502, 503):
        return GRPC_UNAVAILABLE
    return GRPC_INTERNAL if status in (400, 500) else GRPC_UNKNOWN


def write_grpc_answer(out, capacity, status, context):
    to: Output = Output(at=out, size=0, capacity=capacity, full=0)
    hint: cython.p_const_char = context.hint
    if hint is cython.NULL and status < STATUS_END:
        hint = STATUSES[status].hint
    put_text(cython.address(to), b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\n")
    put_text(cython.address(to), b"grpc-status: ")
    put_number(cython.address(to), grpc_status(status))
    if hint is not cython.NULL:
        put_text(cython.address(to), b"\r\ngrpc-message: ")
        put_text(cython.address(to), hint)
    put_text(cython.address(to), b"\r\nContent-Length: 0\r\n")
    put_span(cython.address(to), cython.address(context.said))
    put_text(cython.address(to), b"\r\n")
    return written(cython.address(to))
