"""HTTP/1 heads: bytes in, a Request or a Response out. Strict, and without a socket.

A balancer stands where two parsers disagree, so it must not guess: what could mean one thing to us
and another to a server is refused, with its own reason, and what is passed on is canonical. The
refusals are the rows of the table in SECURITY; `limits.relax` lets single ones through.

How: one pass from left to right that stops at the first mistake. A head that is not whole is parsed
again later, so the reader keeps no state but `scanned`; to stay linear under a client that sends
byte by byte, it parses again only when the new bytes can decide something: the empty line, a line
that ends wrongly, or a limit. The result is the same however the bytes were cut.

What it leaves to others: the fields (`fields`), the canonical path and host (`canonical`), bodies
(`chunked`), what to do with a connection after a refusal (the engine).

For the writer of heads: Host is not dropped but `authority` is what counts. `upgrade` means that
the Upgrade field is kept, and that the writer must say `Connection: upgrade`. Content-Length is
dropped, for framing makes its own, but kept in answers to HEAD and in 304, where it frames nothing.
Sources: RFC 9110, 9112, 3986.
"""

import cython
from cython.cimports.fourseven.protocols.canonical import (
    AUTHORITY_PORT,
    PATH_ENCODED_SLASH,
    PATH_LONG,
    PATH_MALFORMED,
    PATH_NUL,
    PORT_NONE,
    canonical_path,
    read_authority,
)
from cython.cimports.fourseven.protocols.fields import (
    SAID_CLOSE,
    SAID_KEEP_ALIVE,
    SAID_UPGRADE,
    SEEN_CODING,
    SEEN_EXPECT,
    SEEN_HOST,
    SEEN_LENGTH,
    SEEN_UPGRADE,
    SEEN_UPGRADE_REFUSED,
    Fields,
    end_line,
    read_fields,
    refuse,
    settle_hops,
)
from cython.cimports.fourseven.protocols.grammar import (
    AFTER_SLASH,
    ENCODE,
    FIELD,
    HOST,
    PERCENT,
    PLAIN,
    TARGET,
    TOKEN,
    class_of,
    same_token,
)
from cython.cimports.fourseven.protocols.http1 import (
    FAULT_BARE_LF,
    FAULT_CODING_VERSION,
    FAULT_HEAD_LONG,
    FAULT_HOST_CHARACTER,
    FAULT_HOST_DISAGREES,
    FAULT_HOST_MISSING,
    FAULT_HOST_PORT,
    FAULT_LENGTH_AND_CODING,
    FAULT_METHOD,
    FAULT_METHOD_REFUSED,
    FAULT_NONE,
    FAULT_NOT_HTTP,
    FAULT_PATH_DOTS,
    FAULT_PATH_NUL,
    FAULT_PATH_PERCENT,
    FAULT_PATH_SLASH,
    FAULT_PREFACE,
    FAULT_STATUS_LINE,
    FAULT_TARGET_CHARACTER,
    FAULT_TARGET_FORM,
    FAULT_TARGET_LONG,
    FAULT_TLS,
    FAULT_TRACE_BODY,
    FAULT_UPGRADE,
    FAULT_VERSION,
    FAULT_VERSION_UNKNOWN,
    FIRST_BYTES,
    HOST_ROOM,
    LEADING_MAX,
    METHOD_MAX,
    PATH_AT,
)
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_LENGTH,
    FRAMING_NONE,
    HEADER_CONTENT_LENGTH,
    HEADERS_CAPACITY,
    METHOD_CONNECT,
    METHOD_DELETE,
    METHOD_GET,
    METHOD_HEAD,
    METHOD_OPTIONS,
    METHOD_OTHER,
    METHOD_PATCH,
    METHOD_POST,
    METHOD_PUT,
    METHOD_TRACE,
    SCRATCH_CAPACITY,
    Span,
)
from cython.cimports.fourseven.snapshot.layout import RELAX_TRACE
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.string import memchr, memcmp, memset

