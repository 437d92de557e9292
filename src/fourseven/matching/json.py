"""One value out of a body's JSON, without building anything of it.

A pointer (RFC 6901) leads from the outside in: at each step the members of one container are
passed over until the named one, and the next step starts there. Passing over needs no stack but
a bit for each open container; nothing is allocated and nothing recurses.

Laws: where a name occurs twice the last one counts, as in JavaScript, Python, Go and Java, so
that we decide on what the server will see. A body longer than the prefix is read as far as it
goes, and a value counts only when it is there to its last byte; a whole body that ends too early
is no JSON. What is no JSON holds against nothing. Names and strings are compared decoded.

It does not judge the text behind the value it was asked for in an array, nor escapes in strings
that it passes over: that is the server's to refuse.
"""

import cython
from cython.cimports.fourseven.matching.json import (
    BRACE,
    BRACE_END,
    BRACKET,
    BRACKET_END,
    JSON_BAD,
    JSON_DEPTH_MAX,
    JSON_DONE,
    JSON_END,
    JSON_MORE,
    QUOTE,
    Json,
)
from cython.cimports.fourseven.matching.queries import digit_of
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.string import memcmp, memcpy


def json_find(text, whole, pointer, room, room_size):
    json: Json = Json(
        at=text.at,
        size=text.size,
        i=0,
        whole=whole,
        depth=0,
        objects=0,
        room=room,
        room_size=room_size,
    )
    token: Span
    at: uint32_t = 0
    end: uint32_t
    while at < pointer.size:
        at += 1  # past the slash
        end = at
        while end < pointer.size and pointer.at[end] != b"/":
            end += 1
        token = Span(at=pointer.at + at, size=end - at)
        if not enter(cython.address(json), cython.address(token)):
            return Span(at=cython.NULL, size=0)
        at = end
    return value_at(cython.address(json))


def enter(json, token):
    """Moves to the named member of the container that begins here; False: there is none."""
    skip_space(json)
    if json.i >= json.size:
        return False
    if json.at[json.i] == BRACE:
        return enter_object(json, token)
    if json.at[json.i] == BRACKET:
        return enter_array(json, token)
    return False


def enter_object(json, token):
    found: cython.bint = False
    at: uint32_t = 0
    start: uint32_t
    code: int32_t
    key: Span = Span(at=cython.NULL, size=0)
    escaped: cython.bint = False
    json.i += 1
    skip_space(json)
    if json.i < json.size and json.at[json.i] == BRACE_END:
        return False
    while True:
        code = skip_key(json, cython.address(key), cython.address(escaped))
        if code != JSON_DONE:
            break
        skip_space(json)
        start = json.i
        code = skip_value(json)
        if code == JSON_BAD:
            return False
        if key_is(json, cython.address(key), escaped, token):
            found = True
            at = start
        skip_space(json)
        if code == JSON_END or json.i >= json.size:
            code = JSON_END
            break
        json.i += 1
        if json.at[json.i - 1] == BRACE_END:
            break
        if json.at[json.i - 1] != b",":
            return False
    json.i = at
    return found and (code == JSON_DONE or (code == JSON_END and not json.whole))


def enter_array(json, token):
    _: int32_t
    index: int32_t = index_of(token)
    if index < 0:
        return False
    json.i += 1
    for _ in range(index):
        if skip_value(json) != JSON_DONE:
            return False
        skip_space(json)
        if json.i >= json.size or json.at[json.i] != b",":
            return False
        json.i += 1
    skip_space(json)
    return json.i < json.size and json.at[json.i] != BRACKET_END


def index_of(token):
    """RFC 6901 4: digits without leading zeros; `-`, the place behind the last, never exists."""
    at: uint32_t
    index: int32_t = 0
    if token.size == 0 or token.size > 6 or (token.at[0] == b"0" and token.size > 1):
        return -1
    for at in range(token.size):
        if not (b"0" <= token.at[at] <= b"9"):
            return -1
        index = index * 10 + (token.at[at] - 48)
    return index


def key_is(json, key, escaped, token):
    """RFC 6901 4: in the token ~1 stands for / and ~0 for ~."""
    name: Span = key[0]
    size: int32_t
    n: uint32_t = 0
    at: uint32_t = 0
    byte: cython.char
    if escaped:
        size = decode(key, json.room, json.room_size)
        if size < 0:
            return False
        name = Span(at=json.room, size=size)
    while at < token.size:
        byte = token.at[at]
        if byte == b"~" and at + 1 < token.size:
            at += 1
            byte = 47 if token.at[at] == b"1" else 126
        if n == name.size or name.at[n] != byte:
            return False
        n += 1
        at += 1
    return n == name.size


