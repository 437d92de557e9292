"""Writes heads: the request's for the server, the answer's for the client, and answers of our own.

A head is not passed on, it is written anew from what was understood: so the server sees the same
canonical path that the routes saw, exactly one framing (ours), one Host, and no header that
belonged to the client's connection alone. What is copied is copied line by line, one memcpy each.

Laws: nothing is allocated, everything is bounded by the capacity given, and a head that doesn't fit
is -1, never a shorter head. Values were checked by the reader; values that filters make are checked
by `templates`. A name that frames the message or belongs to the connection is never copied, even
if the reader forgot to mark it.

A request says `Host` as the client did, unless a filter set it; an HTTP/1.0 client that named no
host gets the address it came to. `Expect: 100-continue` is passed on, and so is the server's 100.
Towards a client of HTTP/1.0 there is no 1xx: the writer then writes nothing and returns 0.

Not here: the body, chunk framing, a Date (the server's is passed on; RFC 9110 6.6.1 lets us add
none). Sources: RFC 9112 for the form, RFC 9110 7.6.1 for the hop-by-hop, 15 for statuses.
"""

import cython
from cython.cimports.fourseven.l7.addresses import is_v4
from cython.cimports.fourseven.l7.edits import (
    Edits,
    edits_cover,
    edits_cover_variable,
    edits_of,
    put_edits,
)
from cython.cimports.fourseven.l7.forwarded import (
    is_trusted,
    put_address,
    put_forwarded,
    put_x_forwarded_for,
)
from cython.cimports.fourseven.l7.heads import HEAD_NO_ACTION, HEAD_REFUSED
from cython.cimports.fourseven.l7.output import (
    Output,
    is_named,
    put_byte,
    put_header,
    put_number,
    put_span,
    put_text,
    same_name,
    same_variable,
    written,
)
from cython.cimports.fourseven.l7.rewrite import put_path, rest_of
from cython.cimports.fourseven.l7.statuses import STATUS_END, STATUSES
from cython.cimports.fourseven.l7.templates import (
    PLACE_HEADER,
    PLACE_HTML,
    PLACE_JSON,
    PLACE_TEXT,
    PLACE_URL,
    Values,
    put_template,
    values_of,
)
from cython.cimports.fourseven.l7.trace import put_traceparent
from cython.cimports.fourseven.native.linux import check
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_LENGTH,
    FRAMING_NONE,
    HEADER_CONNECTION,
    HEADER_CONTENT_LENGTH,
    HEADER_FORWARDED,
    HEADER_HOST,
    HEADER_HTTP2_SETTINGS,
    HEADER_KEEP_ALIVE,
    HEADER_PROXY_CONNECTION,
    HEADER_TRACEPARENT,
    HEADER_TRANSFER_ENCODING,
    HEADER_UPGRADE,
    HEADER_X_FORWARDED_FOR,
    HEADER_X_FORWARDED_HOST,
    HEADER_X_FORWARDED_PORT,
    HEADER_X_FORWARDED_PROTO,
    HEADER_X_REAL_IP,
    METHOD_HEAD,
    METHOD_PATCH,
    METHOD_POST,
    METHOD_PUT,
    Header,
    Span,
)
from cython.cimports.fourseven.snapshot.layout import (
    ACTION_REDIRECT,
    ACTION_RESPOND,
    ACTION_SET_HOST,
    FORWARDED_RFC7239,
    FORWARDED_X,
    RELAX_UNDERSCORES,
    Action,
)
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import strchr, strlen
from cython.cimports.posix.strings import strncasecmp


