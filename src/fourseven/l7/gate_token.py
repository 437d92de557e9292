"""A signed token (JWT, RFC 7519): whose it is, whether it is good, and what it says to the server.

The signature is verified here, some 30 to 100 microseconds, and its verdict remembered
(l7.verified): a client that shows the same token again pays for its claims alone, which are judged
at every request.

Numbers: where the token stands (0: Authorization), the seconds that clocks may differ, then how
many issuers, audiences, requirements, claims for the server and keys. Texts: the identity of the
keys, the realm, the name of the cookie or header, issuers, audiences, then pairs: pointer and
values, pointer and header.

Laws: the algorithm is one that its key is for; `crit` is refused, for we know no extension; a name
that occurs twice in an object is refused, since two readers would see two tokens. A refusal says
what is wrong in the words of RFC 6750 and no more. Nothing of a token that was not verified reaches
the server.
"""

import cython
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.gate_token import (
    ANYWHERE,
    CLAIM_MAX,
    ENTRIES_MAX,
    FIRST_TEXT,
    HEADER_MAX,
    KEYS_TRIED_MAX,
    MEMBERS_MAX,
    REMEMBER_MS,
    TOKEN_MAX,
    Token,
)
from cython.cimports.fourseven.l7.gates import (
    GATE_ANSWERED,
    GATE_PASS,
    gate_say,
    gate_tell_span,
)
from cython.cimports.fourseven.l7.output import Output, put_byte, put_span, put_text
from cython.cimports.fourseven.l7.records import http_of
from cython.cimports.fourseven.l7.verified import Tag, tag_of, verified, verified_keep
from cython.cimports.fourseven.matching.json import (
    BRACE,
    BRACE_END,
    JSON_DONE,
    Json,
    json_find,
    skip_key,
    skip_space,
    skip_value,
)
from cython.cimports.fourseven.matching.table import field_value
from cython.cimports.fourseven.native.atomics import fetch_add, load_relaxed
from cython.cimports.fourseven.native.linux import CLOCK_REALTIME, clock_gettime, timespec
from cython.cimports.fourseven.protocols.base64 import base64_read
from cython.cimports.fourseven.protocols.message import HEADER_AUTHORIZATION, Span
from cython.cimports.fourseven.tls.token_keys import TokenKey, token_verify
from cython.cimports.fourseven.worker.worker import REASON_ASK_FAILED, REASON_TOKEN
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t, uint32_t, uint64_t
from cython.cimports.libc.string import memchr, memcmp, strlen
from cython.cimports.posix.strings import strncasecmp

ALGORITHMS = cython.declare(cython.p_const_char[13])
NOT_A_NUMBER = cython.declare(int64_t, -2)
UNKNOWN = cython.declare(uint64_t, 0)  # atomic: of all workers


def token_prepare():
    """The names, by tls.token_keys.Algorithm."""
    ALGORITHMS[0] = b"RS256"
    ALGORITHMS[1] = b"RS384"
    ALGORITHMS[2] = b"RS512"
    ALGORITHMS[3] = b"PS256"
    ALGORITHMS[4] = b"PS384"
    ALGORITHMS[5] = b"PS512"
    ALGORITHMS[6] = b"ES256"
    ALGORITHMS[7] = b"ES384"
    ALGORITHMS[8] = b"ES512"
    ALGORITHMS[9] = b"EdDSA"
    ALGORITHMS[10] = b"HS256"
    ALGORITHMS[11] = b"HS384"
    ALGORITHMS[12] = b"HS512"


def token_ask(worker, session, gate):
    token = cython.declare(Token)
    shown: Span = shown_by(worker, gate)
    fault: cython.p_const_char
    if gate.numbers[6] == 0:  # its set could not be fetched yet
        answer(worker, session, 503, REASON_ASK_FAILED)
        return GATE_ANSWERED
    if shown.at is cython.NULL:
        return refuse(worker, session, gate, 401, cython.NULL)
    token.room = cython.address(http_of(worker).out[0])
    if not taken_apart(cython.address(shown), cython.address(token)):
        return refuse(worker, session, gate, 401, b"the token is malformed")
    if not is_signed(worker, gate, cython.address(token)):
        return refuse(worker, session, gate, 401, b"the signature is not good")
    fault = judged(gate, cython.address(token))
    if fault is not cython.NULL:
        return refuse(worker, session, gate, 401, fault)
    if not requirements_hold(gate, cython.address(token)):
        return refuse(worker, session, gate, 403, b"a required claim is missing")
    tell_claims(worker, session, gate, cython.address(token))
    return GATE_PASS