# ---- when to parse ----


def read_request(at, size, scanned, limits, request):
    result: int32_t
    request.fault = FAULT_NONE
    if not worth_parsing(at, size, scanned, limits):
        return 0
    result = parse_request(at, min(size, limits.head_max), limits, request)
    if result == 0 and size >= limits.head_max:
        return refuse(cython.address(request.fault), FAULT_HEAD_LONG, 431)
    return result


def read_response(at, size, scanned, limits, method_id, response):
    result: int32_t
    response.fault = FAULT_NONE
    if not worth_parsing(at, size, scanned, limits):
        return 0
    result = parse_response(at, min(size, limits.head_max), limits, method_id, response)
    if result == 0 and size >= limits.head_max:
        response.fault = FAULT_HEAD_LONG
        return -502
    return result if result >= 0 else -502


def worth_parsing(at, size, scanned, limits):
    """Whether the bytes since the last call can decide anything."""
    found: cython.p_const_char
    before: uint32_t = scanned[0]
    position: uint32_t = before
    line_max: uint32_t = LEADING_MAX + METHOD_MAX + 1 + limits.target_max
    scanned[0] = size
    if before < FIRST_BYTES or size >= limits.head_max:
        return True
    if before <= line_max < size:  # by now the first line has ended, or its target is too long
        return True
    while position < size:
        found = cython.cast(cython.p_const_char, memchr(at + position, 0x0A, size - position))
        if found is cython.NULL:
            return False
        position = cython.cast(uint32_t, found - at)
        if at[position - 1] != b"\r" or at[position - 2] == b"\n":
            return True
        position += 1
    return False


# ---- requests ----


def parse_request(at, size, limits, request):
    fields = cython.declare(Fields)
    position: int32_t = skip_leading(at, size, request)
    if position < 0:
        return position
    position = read_method(at, position, size, limits, request)
    if position <= 0:
        return position
    position = read_target(at, position, size, limits, request)
    if position <= 0:
        return position
    position = read_request_version(at, position, size, request)
    if position <= 0:
        return position
    memset(cython.address(fields), 0, cython.sizeof(Fields))
    fields.headers = request.headers
    fields.count_max = min(limits.headers_max, cython.cast(uint32_t, HEADERS_CAPACITY))
    fields.relax = limits.relax
    fields.version = request.version
    position = read_fields(at, position, size, cython.address(fields))
    request.header_count = fields.count
    request.fault = fields.fault
    if position <= 0:
        return position
    request.head_size = position
    result: int32_t = finish_request(request, cython.address(fields))
    return position if result == 0 else result


def skip_leading(at, size, request):
    """Where the request begins. A few empty lines before it are passed (RFC 9112 2.2)."""
    position: uint32_t = 0
    line: int32_t
    while position < size and at[position] == b"\r":
        if position >= LEADING_MAX:
            return refuse(cython.address(request.fault), FAULT_NOT_HTTP, 400)
        line = end_line(at, position, size, cython.address(request.fault))
        if line <= 0:
            return line if line < 0 else cython.cast(int32_t, size)
        position = line
    return position


def read_method(at, start, size, limits, request):
    fault: cython.pointer[uint32_t] = cython.address(request.fault)
    position: uint32_t = start
    end: uint32_t = min(size, start + METHOD_MAX + 1)
    while position < end and class_of(at[position]) & TOKEN:
        position += 1
    if position - start > METHOD_MAX:
        return refuse(fault, FAULT_METHOD, 400)
    if position == size:
        return 0
    if position == start:
        if at[start] == 0x16:
            return refuse(fault, FAULT_TLS, 400)
        return refuse(fault, FAULT_BARE_LF if at[start] == b"\n" else FAULT_NOT_HTTP, 400)
    if at[position] != b" ":
        return refuse(fault, FAULT_METHOD, 400)
    request.method = Span(at=at + start, size=position - start)
    request.method_id = method_of(at + start, position - start)
    if request.method_id == METHOD_OTHER and position - start == 3:
        if memcmp(at + start, b"PRI", 3) == 0:
            return refuse(fault, FAULT_PREFACE, 400)
    if request.method_id == METHOD_CONNECT:
        return refuse(fault, FAULT_METHOD_REFUSED, 405)
    if request.method_id == METHOD_TRACE and not limits.relax & RELAX_TRACE:
        return refuse(fault, FAULT_METHOD_REFUSED, 405)
    return position + 1