def write_request_head(out, capacity, request, context):
    to: Output = Output(at=out, size=0, capacity=capacity, full=0)
    edits = cython.declare(Edits)
    values = cython.declare(Values)
    seen: uint64_t
    trusted: cython.bint = is_trusted(context.listener, cython.address(request.peer))
    if context.route is cython.NULL:
        edits_of(cython.address(edits), cython.NULL, 0)
    else:
        edits_of(
            cython.address(edits),
            context.route.request_actions,
            context.route.request_action_count,
        )
    put_span(cython.address(to), cython.address(request.method))
    put_byte(cython.address(to), 32)
    if edits.count == 0:
        put_span(cython.address(to), cython.address(request.path))
    elif put_path(cython.address(to), request, context) != 0:
        return HEAD_REFUSED
    if request.query.at is not cython.NULL:
        put_byte(cython.address(to), 63)
        put_span(cython.address(to), cython.address(request.query))
    put_text(cython.address(to), b" HTTP/1.1\r\n")
    put_host(cython.address(to), request, context)
    seen = copy_request_headers(
        cython.address(to), request, context, cython.address(edits), trusted
    )
    put_request_framing(cython.address(to), request, context)
    put_forwarding(cython.address(to), request, context, cython.address(edits), seen, trusted)
    if edits.count:
        values_of(cython.address(values), request, context)
        put_edits(cython.address(to), cython.address(edits), cython.address(values))
    put_span(cython.address(to), cython.address(context.told))
    if context.trace is not cython.NULL:
        put_traceparent(cython.address(to), context)
    put_text(cython.address(to), b"\r\n")
    return written(cython.address(to))


def put_host(to, request, context):
    begin: uint32_t
    found: int32_t = -1
    at: uint32_t
    values = cython.declare(Values)
    put_text(to, b"Host: ")
    begin = to.size
    if context.route is not cython.NULL:
        for at in range(context.route.request_action_count):
            if context.route.request_actions[at].kind == ACTION_SET_HOST:
                found = at  # the last one holds
    if found >= 0:
        values_of(cython.address(values), request, context)
        if (
            put_template(
                to,
                cython.address(context.route.request_actions[found].value),
                PLACE_HEADER,
                cython.address(values),
            )
            != 0
        ):
            to.size = begin
    if not is_authority(to.at + begin, to.size - begin):
        to.size = begin  # what a filter made of this request names no host: the client's own stays
    if to.size == begin:
        put_span(to, cython.address(request.authority))
    if to.size == begin:
        put_local(to, request)
    put_text(to, b"\r\n")


def is_authority(at, size):
    """Nothing that ends a host or hides another one in it."""
    i: uint32_t
    for i in range(size):
        if at[i] <= 32 or at[i] == 127 or strchr(b'/?#@,\\"<>', at[i]) is not cython.NULL:
            return False
    return True


def put_local(to, request):
    """Our own address, for an HTTP/1.0 client that named no host (RFC 9112 3.3)."""
    default: uint32_t = 443 if request.secure else 80
    v4: cython.bint = is_v4(request.local.bytes)
    if not v4:
        put_byte(to, 91)
    put_address(to, cython.address(request.local))
    if not v4:
        put_byte(to, 93)
    if request.local.port != default:
        put_byte(to, 58)
        put_number(to, request.local.port)


def copy_request_headers(to, request, context, edits, trusted):
    """Copies what may pass; the result has a bit for each KnownHeader that was copied."""
    one: uint64_t = 1
    skip: uint64_t = never_copied() | one << HEADER_HOST | one << HEADER_HTTP2_SETTINGS
    seen: uint64_t = 0
    at: uint32_t
    id_name: cython.pointer[cython.const[Span]] = cython.address(context.listener.request_id)
    own_id: cython.bint = context.request_id.at is not cython.NULL
    header: cython.pointer[cython.const[Header]]
    if not trusted:
        skip |= one << HEADER_X_FORWARDED_PROTO | one << HEADER_X_FORWARDED_HOST
        skip |= one << HEADER_X_FORWARDED_PORT | one << HEADER_X_REAL_IP
    if not trusted or context.listener.forwarded & FORWARDED_X:
        skip |= one << HEADER_X_FORWARDED_FOR
    if not trusted or context.listener.forwarded & FORWARDED_RFC7239:
        skip |= one << HEADER_FORWARDED
    if context.trace is not cython.NULL:
        skip |= one << HEADER_TRACEPARENT
    for at in range(request.header_count):
        header = cython.address(request.headers[at])
        if header.drop or skip >> (header.known & 63) & 1:
            continue
        if (
            header.known == 0
            and not trusted
            and claims_to_forward(
                cython.address(header.name), context.listener.relax & RELAX_UNDERSCORES
            )
        ):
            continue
        if context.begins_trace and is_named(cython.address(header.name), b"tracestate"):
            continue
        if own_id and same_variable(cython.address(header.name), id_name):
            continue
        if edits.lengths and edits_cover_variable(edits, cython.address(header.name)):
            continue
        seen |= one << (header.known & 63)
        put_header(to, cython.address(header.name), cython.address(header.value))
    return seen