def refuse(worker, session, gate, status, fault):
    text = cython.declare(cython.char[512])
    to: Output = Output(at=cython.address(text[0]), size=0, capacity=512, full=0)
    put_text(cython.address(to), b'Bearer realm="')
    put_span(cython.address(to), cython.address(gate.texts[1]))
    put_text(cython.address(to), b'"')
    if fault is not cython.NULL:
        put_text(cython.address(to), b', error="')
        put_text(cython.address(to), b"insufficient_scope" if status == 403 else b"invalid_token")
        put_text(cython.address(to), b'", error_description="')
        put_text(cython.address(to), fault)
        put_text(cython.address(to), b'"')
    gate_say(worker, session, b"WWW-Authenticate", to.at, to.size)
    answer(worker, session, status, REASON_TOKEN)
    return GATE_ANSWERED


# ---- where it stands, and its parts ----


def shown_by(worker, gate):
    """The token's text; absent where there is none."""
    value: Span = Span(at=cython.NULL, size=0)
    at: uint32_t
    if gate.numbers[0]:
        return field_value(
            cython.cast(cython.ushort, gate.numbers[0]),
            worker.request,
            cython.address(gate.texts[2]),
            worker.scratch,
        )
    for at in range(worker.request.header_count):
        if worker.request.headers[at].known == HEADER_AUTHORIZATION:
            if value.at is not cython.NULL:
                return Span(at=cython.NULL, size=0)  # two: which one would the server believe?
            value = worker.request.headers[at].value
    if value.size < 8 or strncasecmp(value.at, b"bearer ", 7) != 0:
        return Span(at=cython.NULL, size=0)
    at = 7
    while at < value.size and value.at[at] == 32:
        at += 1
    return Span(at=value.at + at, size=value.size - at)


def taken_apart(shown, token):
    """header.payload.signature, each Base64 for URLs; the first two are objects."""
    one: cython.p_const_char
    two: cython.p_const_char
    last: Span
    if shown.size > TOKEN_MAX:
        return False
    one = cython.cast(cython.p_const_char, memchr(shown.at, 46, shown.size))
    if one is cython.NULL:
        return False
    last.size = shown.size - cython.cast(uint32_t, one + 1 - shown.at)
    two = cython.cast(cython.p_const_char, memchr(one + 1, 46, last.size))
    if two is cython.NULL:
        return False
    token.whole = shown[0]
    token.text = Span(at=shown.at, size=cython.cast(uint32_t, two - shown.at))
    token.used = 0
    last = Span(at=shown.at, size=cython.cast(uint32_t, one - shown.at))
    if not part(token, cython.address(last), cython.address(token.header)):
        return False
    last = Span(at=one + 1, size=cython.cast(uint32_t, two - one - 1))
    if not part(token, cython.address(last), cython.address(token.payload)):
        return False
    last = Span(at=two + 1, size=shown.size - token.text.size - 1)
    if not part(token, cython.address(last), cython.address(token.signature)):
        return False
    if token.header.size > HEADER_MAX:
        return False
    return is_object(cython.address(token.header)) and is_object(cython.address(token.payload))


def part(token, text, into):
    size: int32_t = base64_read(text, True, token.room + token.used, TOKEN_MAX)
    into[0] = Span(at=token.room + token.used, size=0)
    if size <= 0:
        return False
    into.size = size
    token.used += size
    return True


def is_object(text):
    """One object and nothing behind it, no name twice, none spelt with escapes."""
    keys = cython.declare(Span[MEMBERS_MAX])
    count: uint32_t = 0
    at: uint32_t
    escaped: cython.bint = False
    json: Json = Json(
        at=text.at,
        size=text.size,
        i=0,
        whole=True,
        depth=0,
        objects=0,
        room=cython.NULL,
        room_size=0,
    )
    skip_space(cython.address(json))
    if json.i >= json.size or json.at[json.i] != BRACE:
        return False
    json.i += 1
    skip_space(cython.address(json))
    if json.i < json.size and json.at[json.i] == BRACE_END:
        return ends(cython.address(json))
    while count < MEMBERS_MAX:
        if (
            skip_key(cython.address(json), cython.address(keys[count]), cython.address(escaped))
            != JSON_DONE
            or escaped
        ):
            return False
        for at in range(count):
            if keys[at].size == keys[count].size and (
                memcmp(keys[at].at, keys[count].at, keys[at].size) == 0
            ):
                return False
        count += 1
        if skip_value(cython.address(json)) != JSON_DONE:
            return False
        skip_space(cython.address(json))
        if json.i >= json.size:
            return False
        if json.at[json.i] == BRACE_END:
            return ends(cython.address(json))
        if json.at[json.i] != 44:  # a comma
            return False
        json.i += 1
    return False


def ends(json):
    json.i += 1
    skip_space(json)
    return json.i == json.size