def value_at(json):
    none: Span = Span(at=cython.NULL, size=0)
    inside: Span = none
    escaped: cython.bint = False
    size: int32_t
    skip_space(json)
    start: uint32_t = json.i
    if start >= json.size:
        return none
    if json.at[start] == QUOTE:
        if skip_string(json, cython.address(inside), cython.address(escaped)) != JSON_DONE:
            return none
        if not escaped:
            return inside
        size = decode(cython.address(inside), json.room, json.room_size)
        return Span(at=json.room, size=size) if size >= 0 else none
    if skip_value(json) != JSON_DONE:
        return none
    if json.at[start] == BRACE or json.at[start] == BRACKET:
        return Span(at=json.at + start, size=json.i - start)
    return plain_number(json.at + start, json.i - start)


def plain_number(at, size):
    """1.50 is 1.5, 2.0 is 2, -0 is 0; with an exponent, and what is no number, as it is written."""
    n: uint32_t
    dotted: cython.bint = False
    for n in range(size):
        if at[n] == b"e" or at[n] == b"E":
            return Span(at=at, size=size)
        dotted = dotted or at[n] == b"."
    while dotted and at[size - 1] == b"0":
        size -= 1
    if dotted and at[size - 1] == b".":
        size -= 1
    if size == 2 and at[0] == b"-" and at[1] == b"0":
        return Span(at=at + 1, size=1)
    return Span(at=at, size=size)


# ---- passing over ----


def skip_value(json):
    code: int32_t
    json.depth = 0
    while True:
        code = begin_value(json)
        if code == JSON_DONE:
            code = end_value(json)
        if code != JSON_MORE:
            return code


def begin_value(json):
    """One scalar, or the opening of a container with its first name: then a value must follow."""
    inside: Span = Span(at=cython.NULL, size=0)
    escaped: cython.bint = False
    opening: cython.char
    skip_space(json)
    if json.i >= json.size:
        return JSON_END
    opening = json.at[json.i]
    if opening == QUOTE:
        return skip_string(json, cython.address(inside), cython.address(escaped))
    if opening != BRACE and opening != BRACKET:
        return skip_scalar(json)
    if json.depth == JSON_DEPTH_MAX:
        return JSON_BAD
    json.depth += 1
    json.objects = (json.objects << 1) | (opening == BRACE)
    json.i += 1
    skip_space(json)
    if json.i >= json.size:
        return JSON_END
    if json.at[json.i] == BRACE_END or json.at[json.i] == BRACKET_END:
        return JSON_DONE  # empty: end_value closes it, if it is the right bracket
    if opening == BRACKET:
        return JSON_MORE
    code: int32_t = skip_key(json, cython.address(inside), cython.address(escaped))
    return JSON_MORE if code == JSON_DONE else code


def end_value(json):
    """Closes what closes here; JSON_MORE behind a comma."""
    inside: Span = Span(at=cython.NULL, size=0)
    escaped: cython.bint = False
    closing: cython.char
    code: int32_t
    while json.depth:
        skip_space(json)
        if json.i >= json.size:
            return JSON_END
        json.i += 1
        if json.at[json.i - 1] == b",":
            if not json.objects & 1:
                return JSON_MORE
            code = skip_key(json, cython.address(inside), cython.address(escaped))
            return JSON_MORE if code == JSON_DONE else code
        closing = BRACE_END if json.objects & 1 else BRACKET_END
        if json.at[json.i - 1] != closing:
            return JSON_BAD
        json.depth -= 1
        json.objects >>= 1
    return JSON_DONE


def skip_key(json, key, escaped):
    code: int32_t
    skip_space(json)
    if json.i >= json.size:
        return JSON_END
    if json.at[json.i] != QUOTE:
        return JSON_BAD
    code = skip_string(json, key, escaped)
    if code != JSON_DONE:
        return code
    skip_space(json)
    if json.i >= json.size:
        return JSON_END
    if json.at[json.i] != b":":
        return JSON_BAD
    json.i += 1
    return JSON_DONE


def skip_string(json, inside, escaped):
    byte: cython.uchar
    json.i += 1
    start: uint32_t = json.i
    escaped[0] = False
    while json.i < json.size:
        byte = json.at[json.i]
        if byte < 32:
            return JSON_BAD
        if byte == QUOTE:
            inside[0] = Span(at=json.at + start, size=json.i - start)
            json.i += 1
            return JSON_DONE
        json.i += 1
        if byte == b"\\":
            escaped[0] = True
            json.i += 1
    json.i = json.size
    return JSON_END