def never_copied():
    """What frames a message or belongs to one connection, even if no reader marked it."""
    one: uint64_t = 1
    return (
        one << HEADER_CONNECTION
        | one << HEADER_KEEP_ALIVE
        | one << HEADER_PROXY_CONNECTION
        | one << HEADER_TRANSFER_ENCODING
        | one << HEADER_CONTENT_LENGTH
        | one << HEADER_UPGRADE
    )


def claims_to_forward(name, underscores):
    """X-Forwarded-Prefix, -Ssl, -Server and whatever else a framework believes."""
    begin: Span = Span(at=name.at, size=12)
    claim: Span = Span(at=b"x-forwarded-", size=12)
    if name.size < 12 or (name.at[0] | 32) != 120:
        return False
    if underscores:
        return same_name(cython.address(begin), cython.address(claim))
    return same_variable(cython.address(begin), cython.address(claim))


def put_request_framing(to, request, context):
    if request.upgrade:
        put_text(to, b"Connection: Upgrade\r\n")
        put_upgrades(to, request.headers, request.header_count)
    if context.body_framing == FRAMING_CHUNKED:
        put_text(to, b"Transfer-Encoding: chunked\r\n")
    elif context.body_framing == FRAMING_LENGTH:
        put_length(to, context.body_size)
    elif request.method_id in (METHOD_POST, METHOD_PUT, METHOD_PATCH):
        put_length(to, 0)  # RFC 9110 8.6: these methods say that their body is empty


def put_upgrades(to, headers, count):
    name: Span = Span(at=b"Upgrade", size=7)
    at: uint32_t
    for at in range(count):
        if headers[at].known == HEADER_UPGRADE:
            put_header(to, cython.address(name), cython.address(headers[at].value))


def put_length(to, size):
    put_text(to, b"Content-Length: ")
    put_number(to, size)
    put_text(to, b"\r\n")


def put_forwarding(to, request, context, edits, seen, trusted):
    """Our own lines, each unless a filter takes its name or a trusted proxy told it already."""
    mode: uint32_t = context.listener.forwarded
    if mode & FORWARDED_X:
        if not covers(edits, b"X-Forwarded-For"):
            put_x_forwarded_for(to, request, trusted)
        if not seen >> HEADER_X_FORWARDED_PROTO & 1 and not covers(edits, b"X-Forwarded-Proto"):
            put_text(to, b"X-Forwarded-Proto: ")
            put_text(to, b"https\r\n" if request.secure else b"http\r\n")
        if (
            request.authority.size
            and not seen >> HEADER_X_FORWARDED_HOST & 1
            and not covers(edits, b"X-Forwarded-Host")
        ):
            put_text(to, b"X-Forwarded-Host: ")
            put_span(to, cython.address(request.authority))
            put_text(to, b"\r\n")
    if mode & FORWARDED_RFC7239 and not covers(edits, b"Forwarded"):
        put_forwarded(to, request, trusted)
    if context.request_id.at is not cython.NULL:
        if not edits_cover(edits, 0, cython.address(context.listener.request_id)):
            put_header(
                to,
                cython.address(context.listener.request_id),
                cython.address(context.request_id),
            )


def covers(edits, name):
    span: Span = Span(at=name, size=strlen(name))
    return edits.lengths != 0 and edits_cover(edits, 0, cython.address(span))


