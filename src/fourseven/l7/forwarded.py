"""Who asked: the client's address behind trusted proxies, and what we tell the server about it.

Every proxy appends the address it saw to X-Forwarded-For, so the list is true from the right, as
far as the proxies are ours: the walk goes from the right, past trusted CIDRs, and ends at the first
address that is not trusted; whatever stands left of it was written by a stranger. Text that is no
address ends the walk too, at the last proxy that we believe.

Laws: without trust, the peer is the client and its own claims are dropped before ours are written.
With trust, we append the peer (not the client: the peer is what we saw). When the listener speaks
only RFC 7239, only `Forwarded` is believed; else only X-Forwarded-For, for a proxy in front that
writes one of the two passes on a stranger's other one.

Not here: X-Real-IP. It has no rule for chains; a filter can set it from {client.address}.
Sources: RFC 7239; RFC 9110 5.6 for lists and quoted strings.
"""

import cython
from cython.cimports.fourseven.l7.addresses import (
    ADDRESS_TEXT_MAX,
    address_read,
    address_text,
    is_v4,
)
from cython.cimports.fourseven.l7.forwarded import (
    HOPS_MAX,
    REQUEST_ID_MAX,
    REQUEST_ID_SIZE,
    Hops,
)
from cython.cimports.fourseven.l7.output import (
    is_named,
    put,
    put_byte,
    put_span,
    put_text,
    same_name,
)
from cython.cimports.fourseven.protocols.message import (
    HEADER_FORWARDED,
    HEADER_X_FORWARDED_FOR,
    Header,
    Span,
)
from cython.cimports.fourseven.snapshot.layout import FORWARDED_RFC7239
from cython.cimports.fourseven.worker.local import cidr_holds
from cython.cimports.libc.stdint import uint8_t, uint32_t, uint64_t
from cython.cimports.libc.string import memchr


def is_trusted(listener, address):
    at: uint32_t
    for at in range(listener.trusted_count):
        if cidr_holds(cython.address(listener.trusted[at]), address):
            return True
    return False


def client_address(listener, request):
    hops = cython.declare(Hops)
    rfc7239: cython.bint = listener.forwarded == FORWARDED_RFC7239
    known: uint32_t = HEADER_FORWARDED if rfc7239 else HEADER_X_FORWARDED_FOR
    at: uint32_t
    back: uint32_t
    request.client = request.peer
    if listener.trusted_count == 0 or not is_trusted(listener, cython.address(request.peer)):
        return
    hops.count = 0
    for at in range(request.header_count):
        if request.headers[at].known != known or request.headers[at].drop:
            continue
        if rfc7239:
            hops_of_forwarded(cython.address(hops), cython.address(request.headers[at].value))
        else:
            hops_of_list(cython.address(hops), cython.address(request.headers[at].value))
    for back in range(1, HOPS_MAX + 1):
        if back > hops.count:
            return
        at = (hops.count - back) % HOPS_MAX
        if not hops.readable[at]:
            return
        request.client = hops.addresses[at]
        if not is_trusted(listener, cython.address(request.client)):
            return


def hops_of_list(hops, value):
    at: cython.p_const_char = value.at
    end: cython.p_const_char = value.at + value.size
    comma: cython.p_const_char
    item: Span
    while at < end:
        comma = cython.cast(cython.p_const_char, memchr(at, 44, end - at))
        if comma is cython.NULL:
            comma = end
        item = trim(at, comma)
        if item.size:  # RFC 9110 5.6.1: a recipient ignores empty elements
            add_hop(hops, cython.address(item))
        at = comma + 1


def hops_of_forwarded(hops, value):
    """Every element counts as one hop: one without a readable `for` ends the walk there."""
    at: cython.p_const_char = value.at
    end: cython.p_const_char = value.at + value.size
    name: Span
    text: Span
    node: Span = Span(at=cython.NULL, size=0)
    while at < end:
        at = forwarded_pair(at, end, cython.address(name), cython.address(text))
        if at is cython.NULL:  # a quote left open may hide a comma: this line tells nothing
            node.at = cython.NULL
            add_hop(hops, cython.address(node))
            return
        if is_named(cython.address(name), b"for"):
            node = text
        if at == end or at[0] == 44:
            add_hop(hops, cython.address(node))
            node.at = cython.NULL
        at += 1