def method_of(at, size):
    if size == 3:
        if memcmp(at, b"GET", 3) == 0:
            return METHOD_GET
        return METHOD_PUT if memcmp(at, b"PUT", 3) == 0 else METHOD_OTHER
    if size == 4:
        if memcmp(at, b"POST", 4) == 0:
            return METHOD_POST
        return METHOD_HEAD if memcmp(at, b"HEAD", 4) == 0 else METHOD_OTHER
    if size == 5:
        if memcmp(at, b"PATCH", 5) == 0:
            return METHOD_PATCH
        return METHOD_TRACE if memcmp(at, b"TRACE", 5) == 0 else METHOD_OTHER
    if size == 6:
        return METHOD_DELETE if memcmp(at, b"DELETE", 6) == 0 else METHOD_OTHER
    if size == 7:
        if memcmp(at, b"OPTIONS", 7) == 0:
            return METHOD_OPTIONS
        return METHOD_CONNECT if memcmp(at, b"CONNECT", 7) == 0 else METHOD_OTHER
    return METHOD_OTHER


def read_target(at, start, size, limits, request):
    """The target and the space behind it. Beyond `target_max` it is refused before it ends."""
    fault: cython.pointer[uint32_t] = cython.address(request.fault)
    position: int32_t = start
    cut: cython.bint = size - start > limits.target_max
    if cut:
        size = start + limits.target_max + 1
    request.authority = Span(at=cython.NULL, size=0)
    request.path = Span(at=cython.NULL, size=0)
    request.query = Span(at=cython.NULL, size=0)
    if start < size and at[start] == b"*":
        if request.method_id != METHOD_OPTIONS:
            return refuse(fault, FAULT_TARGET_FORM, 400)
        request.path = Span(at=at + start, size=1)
        position += 1
    else:
        if start < size and at[start] != b"/":
            position = skip_origin(at, start, size, request)
        if start == size:
            position = 0
        if position > 0:
            position = read_path(at, position, size, limits, request)
        if position < 0:
            return position
    if position == 0 or cython.cast(uint32_t, position) == size:
        return refuse(fault, FAULT_TARGET_LONG, 414) if cut else 0
    if at[position] != b" ":
        return refuse_target(at[position], request)
    request.target = Span(at=at + start, size=position - start)
    return position + 1


def skip_origin(at, start, size, request):
    """Passes http://authority of an absolute-form target, and notes the authority."""
    i: uint32_t = 0
    scheme: cython.p_const_char = b"https://"
    position: uint32_t = start
    while i < 8:
        if position == size:
            return 0
        if i == 4 and at[position] == b":":
            i = 5  # http: has no s
        if at[position] != scheme[i] and not (i < 5 and same_token(at + position, scheme + i, 1)):
            if i == 0 and not class_of(at[position]) & TARGET:
                return refuse_target(at[position], request)
            return refuse(cython.address(request.fault), FAULT_TARGET_FORM, 400)
        i += 1
        position += 1
    start = position
    while position < size and (
        class_of(at[position]) & HOST
        or at[position] == b":"
        or at[position] == b"["
        or at[position] == b"]"
    ):
        position += 1
    request.authority = Span(at=at + start, size=position - start)
    if position < size and at[position] == b"@":
        # userinfo: RFC 9110 4.2.4, it only ever disguises a host
        return refuse(cython.address(request.fault), FAULT_HOST_CHARACTER, 400)
    return position