def write_response_head(out, capacity, response, request, context):
    to: Output = Output(at=out, size=0, capacity=capacity, full=0)
    edits = cython.declare(Edits)
    interim: cython.bint = response.status < 200 and not response.upgrade
    if interim and context.client_version == 10:
        return 0  # RFC 9110 15.2: never to a client of HTTP/1.0
    response_edits(cython.address(edits), context, interim)
    put_text(cython.address(to), b"HTTP/1.1 ")
    put_number(cython.address(to), response.status)
    put_byte(cython.address(to), 32)
    put_span(cython.address(to), cython.address(response.reason))
    put_text(cython.address(to), b"\r\n")
    copy_response_headers(cython.address(to), response, cython.address(edits))
    if response.upgrade:
        put_text(cython.address(to), b"Connection: Upgrade\r\n")
        put_upgrades(cython.address(to), response.headers, response.header_count)
    elif not interim:
        put_response_framing(cython.address(to), response, context)
        put_connection(cython.address(to), context)
    put_response_edits(cython.address(to), cython.address(edits), request, context)
    if not interim:
        put_span(cython.address(to), cython.address(context.said))
    put_text(cython.address(to), b"\r\n")
    return written(cython.address(to))


def response_edits(edits, context, interim):
    if (
        context.route is cython.NULL or interim
    ):  # filters are about the answer, not what precedes it
        edits_of(edits, cython.NULL, 0)
    else:
        edits_of(edits, context.route.response_actions, context.route.response_action_count)


def put_response_edits(to, edits, request, context):
    values = cython.declare(Values)
    if edits.count:
        values_of(cython.address(values), request, context)
        put_edits(to, edits, cython.address(values))


def copy_response_headers(to, response, edits):
    skip: uint64_t = never_copied()
    at: uint32_t
    header: cython.pointer[cython.const[Header]]
    for at in range(response.header_count):
        header = cython.address(response.headers[at])
        if header.drop or skip >> (header.known & 63) & 1:
            continue
        if edits.lengths and edits_cover(edits, 0, cython.address(header.name)):
            continue
        put_header(to, cython.address(header.name), cython.address(header.value))


def put_response_framing(to, response, context):
    name: Span = Span(at=b"Content-Length", size=14)
    at: uint32_t
    if context.body_framing == FRAMING_LENGTH:
        put_length(to, context.body_size)
    elif context.body_framing == FRAMING_CHUNKED:
        check(context.client_version != 10)  # the engine unchunks for it, and closes
        if context.client_version == 11:
            put_text(to, b"Transfer-Encoding: chunked\r\n")
    elif context.body_framing == FRAMING_NONE and response.status != 204:
        # To HEAD and in a 304, the length that a GET would have got (RFC 9110 8.6).
        for at in range(response.header_count):
            if response.headers[at].known == HEADER_CONTENT_LENGTH:
                put_header(to, cython.address(name), cython.address(response.headers[at].value))
                return


def put_connection(to, context):
    if context.client_version == 20:
        return
    if context.body_framing == FRAMING_CLOSE or not context.client_keep_alive:
        put_text(to, b"Connection: close\r\n")
    elif context.client_version == 10:  # whose default is to close
        put_text(to, b"Connection: keep-alive\r\n")


def write_answer(out, capacity, status, method_id, context):
    to: Output = Output(at=out, size=0, capacity=capacity, full=0)
    known: uint32_t = (
        status if status < STATUS_END and STATUSES[status].hint is not cython.NULL else 500
    )
    reason: cython.p_const_char = STATUSES[known].reason
    hint: cython.p_const_char = (
        STATUSES[known].hint if context.hint is cython.NULL else context.hint
    )
    put_status_line(cython.address(to), known)
    put_text(cython.address(to), b"Content-Type: text/plain\r\n")
    put_length(cython.address(to), 3 + 1 + strlen(reason) + 2 + strlen(hint) + 1)
    if known == 405:
        put_text(cython.address(to), b"Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n")
    if known == 503 or known == 429:
        put_text(cython.address(to), b"Retry-After: ")
        put_number(cython.address(to), context.retry_after_s if context.retry_after_s else 5)
        put_text(cython.address(to), b"\r\n")
    put_connection(cython.address(to), context)
    put_span(cython.address(to), cython.address(context.said))
    put_text(cython.address(to), b"\r\n")
    if method_id != METHOD_HEAD:
        put_number(cython.address(to), known)
        put_byte(cython.address(to), 32)
        put_text(cython.address(to), reason)
        put_text(cython.address(to), b": ")
        put_text(cython.address(to), hint)
        put_byte(cython.address(to), 10)
    return written(cython.address(to))


