"""Runs the rows of one route over one request.

A row reads a field, tests its value and goes to one of its two exits. Of a field that can have
several values (header lines, cookies, query parameters of one name) any one may hold; a field
without a value holds against nothing, so `not` is the way to ask for absence.

Laws: exits lead forward only, so a run ends within its rows. The body is asked for only when a
row that looks at it is reached: what another row has refused before costs no buffering. An
absent value never reaches a test.
"""

import cython
from cython.cimports.fourseven.matching.bodies import (
    field_body,
    field_body_json,
    field_body_size,
    field_body_type,
)
from cython.cimports.fourseven.matching.cookies import field_cookie
from cython.cimports.fourseven.matching.fields import (
    field_alpn,
    field_certificate,
    field_client,
    field_header,
    field_host,
    field_method,
    field_path,
    field_sni,
)
from cython.cimports.fourseven.matching.glob import test_glob
from cython.cimports.fourseven.matching.program import FIELDS, TESTS
from cython.cimports.fourseven.matching.queries import field_query
from cython.cimports.fourseven.matching.records import (
    FIELDS_USED,
    PAYLOAD_BYTES,
    PAYLOAD_NONE,
    ROUTE_NEEDS_BODY,
    ROUTE_UNDECIDED,
    ROW_MATCH,
    ROW_MISS,
    MatchCursor,
    MatchRow,
)
from cython.cimports.fourseven.matching.regex import test_regex
from cython.cimports.fourseven.matching.tests import (
    test_above,
    test_any_of,
    test_below,
    test_contains,
    test_equal,
    test_exact,
    test_prefix,
    test_present,
    test_ranges,
    test_segments,
    test_suffix,
    test_wildcard,
)
from cython.cimports.fourseven.matching.useragent import field_device
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_LENGTH,
    FRAMING_NONE,
    Span,
)
from cython.cimports.libc.stdint import int32_t, uint32_t

# In the order of records.Field.
FIELDS[:] = [
    field_client,
    field_host,
    field_path,
    field_method,
    field_header,
    field_cookie,
    field_query,
    field_device,
    field_body,
    field_body_json,
    field_body_size,
    field_body_type,
    field_sni,
    field_alpn,
    field_certificate,
]

# In the order of records.Test.
TESTS[:] = [
    test_present,
    test_exact,
    test_prefix,
    test_suffix,
    test_contains,
    test_any_of,
    test_regex,
    test_glob,
    test_segments,
    test_wildcard,
    test_ranges,
    test_above,
    test_below,
    test_equal,
]


def route_holds(table, route, request, scratch):
    at: uint32_t = table.starts[route]
    outcome: int32_t
    row: cython.pointer[cython.const[MatchRow]]
    limited: uint64_t = scratch.regex_limited
    while at < ROW_MISS:
        row = cython.address(table.rows[at])
        outcome = row_holds(row, request, scratch)
        if outcome < 0:
            return outcome
        if scratch.regex_limited != limited:
            return ROUTE_UNDECIDED
        at = row.on_true if outcome else row.on_false
    return at == ROW_MATCH


def row_holds(row, request, scratch):
    cursor: MatchCursor = MatchCursor(line=0, at=0)
    value: Span
    if row.payload != PAYLOAD_NONE and needs_body(row.payload, request):
        return ROUTE_NEEDS_BODY
    value = FIELDS[row.field](
        request, cython.address(row.name), row.number, scratch, cython.address(cursor)
    )
    while value.at is not cython.NULL:
        if TESTS[row.test](cython.address(value), row, scratch):
            return 1
        if not row.many:
            return 0
        value = FIELDS[row.field](
            request, cython.address(row.name), row.number, scratch, cython.address(cursor)
        )
    return 0


def needs_body(payload, request):
    if request.body.at is not cython.NULL or request.framing == FRAMING_NONE:
        return False
    if request.framing == FRAMING_LENGTH and request.content_length == 0:
        return False
    return payload == PAYLOAD_BYTES or request.framing == FRAMING_CHUNKED


def field_read(field, request, name, number, scratch, cursor):
    if field >= FIELDS_USED:
        return Span(at=cython.NULL, size=0)
    return FIELDS[field](request, name, number, scratch, cursor)