# ---- the signature ----


def is_signed(worker, gate, token):
    tag = cython.declare(Tag)
    to: Output = Output(at=token.room + token.used, size=0, capacity=TOKEN_MAX + 64, full=0)
    tagged: cython.bint
    put_byte(cython.address(to), 84)
    put_span(cython.address(to), cython.address(gate.texts[0]))
    put_span(cython.address(to), cython.address(token.whole))
    tagged = not to.full and tag_of(cython.address(tag), to.at, to.size)
    if tagged and verified(cython.address(tag), worker.now_ms):
        return True
    if not signed_by_one(gate, token):
        return False
    if tagged:
        verified_keep(cython.address(tag), worker.now_ms + REMEMBER_MS)
    return True


def signed_by_one(gate, token):
    """The key that the token names; without a name, the first ones that its algorithm is for."""
    keys: cython.pointer[TokenKey] = cython.cast(cython.pointer[TokenKey], gate.own)
    name: Span
    at: uint32_t
    tried: uint32_t = 0
    algorithm: int32_t = algorithm_of(token)
    if algorithm < 0 or found(token, cython.address(token.header), b"/crit").at is not cython.NULL:
        return False
    name = found(token, cython.address(token.header), b"/kid")
    for at in range(cython.cast(uint32_t, gate.numbers[6])):
        if not keys[at].algorithms >> algorithm & 1 or tried == KEYS_TRIED_MAX:
            continue
        if name.at is not cython.NULL and keys[at].id.size:
            if not same_text(cython.address(name), cython.address(keys[at].id)):
                continue
        tried += 1
        if token_verify(
            cython.address(keys[at]),
            algorithm,
            cython.address(token.text),
            cython.address(token.signature),
        ):
            return True
    if tried == 0 and name.at is not cython.NULL:
        fetch_add(cython.address(UNKNOWN), 1)
    return False


def tokens_of_unknown_keys():
    return load_relaxed(cython.address(UNKNOWN))


def algorithm_of(token):
    at: int32_t
    name: Span = found(token, cython.address(token.header), b"/alg")
    for at in range(13):
        if is_text(cython.address(name), ALGORITHMS[at]):
            return at
    return -1


# ---- its claims ----


def judged(gate, token):
    """What is wrong with its claims; NULL: nothing."""
    now = cython.declare(timespec)
    clock_gettime(CLOCK_REALTIME, cython.address(now))
    leeway: int64_t = cython.cast(int64_t, gate.numbers[1])
    time: int64_t = number_of(token, b"/exp")
    issuers: uint32_t = cython.cast(uint32_t, gate.numbers[2])
    audiences: uint32_t = cython.cast(uint32_t, gate.numbers[3])
    if time < 0 or time + leeway <= now.tv_sec:
        return b"the token has expired"
    time = number_of(token, b"/nbf")
    if time >= 0 and time - leeway > now.tv_sec:
        return b"the token is not valid yet"
    if time == NOT_A_NUMBER:
        return b"the token is not valid yet"
    if number_of(token, b"/iat") == NOT_A_NUMBER:
        return b"the token was issued at no time"
    if issuers and not is_one_of(
        gate, FIRST_TEXT, issuers, found(token, cython.address(token.payload), b"/iss")
    ):
        return b"the token is of another issuer"
    if audiences and not audience_fits(gate, token, FIRST_TEXT + issuers, audiences):
        return b"the token is for another audience"
    return cython.NULL


def number_of(token, pointer):
    """Whole seconds; -1: there is no such claim, NOT_A_NUMBER: it is no time. A string is none,
    whatever stands in it (RFC 7519 2: a NumericDate is a JSON number)."""
    text: Span = found(token, cython.address(token.payload), pointer)
    number: int64_t = 0
    at: uint32_t
    if text.at is cython.NULL:
        return -1
    if is_string(token, cython.address(text)):
        return NOT_A_NUMBER
    for at in range(min(text.size, 16)):
        if text.at[at] == 46 and at:  # a fraction of a second
            return number
        if not 48 <= text.at[at] <= 57:
            return NOT_A_NUMBER
        number = number * 10 + text.at[at] - 48
    return NOT_A_NUMBER if text.size == 0 or text.size > 15 else number


def is_string(token, value):
    """Whether a value of the payload stood in quotes: a string is taken from between them, or was
    decoded into the room behind the parts."""
    if value.at <= token.payload.at or value.at >= token.payload.at + token.payload.size:
        return True
    return value.at[-1] == 34


def is_one_of(gate, first, count, value):
    at: uint32_t
    if value.at is cython.NULL:
        return False
    for at in range(first, first + count):
        if same_text(cython.address(value), cython.address(gate.texts[at])):
            return True
    return False


