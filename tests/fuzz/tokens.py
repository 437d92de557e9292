"""What is fuzzed of the ways in: tokens, Base64, and JSON as claims and payloads are read.

Of a token the first byte says whether the rest is its text, or three lines that are put into Base64
here: else the fuzzer would seldom come behind it. No signature is asked for; what is behind it is
read as if it were good, so that all of it is reached.

Laws: what is taken apart is put together again to the very same text; what is found of a JSON
stands in the text or in the room that was given; whatever is read, nothing beside it.
"""

import cython
from cython.cimports.fourseven.l7.gate_token import (
    ANYWHERE,
    TOKEN_MAX,
    Token,
    algorithm_of,
    judged,
    requirements_hold,
    taken_apart,
    token_prepare,
)
from cython.cimports.fourseven.matching.json import json_find
from cython.cimports.fourseven.native.linux import check
from cython.cimports.fourseven.protocols.base64 import base64_read
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memchr, memcmp, memcpy
from cython.cimports.tokens import GATE, GATE_TEXTS, ROOM

ALPHABET = cython.declare(
    cython.p_const_char, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)


def prepare():
    """A gate that asks for everything: an issuer, an audience, a list, a scope, a deep one."""
    if GATE.texts is not cython.NULL:
        return
    token_prepare()
    check(ANYWHERE + TOKEN_MAX <= ROOM)
    GATE_TEXTS[3] = Span(at=b"me", size=2)
    GATE_TEXTS[4] = Span(at=b"api", size=3)
    GATE_TEXTS[5] = Span(at=b"/scope", size=6)
    GATE_TEXTS[6] = Span(at=b"a\0b\0", size=4)
    GATE_TEXTS[7] = Span(at=b"/x/~1y/0", size=8)
    GATE_TEXTS[8] = Span(at=b"", size=0)
    GATE.texts = GATE_TEXTS
    GATE.text_count = 9
    GATE.numbers[1] = 30
    GATE.numbers[2] = 1
    GATE.numbers[3] = 1
    GATE.numbers[4] = 2


def token(data, size):
    one = cython.declare(Token)
    shown = cython.declare(Span)
    at: cython.p_char
    text: cython.p_char
    prepare()
    if size < 2:
        return
    text = cython.cast(cython.p_char, malloc(2 * cython.cast(cython.size_t, size) + 16))
    if data[0] & 1:
        size = joined(data + 1, size - 1, text)
    else:
        size -= 1
        memcpy(text, data + 1, size)
    at = copied(text, size)
    free(text)
    shown = Span(at=at, size=size)
    one.room = cython.cast(cython.p_char, malloc(ROOM))
    if taken_apart(cython.address(shown), cython.address(one)):
        check_parts(cython.address(one))
        check(algorithm_of(cython.address(one)) < 13)
        judged(cython.address(GATE), cython.address(one))
        requirements_hold(cython.address(GATE), cython.address(one))
    free(one.room)
    free(at)


def joined(data, size, to):
    """Three lines as header.payload.signature."""
    wrote: uint32_t = 0
    part: cython.int
    line = cython.declare(Span)
    stop: cython.p_const_char
    for part in range(3):
        stop = cython.cast(cython.p_const_char, memchr(data, 10, size)) if part < 2 else cython.NULL
        line = Span(at=data, size=size)
        if stop is not cython.NULL:
            line.size = cython.cast(uint32_t, stop - data)
        wrote += encode(cython.address(line), True, to + wrote)
        if part < 2:
            to[wrote] = 46
            wrote += 1
        size -= line.size + (stop is not cython.NULL)
        data += line.size + (stop is not cython.NULL)
    return wrote


