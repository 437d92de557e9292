"""A client meets the same of a route's backends each time: canaries stay with whom they met.

The draw among the backends is a hash of what the client brings: its address, a header, a cookie. So
there is nothing to keep, and every worker and every machine draws the same. A larger share of a
backend only takes clients from its neighbours; all others stay where they are.

By a cookie of ours, a client that brings none gets a random one. It names no backend and is no
secret: whoever makes one up only chooses for himself.

Law: weights say the share of clients, not of requests: a client that asks much stays with its draw.
"""

import cython
from cython.cimports.fourseven.l7.gate_key import plain_key
from cython.cimports.fourseven.l7.gates import gate_say
from cython.cimports.fourseven.l7.output import Output, put, put_span, put_text
from cython.cimports.fourseven.matching.table import FIELD_COOKIE, field_value
from cython.cimports.fourseven.snapshot.hashing import hash_bytes, hash_number
from cython.cimports.fourseven.snapshot.layout import STICKY_COOKIE, Route
from cython.cimports.fourseven.worker.tools import random_next
from cython.cimports.libc.stdint import uint32_t, uint64_t

DIGITS = cython.declare(cython.p_const_char, b"0123456789abcdef")


def sticky_draw(worker, session):
    route: cython.pointer[cython.const[Route]] = session.stream.route
    if route.sticky == STICKY_COOKIE:
        value = field_value(
            FIELD_COOKIE,
            worker.request,
            cython.address(route.sticky_key.name),
            worker.scratch,
        )
        if value.at is cython.NULL or value.size == 0:
            return give_cookie(worker, session)
        return hash_number(hash_bytes(value.at, value.size))
    return hash_number(plain_key(cython.address(route.sticky_key), worker.request, worker.scratch))


def give_cookie(worker, session):
    value = cython.declare(cython.char[16])
    room = cython.declare(cython.char[256])
    to = cython.declare(Output)
    drawn: uint64_t = random_next(worker)
    at: uint32_t
    for at in range(16):
        value[at] = DIGITS[drawn >> (4 * at) & 15]
    to = Output(at=cython.address(room[0]), size=0, capacity=cython.sizeof(room), full=0)
    put_span(cython.address(to), cython.address(session.stream.route.sticky_key.name))
    put_text(cython.address(to), b"=")
    put(cython.address(to), cython.address(value[0]), 16)
    put_text(cython.address(to), b"; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax")
    if not to.full:
        gate_say(worker, session, b"Set-Cookie", to.at, to.size)
    return hash_number(hash_bytes(cython.address(value[0]), 16))