def skip_scalar(json):
    start: uint32_t = json.i
    byte: cython.uchar
    while json.i < json.size:
        byte = json.at[json.i]
        if not (97 <= (byte | 32) <= 122 or 48 <= byte <= 57 or byte in (43, 45, 46)):
            break
        json.i += 1
    at: cython.p_const_char = json.at + start
    size: uint32_t = json.i - start
    if json.i == json.size and not json.whole:
        return JSON_END  # the number could go on
    if size == 4 and (memcmp(at, b"true", 4) == 0 or memcmp(at, b"null", 4) == 0):
        return JSON_DONE
    if size == 5 and memcmp(at, b"false", 5) == 0:
        return JSON_DONE
    return JSON_DONE if is_number(at, size) else JSON_BAD


def is_number(at, size):
    """RFC 8259 6."""
    n: uint32_t = 0
    count: uint32_t
    if n < size and at[n] == b"-":
        n += 1
    count = digits(at + n, size - n)
    if count == 0 or (count > 1 and at[n] == b"0"):
        return False
    n += count
    if n < size and at[n] == b".":
        count = digits(at + n + 1, size - n - 1)
        if count == 0:
            return False
        n += 1 + count
    if n < size and (at[n] == b"e" or at[n] == b"E"):
        n += 1
        if n < size and (at[n] == b"+" or at[n] == b"-"):
            n += 1
        count = digits(at + n, size - n)
        if count == 0:
            return False
        n += count
    return n == size


def digits(at, size):
    n: uint32_t = 0
    while n < size and b"0" <= at[n] <= b"9":
        n += 1
    return n


def skip_space(json):
    while json.i < json.size:
        byte: cython.char = json.at[json.i]
        if byte != b" " and byte != b"\n" and byte != b"\r" and byte != b"\t":
            return
        json.i += 1


# ---- strings ----


def decode(inside, room, room_size):
    """Writes the string without its escapes; the size, or -1: one is wrong, or room is short."""
    at: uint32_t = 0
    size: uint32_t = 0
    wrote: int32_t
    byte: cython.char
    kind: cython.p_const_char = b'"\\/bfnrt'
    means: cython.p_const_char = b'"\\/\b\f\n\r\t'
    n: uint32_t
    while at < inside.size:
        if size >= room_size:
            return -1
        byte = inside.at[at]
        at += 1
        if byte != b"\\":
            room[size] = byte
            size += 1
            continue
        if at >= inside.size:
            return -1
        byte = inside.at[at]
        at += 1
        if byte == b"u":
            wrote = decode_unicode(inside, cython.address(at), room + size, room_size - size)
            if wrote < 0:
                return -1
            size += wrote
            continue
        n = 0
        while n < 8 and kind[n] != byte:
            n += 1
        if n == 8:
            return -1
        room[size] = means[n]
        size += 1
    return size


def decode_unicode(inside, at, out, left):
    """Four digits and, of a pair, four more; half a pair is no character."""
    high: int32_t = four_digits(inside, at[0])
    low: int32_t
    at[0] += 4
    if high < 0 or 0xDC00 <= high <= 0xDFFF:
        return -1
    if high < 0xD800 or high > 0xDBFF:
        return put_utf8(high, out, left)
    if at[0] + 6 > inside.size or inside.at[at[0]] != b"\\" or inside.at[at[0] + 1] != b"u":
        return -1
    low = four_digits(inside, at[0] + 2)
    at[0] += 6
    if low < 0xDC00 or low > 0xDFFF:
        return -1
    return put_utf8(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00), out, left)


def four_digits(inside, at):
    value: int32_t = 0
    n: uint32_t
    digit: int32_t
    if at + 4 > inside.size:
        return -1
    for n in range(4):
        digit = digit_of(inside.at[at + n])
        if digit < 0:
            return -1
        value = value * 16 + digit
    return value


def put_utf8(point, out, left):
    coded: cython.uchar[4]
    size: uint32_t = 1
    coded[0] = point & 0x7F
    if point >= 0x10000:
        size = 4
        coded[0] = 0xF0 | (point >> 18)
    elif point >= 0x800:
        size = 3
        coded[0] = 0xE0 | (point >> 12)
    elif point >= 0x80:
        size = 2
        coded[0] = 0xC0 | (point >> 6)
    n: uint32_t
    for n in range(1, size):
        coded[n] = 0x80 | ((point >> (6 * (size - 1 - n))) & 0x3F)
    if size > left:
        return -1
    memcpy(out, coded, size)
    return size