def forwarded_pair(at, end, name, value):
    """Reads name=value up to the `;` or `,` behind it, or the end; NULL where it is malformed."""
    start: cython.p_const_char = at
    equals: cython.p_const_char = cython.NULL
    quoted: cython.bint = False
    while at < end:
        if at[0] == 34:  # "
            quoted = not quoted
        elif quoted and at[0] == 92:  # an escape: no address and no port needs one
            return cython.NULL
        elif not quoted and (at[0] == 59 or at[0] == 44):
            break
        elif not quoted and at[0] == 61 and equals is cython.NULL:
            equals = at
        at += 1
    if quoted:
        return cython.NULL
    name[0] = Span(at=start, size=0)
    value[0] = Span(at=start, size=0)
    if equals is cython.NULL:
        return at
    name[0] = trim(start, equals)
    value[0] = trim(equals + 1, at)
    if value.size >= 2 and value.at[0] == 34 and value.at[value.size - 1] == 34:
        value[0] = Span(at=value.at + 1, size=value.size - 2)
    return at


def add_hop(hops, text):
    at: uint32_t = hops.count % HOPS_MAX
    hops.readable[at] = text.at is not cython.NULL and address_read(
        text, cython.address(hops.addresses[at])
    )
    hops.count += 1


def trim(at, end):
    while at < end and (at[0] == 32 or at[0] == 9):
        at += 1
    while at < end and ((end - 1)[0] == 32 or (end - 1)[0] == 9):
        end -= 1
    return Span(at=at, size=end - at)


def request_id(listener, request, room, random_a, random_b):
    at: uint32_t
    header: cython.pointer[cython.const[Header]]
    if listener.request_id.at is cython.NULL or listener.request_id.size == 0:
        return Span(at=cython.NULL, size=0)
    make_request_id(room, random_a, random_b)
    if not is_trusted(listener, cython.address(request.peer)):
        return Span(at=room, size=REQUEST_ID_SIZE)
    for at in range(request.header_count):
        header = cython.address(request.headers[at])
        if header.drop or not is_fit_id(cython.address(header.value)):
            continue
        if same_name(cython.address(header.name), cython.address(listener.request_id)):
            return header.value
    return Span(at=room, size=REQUEST_ID_SIZE)


def make_request_id(out32, random_a, random_b):
    at: uint32_t
    digit: uint32_t
    random: uint64_t
    for at in range(32):
        random = random_a if at < 16 else random_b
        digit = random >> (60 - 4 * (at % 16)) & 15
        out32[at] = 48 + digit if digit < 10 else 87 + digit


def is_fit_id(value):
    """Visible ASCII of a bounded length: it will stand in logs."""
    at: uint32_t
    if value.size == 0 or value.size > REQUEST_ID_MAX:
        return False
    for at in range(value.size):
        if value.at[at] <= 32 or value.at[at] >= 127:
            return False
    return True


def put_x_forwarded_for(out, request, trusted):
    put_text(out, b"X-Forwarded-For: ")
    if trusted:
        put_earlier(out, request, HEADER_X_FORWARDED_FOR)
    put_address(out, cython.address(request.peer))
    put_text(out, b"\r\n")


def put_forwarded(out, request, trusted):
    put_text(out, b"Forwarded: ")
    if trusted:
        put_earlier(out, request, HEADER_FORWARDED)
    if is_v4(request.peer.bytes):
        put_text(out, b"for=")
        put_address(out, cython.address(request.peer))
    else:  # RFC 7239 6: brackets, and a colon is no token character, so quotes
        put_text(out, b'for="[')
        put_address(out, cython.address(request.peer))
        put_text(out, b']"')
    if request.authority.at is not cython.NULL and request.authority.size:
        put_text(out, b";host=")
        put_quoted(out, cython.address(request.authority))
    put_text(out, b";proto=https\r\n" if request.secure else b";proto=http\r\n")


def put_earlier(out, request, known):
    """What the proxies before us wrote, all its lines as one list, with a comma behind each."""
    at: uint32_t
    header: cython.pointer[cython.const[Header]]
    for at in range(request.header_count):
        header = cython.address(request.headers[at])
        if header.known == known and not header.drop and header.value.size:
            put_span(out, cython.address(header.value))
            put_text(out, b", ")


def put_quoted(out, value):
    at: uint32_t
    byte: uint8_t
    put_byte(out, 34)
    for at in range(value.size):
        byte = value.at[at]
        if byte == 34 or byte == 92:
            put_byte(out, 92)
        put_byte(out, byte)
    put_byte(out, 34)


def put_address(out, address):
    text = cython.declare(cython.char[ADDRESS_TEXT_MAX])
    put(out, text, address_text(text, address))
