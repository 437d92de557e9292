"""What browsers ask before a page of another origin may use this one (CORS).

A preflight (OPTIONS with Access-Control-Request-Method) is answered here; the answers of other
requests get lines that let the page read them. The server's own lines of that kind are taken away
by the filter's actions, so that a browser never sees two of one name.

Numbers: any origin, credentials, seconds. Texts: methods, headers, exposed headers, then origins.
Laws: an origin is compared byte by byte, for browsers write it in one way; the star of
`https://*.example.com` stands for labels of a host name alone. What is said back of a request was
checked to be a list of tokens. Source: fetch.spec.whatwg.org, 3.2.
"""

import cython
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.gates import GATE_ANSWERED, GATE_PASS, gate_say
from cython.cimports.fourseven.l7.given import answer_given
from cython.cimports.fourseven.l7.output import Output, is_named, put_number
from cython.cimports.fourseven.protocols.message import HEADER_ORIGIN, METHOD_OPTIONS, Span
from cython.cimports.fourseven.worker.worker import REASON_CORS_ORIGIN, REASON_CORS_PREFLIGHT
from cython.cimports.libc.stdint import uint8_t, uint32_t
from cython.cimports.libc.string import memchr, memcmp, strlen

ECHO_MAX = cython.declare(uint32_t, 1024)  # of a list that is said back; browsers send far less


def cors_ask(worker, session, gate):
    origin: Span = origin_of(worker.request)
    wants: Span = header_of(worker.request, b"access-control-request-method")
    preflight: cython.bint = (
        worker.request.method_id == METHOD_OPTIONS
        and origin.at is not cython.NULL
        and wants.at is not cython.NULL
    )
    allowed: cython.bint = origin.at is not cython.NULL and origin_allowed(
        gate, cython.address(origin)
    )
    if not gate.numbers[0]:
        say(worker, session, b"Vary", b"Origin")
    if not allowed:
        if not preflight:
            return GATE_PASS
        answer(worker, session, 403, REASON_CORS_ORIGIN)
        return GATE_ANSWERED
    say_origin(worker, session, gate, cython.address(origin))
    if preflight:
        preflight_answer(worker, session, gate, cython.address(wants))
        return GATE_ANSWERED
    if gate.texts[2].size:
        say_span(worker, session, b"Access-Control-Expose-Headers", cython.address(gate.texts[2]))
    return GATE_PASS


def say_origin(worker, session, gate, origin):
    if gate.numbers[0]:
        say(worker, session, b"Access-Control-Allow-Origin", b"*")
    else:
        say_span(worker, session, b"Access-Control-Allow-Origin", origin)
    if gate.numbers[1]:
        say(worker, session, b"Access-Control-Allow-Credentials", b"true")


def preflight_answer(worker, session, gate, wants):
    nothing: Span = Span(at=cython.NULL, size=0)
    headers: Span = header_of(worker.request, b"access-control-request-headers")
    digits = cython.declare(cython.char[24])
    age: Output = Output(at=cython.address(digits[0]), size=0, capacity=24, full=0)
    say_list(worker, session, b"Access-Control-Allow-Methods", cython.address(gate.texts[0]), wants)
    if headers.at is not cython.NULL:
        say_list(
            worker,
            session,
            b"Access-Control-Allow-Headers",
            cython.address(gate.texts[1]),
            cython.address(headers),
        )
    put_number(cython.address(age), gate.numbers[2])
    gate_say(worker, session, b"Access-Control-Max-Age", age.at, age.size)
    say(worker, session, b"Vary", b"Access-Control-Request-Method, Access-Control-Request-Headers")
    answer_given(
        worker,
        session,
        204,
        REASON_CORS_PREFLIGHT,
        cython.address(nothing),
        cython.address(nothing),
    )


def say_list(worker, session, name, list, asked):
    """The list; where it is a star, what was asked for, for with credentials a star is none."""
    star: cython.bint = list.size == 1 and list.at[0] == 42
    if not star:
        say_span(worker, session, name, list)
    elif is_list(asked):
        say_span(worker, session, name, asked)


def is_list(text):
    """Tokens with commas and spaces between them (RFC 9110 5.6.1), and not too long."""
    at: uint32_t
    byte: uint8_t
    for at in range(text.size):
        byte = cython.cast(uint8_t, text.at[at])
        if byte < 32 or byte >= 127 or memchr(b'"()/:;<=>?@[\\]{}', byte, 16) is not cython.NULL:
            return False
    return 0 < text.size <= ECHO_MAX


def say(worker, session, name, value):
    gate_say(worker, session, name, value, cython.cast(uint32_t, strlen(value)))


def say_span(worker, session, name, value):
    gate_say(worker, session, name, value.at, value.size)


def origin_of(request):
    """The one Origin; absent where there are two: no browser sends that."""
    at: uint32_t
    found: Span = Span(at=cython.NULL, size=0)
    for at in range(request.header_count):
        if request.headers[at].known == HEADER_ORIGIN:
            if found.at is not cython.NULL:
                return Span(at=cython.NULL, size=0)
            found = request.headers[at].value
    return found


def header_of(request, name):
    at: uint32_t
    for at in range(request.header_count):
        if is_named(cython.address(request.headers[at].name), name):
            return request.headers[at].value
    return Span(at=cython.NULL, size=0)


def origin_allowed(gate, origin):
    at: uint32_t
    if gate.numbers[0]:
        return True
    if origin.size == 0 or origin.size > 512:
        return False
    for at in range(3, gate.text_count):
        if origin_is(origin, cython.address(gate.texts[at])):
            return True
    return False


def origin_is(origin, pattern):
    """Equal, or with labels of a host name where the pattern has its star."""
    star: cython.p_const_char = cython.cast(
        cython.p_const_char, memchr(pattern.at, 42, pattern.size)
    )
    before: uint32_t
    behind: uint32_t
    at: uint32_t
    byte: uint8_t
    if star is cython.NULL:
        return origin.size == pattern.size and memcmp(origin.at, pattern.at, origin.size) == 0
    before = cython.cast(uint32_t, star - pattern.at)
    behind = pattern.size - before - 1
    if origin.size <= before + behind or memcmp(origin.at, pattern.at, before) != 0:
        return False
    if memcmp(origin.at + origin.size - behind, star + 1, behind) != 0:
        return False
    for at in range(before, origin.size - behind):
        byte = cython.cast(uint8_t, origin.at[at])
        if not (97 <= byte <= 122 or 48 <= byte <= 57 or byte == 45 or byte == 46):
            return False
    return True