def put_status_line(to, status):
    put_text(to, b"HTTP/1.1 ")
    put_number(to, status)
    put_byte(to, 32)
    if status < STATUS_END and STATUSES[status].reason is not cython.NULL:
        put_text(to, STATUSES[status].reason)
    put_text(to, b"\r\n")


def write_action_answer(out, capacity, request, context):
    to: Output = Output(at=out, size=0, capacity=capacity, full=0)
    edits = cython.declare(Edits)
    values = cython.declare(Values)
    action: cython.pointer[cython.const[Action]] = terminal_of(context.route)
    result: int32_t = 0
    if action is cython.NULL:
        return HEAD_NO_ACTION
    values_of(cython.address(values), request, context)
    response_edits(cython.address(edits), context, False)
    put_status_line(cython.address(to), action.status)
    put_connection(cython.address(to), context)
    put_edits(cython.address(to), cython.address(edits), cython.address(values))
    put_span(cython.address(to), cython.address(context.said))
    if action.kind == ACTION_REDIRECT:
        result = put_redirect(cython.address(to), action, cython.address(values))
    else:
        put_respond(cython.address(to), action, cython.address(values), cython.address(edits))
    return result if result < 0 else written(cython.address(to))


def terminal_of(route):
    at: uint32_t
    if route is not cython.NULL:
        for at in range(route.request_action_count):
            if route.request_actions[at].kind in (ACTION_REDIRECT, ACTION_RESPOND):
                return cython.address(route.request_actions[at])
    return cython.NULL


def put_redirect(to, action, values):
    """Location: what the template says, once it is sure that it leads nowhere else."""
    begin: uint32_t
    path: Span = values.request.path
    values.rest = rest_of(cython.address(path), cython.address(action.name))
    if values.rest.at is cython.NULL:  # the path is not below the prefix: nothing is taken off
        values.rest = path
    elif values.rest.size == 0:
        values.rest = Span(at=b"/", size=1)
    put_text(to, b"Location: ")
    begin = to.size
    put_template(to, cython.address(action.value), PLACE_URL, values)
    if to.full:
        return 0
    # "//host" is another server to a browser; a stranger's path must not become one.
    if to.size == begin or (to.size > begin + 1 and to.at[begin] == 47 and to.at[begin + 1] == 47):
        return HEAD_REFUSED
    put_text(to, b"\r\nContent-Length: 0\r\n\r\n")
    return 0


def put_respond(to, action, values, edits):
    """The body is written where it fits, to learn its length, and then once more in its place."""
    plain: Span = Span(at=b"text/plain; charset=utf-8", size=25)
    name: Span = Span(at=b"Content-Type", size=12)
    start: uint32_t = to.size
    size: uint32_t
    kind: cython.pointer[cython.const[Span]] = cython.address(action.name)
    if kind.at is cython.NULL or kind.size == 0:
        kind = cython.address(plain)
    put_template(to, cython.address(action.value), place_of(kind), values)
    size = to.size - start
    to.size = start
    if action.status == 204 or action.status == 304:  # they have no body, whatever the file says
        put_text(to, b"\r\n")
        return
    if size and not edits_cover(edits, 0, cython.address(name)):
        put_header(to, cython.address(name), kind)
    put_length(to, size)
    put_text(to, b"\r\n")
    if values.request.method_id != METHOD_HEAD:
        put_template(to, cython.address(action.value), place_of(kind), values)


def place_of(kind):
    """How variables are escaped in a body of this content type."""
    at: uint32_t
    for at in range(kind.size):
        if kind.at[at] == 59:
            break
        if kind.size - at >= 4 and strncasecmp(kind.at + at, b"html", 4) == 0:
            return PLACE_HTML
        if kind.size - at >= 3 and strncasecmp(kind.at + at, b"xml", 3) == 0:
            return PLACE_HTML
        if kind.size - at >= 4 and strncasecmp(kind.at + at, b"json", 4) == 0:
            return PLACE_JSON
    return PLACE_TEXT