def read_path(at, start, size, limits, request):
    """Path and query; the position behind them, which is `size` when they may go on."""
    kind: uint32_t
    seen: uint32_t = 0
    previous: uint32_t = 0
    pairs: uint32_t = 0  # AFTER_SLASH where "//" or "/." stood
    position: uint32_t = start
    end: uint32_t
    result: int32_t
    while position < size:
        kind = class_of(at[position])
        if not kind & (PLAIN | ENCODE | PERCENT):
            break
        pairs |= (previous >> 1) & kind
        seen |= kind
        previous = kind
        position += 1
    if position == size:
        return position
    if at[position] != b" " and at[position] != b"?":
        return refuse_target(at[position], request)
    request.path = Span(at=at + start, size=position - start)
    if position == start:  # http://host and http://host?query
        request.scratch[PATH_AT] = b"/"
        if request.method_id == METHOD_OPTIONS and at[position] == b" ":
            request.scratch[PATH_AT] = b"*"  # RFC 9112 3.2.4
        request.path = Span(at=cython.address(request.scratch[PATH_AT]), size=1)
    elif at[start] != b"/":
        return refuse_target(at[start], request)
    elif seen & (ENCODE | PERCENT) or pairs & AFTER_SLASH:
        result = canonise(at + start, position - start, limits, request)
        if result < 0:
            return result
    if at[position] == b"?":
        end = position + 1
        position = end
        while position < size and class_of(at[position]) & TARGET:
            position += 1
        request.query = Span(at=at + end, size=position - end)
    return position


def canonise(at, size, limits, request):
    fault: cython.pointer[uint32_t] = cython.address(request.fault)
    out: cython.p_char = cython.address(request.scratch[PATH_AT])
    result: int32_t = canonical_path(at, size, out, SCRATCH_CAPACITY - PATH_AT, limits.relax)
    if result == PATH_LONG:
        return refuse(fault, FAULT_TARGET_LONG, 414)
    if result == PATH_MALFORMED:
        return refuse(fault, FAULT_PATH_PERCENT, 400)
    if result == PATH_ENCODED_SLASH:
        return refuse(fault, FAULT_PATH_SLASH, 400)
    if result < 0:
        return refuse(fault, FAULT_PATH_NUL if result == PATH_NUL else FAULT_PATH_DOTS, 400)
    if cython.cast(uint32_t, result) != size or memcmp(at, out, size) != 0:
        request.path = Span(at=out, size=result)
    return 0


def refuse_target(byte, request):
    fault: cython.pointer[uint32_t] = cython.address(request.fault)
    if byte == b"\\":
        return refuse(fault, FAULT_PATH_SLASH, 400)
    if byte == b"\r" or byte == b"\n":  # the line ends here: HTTP/0.9
        return refuse(fault, FAULT_VERSION, 400)
    return refuse(fault, FAULT_TARGET_CHARACTER, 400)


def read_request_version(at, start, size, request):
    fault: cython.pointer[uint32_t] = cython.address(request.fault)
    version: int32_t
    line: int32_t
    if size - start >= 10 and memcmp(at + start, b"HTTP/1.1\r\n", 10) == 0:
        request.version = 11
        return start + 10
    version = read_version(at, start, size)
    if version < 0:
        return refuse(fault, FAULT_VERSION, 400)
    if version == 0 or start + 8 == size:
        return 0
    if at[start + 8] != b"\r" and at[start + 8] != b"\n":
        return refuse(fault, FAULT_VERSION, 400)
    line = end_line(at, start + 8, size, fault)
    if line <= 0:
        return line
    if version != 110 and version != 111:
        return refuse(fault, FAULT_VERSION_UNKNOWN, 505)
    request.version = version - 100
    return line


