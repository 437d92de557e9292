"""The window through which tests and measurements look at a routing table.

A Probe packs routes into an arena of its own and fills a request from Python values, so that
matching can be tried without a reader, a socket or a worker.

Laws: it asks exactly the functions that a worker asks. What it does not check are the values:
a caller gives hosts and paths in the canonical form that the reader makes.
"""

import ipaddress

import cython
from cython.cimports.fourseven.matching.table import (
    field_value,
    match_scratch_drop,
    match_scratch_new,
    route_find,
    route_scan,
    table_build,
)
from cython.cimports.fourseven.native.arena import arena_drop, arena_new
from cython.cimports.fourseven.native.linux import CLOCK_MONOTONIC, clock_gettime, timespec
from cython.cimports.fourseven.protocols.message import HEADERS_CAPACITY, Request, Span
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy


def packed_address(address: str) -> bytes:
    """The 16 bytes of an address; IPv4 in its mapped form."""
    parsed = ipaddress.ip_address(address)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


@cython.cclass
class Probe:
    def __cinit__(self, routes):
        self.kept = []
        self.arena = arena_new()
        self.scratch = match_scratch_new()
        self.message = cython.cast(cython.pointer[Request], calloc(1, cython.sizeof(Request)))
        if self.message is cython.NULL:
            raise MemoryError
        self.listener.table = table_build(self.arena, routes)

    def __dealloc__(self):
        if self.arena is not cython.NULL:
            arena_drop(self.arena)
        match_scratch_drop(self.scratch)
        free(self.message)

    def keep(self, value):
        if value is None:
            return Span(at=cython.NULL, size=0)
        text: bytes = value
        self.kept.append(text)
        return Span(at=text, size=len(text))

    def request(
        self,
        method=b"GET",
        host=None,
        path=b"/",
        query=None,
        headers=(),
        client="192.0.2.1",
        body=None,
        complete=True,
        framing=0,
        content_length=0,
    ):
        """Fills the request that the next questions are about."""
        at: uint32_t
        packed: bytes = packed_address(client)
        if len(headers) > HEADERS_CAPACITY:
            raise ValueError(f"a request has at most {HEADERS_CAPACITY} header lines")
        self.kept = []
        self.message.method = self.keep(method)
        self.message.host = self.keep(host)
        self.message.path = self.keep(path)
        self.message.query = self.keep(query)
        self.message.body = self.keep(body)
        self.message.body_complete = complete
        self.message.framing = framing
        self.message.content_length = content_length
        self.message.header_count = len(headers)
        for at, (name, value) in enumerate(headers):
            self.message.headers[at].name = self.keep(name)
            self.message.headers[at].value = self.keep(value)
        memcpy(self.message.client.bytes, cython.cast(cython.p_const_char, packed), 16)
        return self

    def find(self) -> int:
        """The route that the index finds; ROUTE_NONE or ROUTE_NEEDS_BODY."""
        return route_find(cython.address(self.listener), self.message, self.scratch)

    def scan(self) -> int:
        """The route that reading all of them in order finds."""
        return route_scan(self.listener.table, self.message, self.scratch)

    def value(self, field: int, name: bytes = b""):
        """A field's first value as bytes, or None."""
        asked: Span = Span(at=name, size=len(name))
        found: Span = field_value(field, self.message, cython.address(asked), self.scratch)
        return None if found.at is cython.NULL else found.at[: found.size]

    def limited(self) -> int:
        """Regular expressions that ran into a limit so far."""
        return self.scratch.regex_limited

    def lookup_ns(self, targets, times: int) -> float:
        """Nanoseconds a lookup, over (host, path) pairs in turn."""
        n: uint32_t
        count: uint32_t = len(targets)
        rounds: uint32_t = times
        found: int32_t = 0
        start: timespec
        end: timespec
        spans: cython.pointer[Span] = cython.cast(
            cython.pointer[Span], calloc(2 * count, cython.sizeof(Span))
        )
        if spans is cython.NULL:
            raise MemoryError
        for n, (host, path) in enumerate(targets):
            spans[2 * n] = self.keep(host)
            spans[2 * n + 1] = self.keep(path)
        with cython.nogil:
            clock_gettime(CLOCK_MONOTONIC, cython.address(start))
            for n in range(rounds):
                self.message.host = spans[2 * (n % count)]
                self.message.path = spans[2 * (n % count) + 1]
                found += route_find(cython.address(self.listener), self.message, self.scratch)
            clock_gettime(CLOCK_MONOTONIC, cython.address(end))
        free(spans)
        return ((end.tv_sec - start.tv_sec) * 1e9 + end.tv_nsec - start.tv_nsec) / rounds
