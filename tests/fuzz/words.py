"""What is fuzzed of single headers: Accept-Encoding, and what servers say of their load.

Laws: a list that is cut at a comma is read as if it came in two headers; what is chosen is what the
client likes best, and never what it refused; a weight is taken if and only if the grammar has it
(which is written here a second time, as plainly as can be). A load is a number that the C library
reads alike, and it is the same in every form that carries it; whatever is read, nothing beside it.

The first byte of an input chooses the order of the server, or the form of the report.
"""

import cython
from cython.cimports.fourseven.l7.load import LOAD_BAD, LOAD_MAX, LOAD_WHOLE, ORCA_BINARY, load_read
from cython.cimports.fourseven.native.linux import check
from cython.cimports.fourseven.protocols.accept_encoding import (
    WEIGHT_NONE,
    WEIGHT_ONE,
    Accepted,
    accept_begin,
    accept_choose,
    accept_read,
    accept_weight,
)
from cython.cimports.fourseven.protocols.coding import (
    CODING_BROTLI,
    CODING_GZIP,
    CODING_NONE,
    CODING_ZSTD,
    CODINGS,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.layout import LOAD_ORCA, LOAD_X
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memchr, memcmp, memcpy, strlen
from cython.cimports.words import strtod

BLANKS = cython.declare(cython.p_const_char, b" \t")


# ---- Accept-Encoding ----


def accept(data, size):
    """Whole and in two headers; then each item alone, against the grammar."""
    whole = cython.declare(Accepted)
    parts = cython.declare(Accepted)
    order = cython.declare(uint8_t[3])
    first: cython.uchar
    cut: uint32_t
    at: cython.p_char
    if size < 2:
        return
    first = cython.cast(cython.uchar, data[0])
    order[0] = first & 3
    order[1] = (first >> 2) & 3
    order[2] = (first >> 4) & 3
    size -= 1
    at = cython.cast(cython.p_char, malloc(size))
    memcpy(at, data + 1, size)
    accept_begin(cython.address(whole))
    check(accept_choose(cython.address(whole), 0x030201) == CODING_NONE)  # no header
    accept_read(cython.address(whole), at, size)
    for cut in range(size):
        if at[cut] != b",":
            continue
        accept_begin(cython.address(parts))
        accept_read(cython.address(parts), at, cut)
        accept_read(cython.address(parts), at + cut + 1, size - cut - 1)
        check(memcmp(parts.weights, whole.weights, cython.sizeof(whole.weights)) == 0)
        check(parts.others == whole.others and parts.named == 1)
        break
    check_chosen(cython.address(whole), order)
    check_weights(at, size)
    free(at)


def check_chosen(accepted, order):
    """None of the order is liked better, none of an equal weight stands before it."""
    packed: uint64_t = order[0] | (order[1] << 8) | (order[2] << 16)
    chosen: uint8_t = accept_choose(accepted, packed)
    weight: int32_t
    least: int32_t = max(accepted.weights[cython.cast(cython.int, CODING_NONE)], 0)
    before: cython.bint = True
    i: cython.int
    if chosen != CODING_NONE:
        least = accept_weight(accepted, chosen)
        check(least > 0 and least >= accepted.weights[cython.cast(cython.int, CODING_NONE)])
        check(chosen == order[0] or chosen == order[1] or chosen == order[2])
    for i in range(3):
        if order[i] == CODING_NONE:
            break  # 0 ends the order
        weight = accept_weight(accepted, order[i])
        if order[i] == chosen:
            before = False
        if chosen == CODING_NONE:
            check(weight <= 0 or weight < least)
        else:
            check(weight <= least and (weight < least or not before))


def check_weights(at, size):
    start: uint32_t = 0
    end: uint32_t
    while start < size:
        end = start
        while end < size and at[end] != b",":
            end += 1
        check_item(at + start, end - start)
        start = end + 1


def check_item(at, size):
    """One item: `name` or `name ; q=weight`, whose weight is 0, 1 or has three digits at most."""
    one = cython.declare(Accepted)
    weights = cython.declare(int32_t[5])
    i: cython.int
    for i in range(5):
        weights[i] = WEIGHT_NONE
    said(at, size, b"identity", cython.address(weights[0]))
    if not said(at, size, b"gzip", cython.address(weights[cython.cast(cython.int, CODING_GZIP)])):
        said(at, size, b"x-gzip", cython.address(weights[cython.cast(cython.int, CODING_GZIP)]))
    said(at, size, b"br", cython.address(weights[cython.cast(cython.int, CODING_BROTLI)]))
    said(at, size, b"zstd", cython.address(weights[cython.cast(cython.int, CODING_ZSTD)]))
    said(at, size, b"*", cython.address(weights[4]))
    accept_begin(cython.address(one))
    accept_read(cython.address(one), at, size)
    for i in range(cython.cast(cython.int, CODINGS)):
        check(one.weights[i] == weights[i])
    check(one.others == weights[4])


def said(at, size, name, weight):
    """Reads along: blanks, the name, blanks, `;`, blanks, `q=`, a weight, blanks."""
    i: uint32_t = 0
    j: uint32_t = 0
    scale: int32_t = 1000
    value: int32_t
    while i < size and memchr(BLANKS, at[i], 2) is not cython.NULL:
        i += 1
    while j < strlen(name):
        if i == size or (at[i] != name[j] and (name[j] < b"a" or (at[i] | 32) != name[j])):
            return False
        i += 1
        j += 1
    while i < size and memchr(BLANKS, at[i], 2) is not cython.NULL:
        i += 1
    if i == size:
        weight[0] = WEIGHT_ONE
        return True
    if at[i] != b";":
        return False
    i += 1
    while i < size and memchr(BLANKS, at[i], 2) is not cython.NULL:
        i += 1
    while size > i and memchr(BLANKS, at[size - 1], 2) is not cython.NULL:
        size -= 1
    if size - i < 3 or size - i > 7 or (at[i] | 32) != b"q" or at[i + 1] != b"=":
        return False
    if size - i > 3 and at[i + 3] != b".":
        return False
    if at[i + 2] != b"0" and at[i + 2] != b"1":
        return False
    value = (at[i + 2] - 48) * 1000
    for j in range(i + 4, size):
        if at[j] < 48 or at[j] > 57:
            return False
        scale //= 10
        value += (at[j] - 48) * scale
    if value > WEIGHT_ONE:
        return False
    weight[0] = value
    return True


# ---- loads ----


def load(data, size):
    """As it came, in the form that the first byte says; and as a number, in each of them."""
    value = cython.declare(Span)
    at: cython.p_char
    found: int32_t
    word: uint32_t
    if size < 2:
        return
    size -= 1
    at = cython.cast(cython.p_char, malloc(size))
    memcpy(at, data + 1, size)
    value = Span(at=at, size=size)
    word = LOAD_ORCA if data[0] & 1 else ORCA_BINARY if data[0] & 4 else LOAD_X
    found = load_read(cython.address(value), word)
    check(found >= LOAD_BAD and found <= LOAD_MAX)
    if data[0] & 2:
        check_number(at, size)
    free(at)


def check_number(at, size):
    """Taken if and only if it is a decimal number; and then its value is that of the C library."""
    text = cython.declare(cython.char[257])
    seen: cython.double
    most: cython.double = LOAD_MAX
    plain: int32_t
    if size > 256:
        return
    plain = read(b"", at, size, b"", LOAD_X)
    if at[size - 1] == b"%":
        return
    check((plain != LOAD_BAD) == is_number(at, size))
    if memchr(at, b",", size) is cython.NULL:
        check(plain == read(b"TEXT cpu_utilization=", at, size, b"", LOAD_ORCA))
        check(plain == read(b"TEXT x=1,cpu_utilization=", at, size, b",y=1", LOAD_ORCA))
    if plain == LOAD_BAD:
        return
    memcpy(text, at, size)
    text[size] = 0
    seen = strtod(text, cython.NULL) * LOAD_WHOLE
    if seen > most:
        seen = most
    check(plain <= seen + 1e-3 and plain + 1 >= seen - 1e-3)
    if at[0] > b"0" and size <= 48 and not bare_point(at, size):
        check(plain == read(b'JSON {"cpu_utilization": ', at, size, b"}", LOAD_ORCA))


def bare_point(at, size):
    """`1.` and `1.e5` are no numbers of JSON."""
    whole: uint32_t = digits(at, size)
    return whole < size and at[whole] == b"." and digits(at + whole + 1, size - whole - 1) == 0


def is_number(at, size):
    """digits [. digits] [e [sign] digits], with a digit before the e."""
    whole: uint32_t = digits(at, size)
    part: uint32_t = 0
    i: uint32_t = whole
    if i < size and at[i] == b".":
        part = digits(at + i + 1, size - i - 1)
        i += 1 + part
    if whole + part == 0:
        return False
    if i < size and (at[i] == b"e" or at[i] == b"E"):
        i += 1
        if i < size and (at[i] == b"+" or at[i] == b"-"):
            i += 1
        part = digits(at + i, size - i)
        if part == 0:
            return False
        i += part
    return i == size


def digits(at, size):
    found: uint32_t = 0
    while found < size and at[found] >= b"0" and at[found] <= b"9":
        found += 1
    return found


def read(before, at, size, behind, word):
    """A report made of three parts, in memory of just its size."""
    first: uint32_t = cython.cast(uint32_t, strlen(before))
    last: uint32_t = cython.cast(uint32_t, strlen(behind))
    whole: cython.p_char = cython.cast(cython.p_char, malloc(first + size + last))
    value = cython.declare(Span)
    found: int32_t
    memcpy(whole, before, first)
    memcpy(whole + first, at, size)
    memcpy(whole + first + size, behind, last)
    value = Span(at=whole, size=first + size + last)
    found = load_read(cython.address(value), word)
    free(whole)
    return found