def read_version(at, start, size):
    """100 + 11 for HTTP/1.1; 0 when more bytes are needed, -1 when it is none."""
    i: uint32_t
    form: cython.p_const_char = b"HTTP/0.0"
    for i in range(8):
        if start + i == size:
            return 0
        if i == 5 or i == 7:
            if at[start + i] < 0x30 or at[start + i] > 0x39:
                return -1
        elif at[start + i] != form[i]:
            return -1
    return 100 + (at[start + 5] - 0x30) * 10 + (at[start + 7] - 0x30)


def finish_request(request, fields):
    """What only the whole head can tell; 0 or -STATUS."""
    fault: cython.pointer[uint32_t] = cython.address(request.fault)
    result: int32_t
    seen: uint32_t = fields.seen
    if seen & SEEN_CODING:
        # RFC 9112 6.3: both lengths present is an attack (smuggling), not a mistake.
        if seen & SEEN_LENGTH:
            return refuse(fault, FAULT_LENGTH_AND_CODING, 400)
        if request.version == 10:  # 9112 6.1: the framing is faulty
            return refuse(fault, FAULT_CODING_VERSION, 400)
    request.content_length = fields.content_length
    request.framing = FRAMING_NONE
    if seen & SEEN_CODING:
        request.framing = FRAMING_CHUNKED
    elif seen & SEEN_LENGTH:
        request.framing = FRAMING_LENGTH
    body: cython.bint = seen & SEEN_CODING != 0 or fields.content_length > 0
    if body and request.method_id == METHOD_TRACE:  # RFC 9110 9.3.8
        return refuse(fault, FAULT_TRACE_BODY, 400)
    result = finish_host(request, fields)
    if result < 0:
        return result
    request.expect_continue = body and seen & SEEN_EXPECT != 0
    request.keep_alive = seen & SAID_CLOSE == 0 and (
        request.version == 11 or seen & SAID_KEEP_ALIVE != 0
    )
    # With a body the bytes behind the head would have two meanings, so then it is not passed on.
    request.upgrade = (
        request.version == 11
        and not body
        and seen & (SEEN_UPGRADE | SAID_UPGRADE | SEEN_UPGRADE_REFUSED)
        == SEEN_UPGRADE | SAID_UPGRADE
    )
    settle_hops(fields, request.upgrade)
    return 0


def finish_host(request, fields):
    host: Span = Span(at=cython.NULL, size=0)
    port: int32_t = PORT_NONE
    target_port: int32_t = PORT_NONE
    usual: int32_t
    result: int32_t
    absolute: cython.bint = request.authority.at is not cython.NULL
    fault: cython.pointer[uint32_t] = cython.address(request.fault)
    request.host = host
    if absolute:
        result = read_authority(
            request.authority.at, request.authority.size, request.scratch, HOST_ROOM,
            cython.address(request.host), cython.address(target_port),
        )  # fmt: skip
        if result < 0:
            return refuse_authority(result, request)
    if not fields.seen & SEEN_HOST:
        return refuse(fault, FAULT_HOST_MISSING, 400) if request.version == 11 else 0
    result = read_authority(
        fields.host.at, fields.host.size, cython.address(request.scratch[HOST_ROOM]), HOST_ROOM,
        cython.address(host), cython.address(port),
    )  # fmt: skip
    if result < 0:
        return refuse_authority(result, request)
    if not absolute:
        request.host = host
        request.authority = fields.host
        return 0
    usual = 443 if request.target.at[4] | 0x20 == 0x73 else 80  # https
    port = usual if port == PORT_NONE else port
    target_port = usual if target_port == PORT_NONE else target_port
    if port == target_port and host.size == request.host.size:
        if memcmp(host.at, request.host.at, host.size) == 0:
            return 0
    return refuse(fault, FAULT_HOST_DISAGREES, 400)


def refuse_authority(code, request):
    why: uint32_t = FAULT_HOST_PORT if code == AUTHORITY_PORT else FAULT_HOST_CHARACTER
    return refuse(cython.address(request.fault), why, 400)


