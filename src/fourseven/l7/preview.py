"""The window through which tests and `explain` look at heads: what would be sent, as bytes.

A Preview packs one listener with one route as a snapshot holds them, reads one request, and calls
the very functions that the engine calls. It is slow and allocates; it runs
in the control plane only.
"""

import ipaddress
from dataclasses import replace
from types import SimpleNamespace

import cython
from cython.cimports.fourseven.compiler.pack import pack_listener
from cython.cimports.fourseven.l7.forwarded import client_address, request_id
from cython.cimports.fourseven.l7.heads import (
    write_action_answer,
    write_answer,
    write_request_head,
    write_response_head,
)
from cython.cimports.fourseven.matching.table import match_scratch_drop, match_scratch_new
from cython.cimports.fourseven.native.arena import arena_drop, arena_new, arena_text
from cython.cimports.fourseven.protocols.http1 import HeadLimits, read_request
from cython.cimports.fourseven.protocols.message import (
    HEADERS_CAPACITY,
    METHOD_GET,
    Address,
    Request,
    Response,
    Span,
)
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy, memset

from fourseven.snapshot.states import States


class Refused(ValueError):
    """A writer's HeadResult: -1 it does not fit, -2 no terminal action, -3 refused."""


def address_of(text, port):
    found = cython.declare(Address)
    packed: bytes
    at = ipaddress.ip_address(text)
    packed = at.packed if at.version == 6 else bytes(10) + b"\xff\xff" + at.packed
    memcpy(found.bytes, cython.cast(cython.p_const_char, packed), 16)
    found.port = port
    return found


@cython.cclass
class Preview:
    def __cinit__(self):
        self.arena = arena_new()
        self.request = cython.cast(cython.pointer[Request], calloc(1, cython.sizeof(Request)))
        self.response = cython.cast(cython.pointer[Response], calloc(1, cython.sizeof(Response)))
        if self.request is cython.NULL or self.response is cython.NULL:
            raise MemoryError
        self.scratch = match_scratch_new()

    def __dealloc__(self):
        if self.arena is not cython.NULL:
            arena_drop(self.arena)
        if self.scratch is not cython.NULL:
            match_scratch_drop(self.scratch)
        free(self.request)
        free(self.response)

    def __init__(self, listener, route=None, backend: bytes = b""):
        """`listener` and `route` are plan.ListenerPlan and plan.RoutePlan."""
        memset(cython.address(self.context), 0, cython.sizeof(self.context))
        routes = () if route is None else (route,)
        names = {name: 0 for name, _ in (route.backends if routes else ())}
        names |= {gate.backend: 0 for gate in (route.gates if routes else ())}
        plan = replace(listener, routes=routes)
        numbers = SimpleNamespace(route=lambda *_: 0, kept=States())
        pack_listener(self.arena, cython.address(self.listener), plan, numbers, names)
        self.context.scratch = self.scratch
        self.context.listener = cython.address(self.listener)
        self.context.client_version = 11
        self.context.client_keep_alive = 1
        if backend:
            self.backend.name = self.text(backend)
            self.context.backend = cython.address(self.backend)
        if routes:
            self.context.route = cython.address(self.listener.routes[0])

    def text(self, text):
        return arena_text(self.arena, text)

    def read(self, head: bytes, **where) -> None:
        """Takes a request head as a client sends it; ValueError where it is refused."""
        text: Span = self.text(head)
        scanned: uint32_t = 0
        limits = HeadLimits(
            head_max=65536,
            headers_max=HEADERS_CAPACITY,
            target_max=65536,
            relax=self.listener.relax,
        )
        memset(self.request, 0, cython.sizeof(Request))
        size = read_request(
            text.at, text.size, cython.address(scanned), cython.address(limits), self.request
        )
        if size <= 0:
            raise ValueError(f"the reader says {size}")
        self.came(where)

    def ask(self, fields: dict, headers: list, **where) -> None:
        """Takes a request as a reader might leave it; headers as (name, value, known, drop)."""
        request: cython.pointer[Request] = self.request
        memset(request, 0, cython.sizeof(Request))
        request.method = self.text(fields.get("method", b"GET"))
        request.method_id = METHOD_GET
        request.path = self.text(fields.get("path", b"/"))
        request.authority = self.text(fields.get("authority", b"a"))
        request.host = request.authority
        request.header_count = len(headers)
        fill(self, request.headers, headers)
        self.came(where)

    def came(self, where):
        """Where the request came from and to; then what the engine does with that."""
        request: cython.pointer[Request] = self.request
        request.secure = where.get("secure", 0)
        request.peer = address_of(where.get("peer", "192.0.2.7"), where.get("peer_port", 40000))
        request.local = address_of(where.get("local", "192.0.2.1"), where.get("local_port", 80))
        client_address(cython.address(self.listener), request)
        self.context.request_id = request_id(
            cython.address(self.listener),
            request,
            self.room,
            0x0123456789ABCDEF,
            0xFEDCBA9876543210,
        )

    def client(self) -> tuple:
        """The client's address and port, as the walk found them."""
        packed = cython.cast(cython.p_char, self.request.client.bytes)[:16]
        address = ipaddress.IPv6Address(packed)
        return str(address.ipv4_mapped or address), self.request.client.port

    def frame(self, framing: int, size: int = 0) -> None:
        """The body that follows towards the other side."""
        self.context.body_framing = framing
        self.context.body_size = size

    def to_client(self, version: int, keep_alive: bool) -> None:
        self.context.client_version = version
        self.context.client_keep_alive = keep_alive

    def request_head(self, capacity: cython.uint = 65536) -> bytes:
        out: bytearray = bytearray(capacity + 1)
        return whole(
            out,
            write_request_head(out, capacity, self.request, cython.address(self.context)),
        )

    def response_head(
        self,
        status: int,
        reason: bytes,
        headers: list,
        upgrade: bool = False,
        capacity: cython.uint = 65536,
    ) -> bytes:
        out: bytearray = bytearray(capacity + 1)
        memset(self.response, 0, cython.sizeof(Response))
        self.response.status = status
        self.response.reason = self.text(reason)
        self.response.upgrade = upgrade
        self.response.header_count = len(headers)
        fill(self, self.response.headers, headers)
        return whole(
            out,
            write_response_head(
                out, capacity, self.response, self.request, cython.address(self.context)
            ),
        )

    def answer(self, status: int, method_id: int = 1, capacity: cython.uint = 65536) -> bytes:
        out: bytearray = bytearray(capacity + 1)
        return whole(
            out, write_answer(out, capacity, status, method_id, cython.address(self.context))
        )

    def action_answer(self, capacity: cython.uint = 65536) -> bytes:
        out: bytearray = bytearray(capacity + 1)
        return whole(
            out, write_action_answer(out, capacity, self.request, cython.address(self.context))
        )


def fill(preview, into, headers):
    at: uint32_t
    if len(headers) > HEADERS_CAPACITY:
        raise ValueError(f"{len(headers)} headers; at most {HEADERS_CAPACITY}")
    for at, (name, value, known, drop) in enumerate(headers):
        into[at].name = preview.text(name)
        into[at].value = preview.text(value)
        into[at].known = known
        into[at].drop = drop


def whole(out: bytearray, size: int) -> bytes:
    if out[len(out) - 1] != 0:  # the byte behind the capacity belongs to somebody else
        raise AssertionError("a writer wrote past its capacity")
    if size < 0:
        raise Refused(size)
    return bytes(out[:size])
