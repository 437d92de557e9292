"""A name and a password (RFC 7617), checked against hashes.

Who was verified lately passes at once. Else the hash is computed off the worker (l7.passwords) and
the request waits, looking again every tick; for a name that nobody has, the first user's hash is
computed all the same, so that the time says nothing about names.

Texts: the challenge, the header that tells the server who it is (or nothing), then name and hash of
each user in the order of their bytes. Law: a refusal says nothing but the challenge.
"""

import cython
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.gate_basic import FIRST_USER, REMEMBER_MS, SHOWN_MAX, Shown
from cython.cimports.fourseven.l7.gates import (
    GATE_ANSWERED,
    GATE_PASS,
    GATE_WAIT,
    gate_say,
    gate_tell_span,
)
from cython.cimports.fourseven.l7.output import Output, put_byte, put_span
from cython.cimports.fourseven.l7.passwords import (
    CHECKED_GOOD,
    CHECKED_NOT,
    Check,
    password_check,
    password_leave,
    password_state,
)
from cython.cimports.fourseven.l7.records import Stream
from cython.cimports.fourseven.l7.verified import Tag, tag_of, verified, verified_keep
from cython.cimports.fourseven.native.openssl import OPENSSL_cleanse
from cython.cimports.fourseven.protocols.base64 import base64_read
from cython.cimports.fourseven.protocols.message import HEADER_AUTHORIZATION, Span
from cython.cimports.fourseven.worker.worker import (
    REASON_CHECKS_FULL,
    REASON_PASSWORD,
    WHEEL_TICK_MS,
)
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.string import memchr, memcmp
from cython.cimports.posix.strings import strncasecmp


def basic_ask(worker, session, gate):
    shown = cython.declare(Shown)
    result: int32_t
    if not shown_by(worker.request, cython.address(shown)):
        return refuse(worker, session, gate)
    shown.user = user_of(gate, cython.address(shown.name))
    result = judge(worker, session, gate, cython.address(shown))
    OPENSSL_cleanse(cython.address(shown), cython.sizeof(Shown))
    return result


def judge(worker, session, gate, shown):
    stream: cython.pointer[Stream] = session.stream
    tag = cython.declare(Tag)
    tagged: cython.bint = tag_shown(cython.address(tag), gate, shown)
    state: int32_t
    if stream.gate_step == 0:
        if tagged and verified(cython.address(tag), worker.now_ms):
            return let_pass(worker, session, gate, shown)
        stream.gate_own = password_check(
            cython.address(gate.texts[max(shown.user, FIRST_USER) + 1]),
            cython.address(shown.password),
        )
        if stream.gate_own is cython.NULL:
            answer(worker, session, 503, REASON_CHECKS_FULL)
            return GATE_ANSWERED
        stream.gate_step = 1
    state = password_state(cython.cast(cython.pointer[Check], stream.gate_own))
    if state == CHECKED_NOT:
        stream.gate_due_ms = worker.now_ms + WHEEL_TICK_MS
        return GATE_WAIT
    if state != CHECKED_GOOD or shown.user < 0:
        return refuse(worker, session, gate)
    if tagged:
        verified_keep(cython.address(tag), worker.now_ms + REMEMBER_MS)
    return let_pass(worker, session, gate, shown)


def basic_left(worker, session):
    if session.stream.gate_own is not cython.NULL:
        password_leave(cython.cast(cython.pointer[Check], session.stream.gate_own))
        session.stream.gate_own = cython.NULL


def let_pass(worker, session, gate, shown):
    if gate.texts[1].size:
        gate_tell_span(
            worker, session, cython.address(gate.texts[1]), cython.address(gate.texts[shown.user])
        )
    return GATE_PASS


def refuse(worker, session, gate):
    gate_say(worker, session, b"WWW-Authenticate", gate.texts[0].at, gate.texts[0].size)
    answer(worker, session, 401, REASON_PASSWORD)
    return GATE_ANSWERED


def shown_by(request, shown):
    """Name and password, from the one Authorization of the scheme; they live in `shown`."""
    value: Span = Span(at=cython.NULL, size=0)
    at: uint32_t
    size: int32_t
    colon: cython.p_const_char
    for at in range(request.header_count):
        if request.headers[at].known == HEADER_AUTHORIZATION:
            if value.at is not cython.NULL:
                return False  # two of them: which one would the server believe?
            value = request.headers[at].value
    if value.size < 7 or strncasecmp(value.at, b"basic ", 6) != 0:
        return False
    at = 6
    while at < value.size and value.at[at] == 32:
        at += 1
    value.at += at
    value.size -= at
    size = base64_read(cython.address(value), False, cython.address(shown.room[0]), SHOWN_MAX)
    if size < 0 or memchr(cython.address(shown.room[0]), 0, size) is not cython.NULL:
        return False  # a zero would end the password for the hash, not for us
    colon = cython.cast(cython.p_const_char, memchr(cython.address(shown.room[0]), 58, size))
    if colon is cython.NULL:
        return False
    shown.name.at = cython.address(shown.room[0])
    shown.name.size = cython.cast(uint32_t, colon - shown.name.at)
    shown.password.at = colon + 1
    shown.password.size = size - shown.name.size - 1
    return shown.password.size <= 255


def user_of(gate, name):
    """The place of the user's name among the texts, or -1."""
    low: uint32_t = 0
    high: uint32_t = (gate.text_count - FIRST_USER) // 2
    middle: uint32_t
    order: cython.int
    here: cython.pointer[cython.const[Span]]
    while low < high:
        middle = low + (high - low) // 2
        here = cython.address(gate.texts[FIRST_USER + 2 * middle])
        order = memcmp(name.at, here.at, min(name.size, here.size))
        if order == 0 and name.size == here.size:
            return cython.cast(int32_t, FIRST_USER + 2 * middle)
        if order < 0 or (order == 0 and name.size < here.size):
            high = middle
        else:
            low = middle + 1
    return -1


def tag_shown(tag, gate, shown):
    """Of the hash, the name and the password: where one changes, nothing is found."""
    room = cython.declare(cython.char[1280])
    to: Output = Output(at=cython.address(room[0]), size=0, capacity=1280, full=0)
    made: cython.bint
    if shown.user < 0:
        return False
    put_byte(cython.address(to), 66)
    put_span(cython.address(to), cython.address(gate.texts[shown.user + 1]))
    put_byte(cython.address(to), 0)
    put_span(cython.address(to), cython.address(shown.name))
    put_byte(cython.address(to), 0)
    put_span(cython.address(to), cython.address(shown.password))
    made = not to.full and tag_of(tag, to.at, to.size)
    OPENSSL_cleanse(cython.address(room[0]), cython.sizeof(room))
    return made