def audience_fits(gate, token, first, count):
    """`aud` is one name or a list of them."""
    at: uint32_t
    value: Span
    for at in range(ENTRIES_MAX):
        value = entry(token, b"/aud", 4, at)
        if value.at is cython.NULL:
            break
        if is_one_of(gate, first, count, value):
            return True
    return at == 0 and is_one_of(
        gate, first, count, found(token, cython.address(token.payload), b"/aud")
    )


def entry(token, pointer, size, number):
    """The value at pointer/number of the payload."""
    room = cython.declare(cython.char[512])
    to: Output = Output(at=cython.address(room[0]), size=0, capacity=512, full=0)
    where: Span = Span(at=pointer, size=size)
    put_span(cython.address(to), cython.address(where))
    put_byte(cython.address(to), 47)
    if number > 9:
        put_byte(cython.address(to), cython.cast(uint8_t, 48 + number // 10))
    put_byte(cython.address(to), cython.cast(uint8_t, 48 + number % 10))
    if to.full:  # else it would be the pointer to something else
        return Span(at=cython.NULL, size=0)
    where = Span(at=to.at, size=to.size)
    return found_at(token, cython.address(token.payload), cython.address(where))


def requirements_hold(gate, token):
    at: uint32_t
    row: uint32_t = FIRST_TEXT + cython.cast(uint32_t, gate.numbers[2] + gate.numbers[3])
    for at in range(cython.cast(uint32_t, gate.numbers[4])):
        if not requirement_holds(
            token,
            cython.address(gate.texts[row + 2 * at]),
            cython.address(gate.texts[row + 2 * at + 1]),
        ):
            return False
    return True


def requirement_holds(token, pointer, values):
    """One of the values (a zero behind each) is the claim, or stands in its list or scope."""
    at: uint32_t
    value: Span = found_at(token, cython.address(token.payload), pointer)
    if value.at is cython.NULL:
        return False
    if values.size == 0:
        return True
    if one_of(values, cython.address(value)) or words_hold(values, cython.address(value)):
        return True
    for at in range(ENTRIES_MAX):
        value = entry(token, pointer.at, pointer.size, at)
        if value.at is cython.NULL:
            return False
        if one_of(values, cython.address(value)):
            return True
    return False


def words_hold(values, text):
    """A scope is words with spaces between them (RFC 8693 4.2)."""
    start: uint32_t = 0
    at: uint32_t
    word: Span
    if text.size == 0 or text.at[0] == 91 or text.at[0] == 123:
        return False  # a list or an object, as it is written
    for at in range(text.size + 1):
        if at == text.size or text.at[at] == 32:
            word = Span(at=text.at + start, size=at - start)
            if word.size and one_of(values, cython.address(word)):
                return True
            start = at + 1
    return False


def one_of(values, text):
    start: uint32_t = 0
    at: uint32_t
    value: Span
    for at in range(values.size):
        if values.at[at] == 0:
            value = Span(at=values.at + start, size=at - start)
            if same_text(cython.address(value), text):
                return True
            start = at + 1
    return False


def tell_claims(worker, session, gate, token):
    """What fits a header; the server takes a claim that is not told for one that is not there."""
    at: uint32_t
    value: Span
    row: uint32_t = FIRST_TEXT + cython.cast(
        uint32_t, gate.numbers[2] + gate.numbers[3] + 2 * gate.numbers[4]
    )
    for at in range(cython.cast(uint32_t, gate.numbers[5])):
        value = found_at(
            token, cython.address(token.payload), cython.address(gate.texts[row + 2 * at])
        )
        if value.at is not cython.NULL and fits_header(cython.address(value)):
            gate_tell_span(
                worker, session, cython.address(gate.texts[row + 2 * at + 1]), cython.address(value)
            )


def fits_header(value):
    at: uint32_t
    byte: uint8_t
    for at in range(value.size):
        byte = cython.cast(uint8_t, value.at[at])
        if byte < 32 or byte == 127:
            return False
    return 0 < value.size <= CLAIM_MAX


# ---- looking into it ----


def found(token, text, pointer):
    where: Span = Span(at=pointer, size=cython.cast(uint32_t, strlen(pointer)))
    return found_at(token, text, cython.address(where))


def found_at(token, text, pointer):
    """It lives in the room behind the parts until the next look."""
    return json_find(text, True, pointer, token.room + ANYWHERE, TOKEN_MAX)


def same_text(one, other):
    return one.size == other.size and memcmp(one.at, other.at, one.size) == 0


def is_text(value, text):
    if value.at is cython.NULL or value.size != strlen(text):
        return False
    return memcmp(value.at, text, value.size) == 0
