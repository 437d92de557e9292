"""The window through which tests look at a routing table.

A Probe packs routes into an arena of its own and fills a request from Python values, so that
matching can be tried without a reader, a socket or a worker.

Laws: it asks exactly the functions that a worker asks. What it does not check are the values:
a caller gives hosts and paths in the canonical form that the reader makes.
"""

import ipaddress
import itertools

import cython
from cython.cimports.fourseven.matching.program import field_read, row_holds
from cython.cimports.fourseven.matching.records import ROW_MISS, MatchCursor, MatchRow, MatchTable
from cython.cimports.fourseven.matching.table import (
    match_scratch_drop,
    match_scratch_new,
    route_find,
    route_scan,
    table_build,
)
from cython.cimports.fourseven.native.arena import arena_drop, arena_new
from cython.cimports.fourseven.protocols.message import HEADERS_CAPACITY, Request, Span
from cython.cimports.fourseven.tls.shown import Shown
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.libc.string import memcpy

from fourseven.matching.rows import lower_rows


def packed_address(address: str) -> bytes:
    """The 16 bytes of an address; IPv4 in its mapped form."""
    parsed = ipaddress.ip_address(address)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


@cython.cclass
class Probe:
    def __cinit__(self, routes):
        self.kept = []
        self.routes = list(routes)
        self.firsts = []
        self.arena = arena_new()
        self.scratch = match_scratch_new()
        self.message = cython.cast(cython.pointer[Request], calloc(1, cython.sizeof(Request)))
        if self.message is cython.NULL:
            raise MemoryError
        self.listener.table = table_build(self.arena, routes)

    def __dealloc__(self):
        self.forget()
        if self.arena is not cython.NULL:
            arena_drop(self.arena)
        match_scratch_drop(self.scratch)
        free(self.message)

    def keep(self, value):
        """An exact copy, so that an address sanitizer sees a read of one byte too far."""
        if value is None:
            return Span(at=cython.NULL, size=0)
        text: bytes = value
        size: cython.size_t = len(text)
        copy: cython.p_char = cython.cast(cython.p_char, malloc(size or 1))
        if copy is cython.NULL:
            raise MemoryError
        memcpy(copy, cython.cast(cython.p_const_char, text), size)
        self.kept.append(cython.cast(cython.size_t, copy))
        return Span(at=copy, size=size)

    def forget(self):
        for copy in self.kept:
            free(cython.cast(cython.p_void, cython.cast(cython.size_t, copy)))
        self.kept = []

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
        sni=None,
        alpn=None,
        certificate: Shown = None,
    ):
        """Fills the request that the next questions are about."""
        at: uint32_t
        packed: bytes = packed_address(client)
        if len(headers) > HEADERS_CAPACITY:
            raise ValueError(f"a request has at most {HEADERS_CAPACITY} header lines")
        self.forget()
        self.message.method = self.keep(method)
        self.message.host = self.keep(host)
        self.message.path = self.keep(path)
        self.message.query = self.keep(query)
        self.message.body = self.keep(body)
        self.message.sni = self.keep(sni)
        self.message.alpn = self.keep(alpn)
        self.shown = certificate
        self.message.certificate = cython.NULL if certificate is None else certificate.facts
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

    def value(self, field: int, name: bytes = b"", number: int = 0):
        """A field's first value as bytes, or None; `number` says which fact of a certificate."""
        asked: Span = Span(at=name, size=len(name))
        cursor = MatchCursor(line=0, at=0)
        found: Span = field_read(
            field,
            self.message,
            cython.address(asked),
            number,
            self.scratch,
            cython.address(cursor),
        )
        return None if found.at is cython.NULL else found.at[: found.size]

    def steps(self, route: int) -> list:
        """(condition, held, value) of each condition of a route that was looked at, in order.

        Conditions count from 0 in the order of the file. The value is the first one of the field,
        or None; held is None where the body would have to be there first.
        """
        table: cython.pointer[cython.const[MatchTable]] = cython.cast(
            cython.pointer[cython.const[MatchTable]], self.listener.table
        )
        if not 0 <= route < table.route_count:
            raise IndexError(f"there is no route {route}")
        if len(self.firsts) == 0:
            counts = [len(lower_rows(one.match)[1]) for one in self.routes]
            self.firsts = [0, *itertools.accumulate(counts)]
        found: list = []
        row: cython.pointer[cython.const[MatchRow]]
        first: uint32_t = self.firsts[route]
        at: uint32_t = table.starts[route]
        while at < ROW_MISS:
            row = cython.address(table.rows[at])
            held: int32_t = row_holds(row, self.message, self.scratch)
            cursor = MatchCursor(line=0, at=0)
            value: Span = field_read(
                row.field,
                self.message,
                cython.address(row.name),
                row.number,
                self.scratch,
                cython.address(cursor),
            )
            seen = None if value.at is cython.NULL else value.at[: value.size]
            found.append((at - first, None if held < 0 else held == 1, seen))
            if held < 0:
                break
            at = row.on_true if held else row.on_false
        return found

    def limited(self) -> int:
        """Regular expressions that ran into a limit so far."""
        return self.scratch.regex_limited