# ---- answers ----


def parse_response(at, size, limits, method_id, response):
    fields = cython.declare(Fields)
    position: int32_t = read_status_line(at, size, response)
    if position <= 0:
        return position
    memset(cython.address(fields), 0, cython.sizeof(Fields))
    fields.headers = response.headers
    fields.count_max = min(limits.headers_max, cython.cast(uint32_t, HEADERS_CAPACITY))
    fields.relax = limits.relax
    fields.version = response.version
    fields.answer = 1
    position = read_fields(at, position, size, cython.address(fields))
    response.header_count = fields.count
    response.fault = fields.fault
    if position <= 0:
        return position
    response.head_size = position
    result: int32_t = finish_response(response, cython.address(fields), method_id)
    return position if result == 0 else result


def read_status_line(at, size, response):
    """HTTP/1.x SP 3DIGIT [SP reason] CRLF."""
    i: uint32_t
    start: uint32_t
    fault: cython.pointer[uint32_t] = cython.address(response.fault)
    version: int32_t = read_version(at, 0, size)
    if version < 0 or (version > 0 and version != 110 and version != 111):
        return refuse(fault, FAULT_NOT_HTTP if version < 0 else FAULT_VERSION_UNKNOWN, 502)
    if version == 0 or size == 8:
        return 0
    if at[8] != b" ":
        return refuse(fault, FAULT_STATUS_LINE, 502)
    response.version = version - 100
    response.status = 0
    for i in range(9, 12):
        if i == size:
            return 0
        if at[i] < 0x30 or at[i] > 0x39:
            return refuse(fault, FAULT_STATUS_LINE, 502)
        response.status = response.status * 10 + (at[i] - 0x30)
    if response.status < 100:
        return refuse(fault, FAULT_STATUS_LINE, 502)
    i = 12
    if i < size and at[i] == b" ":
        i += 1
    elif i < size and at[i] != b"\r" and at[i] != b"\n":
        return refuse(fault, FAULT_STATUS_LINE, 502)
    start = i
    while i < size and class_of(at[i]) & FIELD:
        i += 1
    response.reason = Span(at=at + start, size=i - start)
    return end_line(at, i, size, fault)


def finish_response(response, fields, method_id):
    i: uint32_t
    seen: uint32_t = fields.seen
    status: uint32_t = response.status
    fault: cython.pointer[uint32_t] = cython.address(response.fault)
    if seen & SEEN_CODING:
        if seen & SEEN_LENGTH:
            return refuse(fault, FAULT_LENGTH_AND_CODING, 502)
        if response.version == 10:
            return refuse(fault, FAULT_CODING_VERSION, 502)
    response.content_length = fields.content_length
    response.framing = FRAMING_CLOSE
    if method_id == METHOD_HEAD or status < 200 or status == 204 or status == 304:
        response.framing = FRAMING_NONE
    elif seen & SEEN_CODING:
        response.framing = FRAMING_CHUNKED
    elif seen & SEEN_LENGTH:
        response.framing = FRAMING_LENGTH
    response.keep_alive = (
        response.framing != FRAMING_CLOSE
        and seen & SAID_CLOSE == 0
        and (response.version == 11 or seen & SAID_KEEP_ALIVE != 0)
    )
    response.upgrade = 0
    if status == 101:
        if seen & (SEEN_UPGRADE | SAID_UPGRADE) != SEEN_UPGRADE | SAID_UPGRADE:
            return refuse(fault, FAULT_UPGRADE, 502)
        response.upgrade = 1
    settle_hops(fields, response.upgrade)
    if status == 304 or (method_id == METHOD_HEAD and status >= 200 and status != 204):
        for i in range(fields.count):
            if fields.headers[i].known == HEADER_CONTENT_LENGTH:
                fields.headers[i].drop = 0  # it tells the size of what GET would bring
    return 0
