"""The gate of compression: it answers nothing, it only notes what this client would have.

Which coding the client likes best is asked here, where its request is at hand; whether the answer
is one to be compressed is judged at its head (`compressed`).

BREACH (Prado, Harris, Gluck 2013) reads a secret of a page by its compressed length, if the page
also repeats what the attacker makes the victim's browser ask. It needs three things: a request that
the attacker's page causes, credentials that the browser sends along, and a compressed answer. So by
default an answer is not compressed where the first two come together: the request has a cookie, an
Authorization or a client certificate, and a browser says that another site has caused it
(Sec-Fetch-Site: cross-site; for browsers without it Origin or Referer of another host). Visits
within the site, clients without credentials and programs are not affected. That an answer sets a
cookie is no reason: what is in its head is not compressed with the body, and a secret that is new
each time cannot be read bit by bit.
"""

import cython
from cython.cimports.fourseven.l7.compressed import SKIP_CREDENTIALS
from cython.cimports.fourseven.l7.gate_compress import (
    COMPRESS_CREDENTIALS,
    COMPRESS_ORDER,
    CREDENTIALS_ALWAYS,
    CREDENTIALS_NEVER,
)
from cython.cimports.fourseven.l7.gates import GATE_PASS
from cython.cimports.fourseven.l7.output import is_named
from cython.cimports.fourseven.l7.records import Shape
from cython.cimports.fourseven.l7.shape import shape_take
from cython.cimports.fourseven.protocols.accept_encoding import (
    Accepted,
    accept_begin,
    accept_choose,
    accept_read,
)
from cython.cimports.fourseven.protocols.message import (
    HEADER_ACCEPT_ENCODING,
    HEADER_AUTHORIZATION,
    HEADER_COOKIE,
    HEADER_ORIGIN,
    HEADER_OTHER,
    HEADER_REFERER,
    Header,
    Span,
)
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.posix.strings import strncasecmp


def compress_ask(worker, session, gate):
    shape: cython.pointer[Shape] = shape_take(worker, session)
    if shape is cython.NULL or shape.gate is not cython.NULL:
        return GATE_PASS  # no memory: as it is; the first of two such filters holds
    shape.gate = gate
    shape.coding = wanted(worker.request, gate)
    if in_danger(worker.request, gate):
        shape.skip = SKIP_CREDENTIALS
    return GATE_PASS


def wanted(request, gate):
    accepted = cython.declare(Accepted)
    at: uint32_t
    header: cython.pointer[cython.const[Header]]
    accept_begin(cython.address(accepted))
    for at in range(request.header_count):
        header = cython.address(request.headers[at])
        if header.known == HEADER_ACCEPT_ENCODING:
            accept_read(cython.address(accepted), header.value.at, header.value.size)
    return accept_choose(cython.address(accepted), gate.numbers[COMPRESS_ORDER])


def in_danger(request, gate):
    at: uint32_t
    known: uint32_t
    if gate.numbers[COMPRESS_CREDENTIALS] == CREDENTIALS_ALWAYS:
        return False
    named: cython.bint = request.certificate is not cython.NULL
    for at in range(request.header_count):
        known = request.headers[at].known
        named |= known == HEADER_COOKIE or known == HEADER_AUTHORIZATION
    if not named:
        return False
    return gate.numbers[COMPRESS_CREDENTIALS] == CREDENTIALS_NEVER or from_elsewhere(request)


def from_elsewhere(request):
    at: uint32_t
    found: cython.bint = False
    header: cython.pointer[cython.const[Header]]
    for at in range(request.header_count):
        header = cython.address(request.headers[at])
        if header.known == HEADER_OTHER and is_named(
            cython.address(header.name), b"sec-fetch-site"
        ):
            return is_named(cython.address(header.value), b"cross-site")
        if header.known == HEADER_ORIGIN or header.known == HEADER_REFERER:
            found |= other_host(cython.address(header.value), cython.address(request.host))
    return found


def other_host(address, host):
    """Of an Origin or a Referer. `null` and whatever is no address come from nowhere we know."""
    start: uint32_t = 0
    text: Span = address[0]
    while start + 3 <= text.size and strncasecmp(text.at + start, b"://", 3) != 0:
        start += 1
    start += 3
    if start > text.size or text.size - start < host.size:
        return True
    if host.size and strncasecmp(text.at + start, host.at, host.size) != 0:
        return True
    start += host.size
    return start < text.size and text.at[start] != 47 and text.at[start] != 58
