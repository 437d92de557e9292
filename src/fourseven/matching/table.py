"""The routing table of a listener: packed once, then asked for every request.

The first route that matches wins, in the order of the file. The table holds each route's rows
(rows.py makes them, program.py runs them) and the index (keys.py, index.py), which leaves of
thousands of routes the few that a request can reach. Those are visited in ascending number, by
taking the least of the heads of the stretches found; so the index changes the cost, never the
answer. `route_scan` reads all routes in order and is what the index is tested against.

Laws: a table is immutable and lives in its snapshot's arena. Building may raise (ValueError
says which route); asking cannot.
"""

import cython
from cython.cimports.fourseven.matching.index import index_build, index_collect
from cython.cimports.fourseven.matching.prepare import kept_operand, kept_text
from cython.cimports.fourseven.matching.program import field_read, route_holds
from cython.cimports.fourseven.matching.records import (
    FIELD_ALPN,
    FIELD_BODY,
    FIELD_BODY_JSON,
    FIELD_BODY_SIZE,
    FIELD_CERTIFICATE,
    FIELD_COOKIE,
    FIELD_HEADER,
    FIELD_QUERY,
    PAYLOAD_BYTES,
    PAYLOAD_NONE,
    PAYLOAD_SIZE,
    ROUTE_NONE,
    ROUTES_MAX,
    ROW_MISS,
    MatchCursor,
    MatchRow,
    MatchScratch,
    MatchTable,
)
from cython.cimports.fourseven.matching.regex import scratch_free, scratch_prepare
from cython.cimports.fourseven.native.arena import arena_take
from cython.cimports.fourseven.snapshot.layout import RouteTable
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.stdlib import calloc, free

from fourseven.matching.keys import keys_of
from fourseven.matching.records import (  # noqa: F401 - Python finds them here too
    Field,
    Test,
)
from fourseven.matching.rows import lower_rows


def match_scratch_new():
    scratch: cython.pointer[MatchScratch] = cython.cast(
        cython.pointer[MatchScratch], calloc(1, cython.sizeof(MatchScratch))
    )
    if scratch is cython.NULL or scratch_prepare(scratch) != 0:
        match_scratch_drop(scratch)
        raise MemoryError
    return scratch


def match_scratch_drop(scratch):
    if scratch is not cython.NULL:
        scratch_free(scratch)
    free(scratch)


def route_find(listener, request, scratch):
    table: cython.pointer[cython.const[MatchTable]] = cython.cast(
        cython.pointer[cython.const[MatchTable]], listener.table
    )
    runs: int32_t = index_collect(table, request, scratch)
    n: int32_t
    route: uint32_t
    outcome: int32_t
    if runs < 0:
        return route_scan(listener.table, request, scratch)
    while True:
        route = ROUTES_MAX
        for n in range(runs):
            if scratch.runs[n].at != scratch.runs[n].end and scratch.runs[n].at[0] < route:
                route = scratch.runs[n].at[0]
        if route == ROUTES_MAX:
            return ROUTE_NONE
        outcome = route_holds(table, route, request, scratch)
        if outcome != 0:
            return outcome if outcome < 0 else cython.cast(int32_t, route)
        for n in range(runs):
            if scratch.runs[n].at != scratch.runs[n].end and scratch.runs[n].at[0] == route:
                scratch.runs[n].at += 1


def route_scan(table, request, scratch):
    packed: cython.pointer[cython.const[MatchTable]] = cython.cast(
        cython.pointer[cython.const[MatchTable]], table
    )
    route: uint32_t
    outcome: int32_t
    for route in range(packed.route_count):
        outcome = route_holds(packed, route, request, scratch)
        if outcome != 0:
            return outcome if outcome < 0 else cython.cast(int32_t, route)
    return ROUTE_NONE


def field_value(field, request, name, scratch):
    cursor: MatchCursor = MatchCursor(line=0, at=0)
    return field_read(field, request, name, 0, scratch, cython.address(cursor))


def table_build(arena, routes):
    table: cython.pointer[MatchTable] = cython.cast(
        cython.pointer[MatchTable], arena_take(arena, cython.sizeof(MatchTable))
    )
    if len(routes) >= ROUTES_MAX:
        raise ValueError(
            f"a listener has more than {ROUTES_MAX - 1} routes; group them by patterns"
        )
    keys: list = []
    programs: list = []
    kept: dict = {}
    total: cython.size_t = 0
    for route in routes:
        try:
            start, rows = lower_rows(route.match)
            keys.append(keys_of(route.match))
        except ValueError as error:
            raise ValueError(f"{route.name}: {error}") from error
        programs.append((start, rows))
        total += len(rows)
    table.route_count = len(programs)
    table.row_count = total
    table.starts = cython.cast(
        cython.pointer[uint32_t], arena_take(arena, (len(programs) or 1) * cython.sizeof(uint32_t))
    )
    table.rows = cython.cast(
        cython.pointer[MatchRow], arena_take(arena, (total or 1) * cython.sizeof(MatchRow))
    )
    at: uint32_t = 0
    number: uint32_t
    for number, (start, rows) in enumerate(programs):
        table.starts[number] = start if start >= ROW_MISS else at + start
        first: uint32_t = at
        for row in rows:
            try:
                pack_row(arena, cython.address(table.rows[at]), row, kept)
            except ValueError as error:
                raise ValueError(f"{routes[number].name}: {error}") from error
            table.rows[at].on_true = row.on_true if row.on_true >= ROW_MISS else first + row.on_true
            table.rows[at].on_false = (
                row.on_false if row.on_false >= ROW_MISS else first + row.on_false
            )
            at += 1
    index_build(arena, table, keys, kept)
    return cython.cast(cython.pointer[RouteTable], table)


MANY = (FIELD_HEADER, FIELD_COOKIE, FIELD_QUERY, FIELD_ALPN, FIELD_CERTIFICATE)


def pack_row(arena, row, source, kept):
    condition = source.condition
    row.field = condition.field
    row.test = condition.test
    row.number = condition.number
    row.many = condition.field in MANY
    row.payload = PAYLOAD_NONE
    if condition.field in (FIELD_BODY, FIELD_BODY_JSON):
        row.payload = PAYLOAD_BYTES
    if condition.field == FIELD_BODY_SIZE:
        row.payload = PAYLOAD_SIZE
    row.name = kept_text(arena, kept, condition.name)
    row.operand = kept_text(arena, kept, condition.operand)
    row.compiled = kept_operand(arena, kept, condition.test, condition.operand)
    return 0