def check_parts(one):
    text = cython.declare(Span)
    check(one.used <= 3 * TOKEN_MAX and one.whole.size <= TOKEN_MAX)
    check(one.text.at == one.whole.at and one.text.size < one.whole.size)
    text = Span(
        at=one.whole.at,
        size=cython.cast(
            uint32_t,
            cython.cast(cython.p_const_char, memchr(one.whole.at, 46, one.whole.size))
            - one.whole.at,
        ),
    )
    check_part(cython.address(text), cython.address(one.header))
    text.at += text.size + 1
    text.size = one.text.size - text.size - 1
    check_part(cython.address(text), cython.address(one.payload))
    text.at = one.whole.at + one.text.size + 1
    text.size = one.whole.size - one.text.size - 1
    check_part(cython.address(text), cython.address(one.signature))


def check_part(text, value):
    """One text for one value."""
    again: cython.p_char = cython.cast(
        cython.p_char, malloc(2 * cython.cast(cython.size_t, value.size) + 16)
    )
    check(value.size > 0 and encode(value, True, again) == text.size)
    check(memcmp(again, text.at, text.size) == 0)
    free(again)


def base64(data, size):
    """Either refused, or the only text of what it gives; and never more than the room."""
    text = cython.declare(Span)
    value = cython.declare(Span)
    url: cython.bint
    room: uint32_t
    made: int32_t
    at: cython.p_char
    to: cython.p_char
    again: cython.p_char
    if size < 1:
        return
    url = data[0] & 1
    size -= 1
    room = size // 2 if data[0] & 2 else size
    at = copied(data + 1, size)
    to = cython.cast(cython.p_char, malloc(room if room else 1))
    text = Span(at=at, size=size)
    made = base64_read(cython.address(text), url, to, room)
    check(made >= -1 and made <= cython.cast(int32_t, room))
    if made >= 0:
        again = cython.cast(cython.p_char, malloc(2 * cython.cast(cython.size_t, size) + 16))
        value = Span(at=to, size=made)
        check(encode(cython.address(value), url, again) == size)
        check(memcmp(again, at, size) == 0)
        free(again)
    free(to)
    free(at)


def json(data, size):
    """A pointer, a line end, and the text: what is found stands in the text or in the room."""
    text = cython.declare(Span)
    where = cython.declare(Span)
    seen = cython.declare(Span)
    stop: cython.p_const_char
    whole: cython.bint
    room: uint32_t
    at: cython.p_char
    to: cython.p_char
    if size < 2:
        return
    whole = data[0] & 1
    room = 8 if data[0] & 2 else 4096
    at = copied(data + 1, size - 1)
    stop = cython.cast(cython.p_const_char, memchr(at, 10, size - 1))
    if stop is not cython.NULL:
        where = Span(at=at, size=cython.cast(uint32_t, stop - at))
        text = Span(at=stop + 1, size=size - 2 - where.size)
        to = cython.cast(cython.p_char, malloc(room))
        seen = json_find(cython.address(text), whole, cython.address(where), to, room)
        if seen.at is not cython.NULL and seen.size:
            check(
                (seen.at >= text.at and seen.at + seen.size <= text.at + text.size)
                or (seen.at >= to and seen.at + seen.size <= to + room)
                or seen.size <= 5  # true, false, null, and the numbers that it spells itself
            )
        free(to)
    free(at)


def encode(value, url, to):
    """As RFC 4648 has it; padded where it is not for URLs."""
    held: uint32_t = 0
    bits: uint32_t = 0
    wrote: uint32_t = 0
    at: uint32_t
    digit: uint32_t
    for at in range(value.size + 1):
        if at < value.size:
            held = held << 8 | cython.cast(uint8_t, value.at[at])
            bits += 8
        elif bits:
            held <<= 6 - bits
            bits = 6
        while bits >= 6:
            bits -= 6
            digit = held >> bits & 63
            if digit < 62:
                to[wrote] = ALPHABET[digit]
            elif digit == 62:
                to[wrote] = 45 if url else 43
            else:
                to[wrote] = 95 if url else 47
            wrote += 1
        held &= 63
    while not url and wrote % 4:
        to[wrote] = 61
        wrote += 1
    return wrote


def copied(data, size):
    """An exact copy, so that a sanitizer sees one byte too far."""
    at: cython.p_char = cython.cast(cython.p_char, malloc(size if size else 1))
    memcpy(at, data, size)
    return at
