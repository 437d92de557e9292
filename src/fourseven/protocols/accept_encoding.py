"""Accept-Encoding (RFC 9110 12.5.3): which coding of an answer does this client like best?

    gzip;q=0.8, br, *;q=0

Each coding has a weight: its own, or that of `*` where it is not named. The greatest wins; among
equals, which is what browsers send, the order of the server does. `identity` with more weight than
any coding means: leave it as it is; and so does a header that is absent or empty.

Laws: a weight is 0, 1, or a fraction with at most three digits. An item that is none (`gzip;q=9`,
`q=0.12345`, other parameters) is as if it were not there. One pass, no memory: a thousand items
cost what their bytes cost. Where a coding is named twice the last one counts. `x-gzip` is gzip
(8.4.1.3).
"""

import cython
from cython.cimports.fourseven.protocols.accept_encoding import (
    ITEM_BAD,
    WEIGHT_NONE,
    WEIGHT_ONE,
)
from cython.cimports.fourseven.protocols.coding import (
    CODING_BROTLI,
    CODING_GZIP,
    CODING_NONE,
    CODING_ZSTD,
    CODINGS,
)
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t
from cython.cimports.posix.strings import strncasecmp

ANY = cython.declare(int32_t, CODINGS)


def accept_begin(accepted):
    at: cython.int
    for at in range(cython.cast(cython.int, CODINGS)):
        accepted.weights[at] = WEIGHT_NONE
    accepted.others = WEIGHT_NONE
    accepted.named = 0


def accept_read(accepted, at, size):
    start: uint32_t = 0
    end: uint32_t
    accepted.named = 1
    while start < size:
        end = start
        while end < size and at[end] != 44:
            end += 1
        accept_item(accepted, at + start, end - start)
        start = end + 1


def accept_item(accepted, at, size):
    start: uint32_t = skip_blank(at, 0, size)
    end: uint32_t = start
    coding: int32_t
    weight: int32_t
    while end < size and at[end] != 59 and at[end] != 32 and at[end] != 9:
        end += 1
    coding = coding_named(at + start, end - start)
    if coding < 0:
        return
    weight = weight_of(at + end, size - end)
    if weight == ITEM_BAD:
        return
    if coding == ANY:
        accepted.others = weight
    else:
        accepted.weights[coding] = weight


def coding_named(at, size):
    """A Coding, ANY, or -1."""
    if size == 4 and strncasecmp(at, b"gzip", 4) == 0:
        return CODING_GZIP
    if size == 2 and strncasecmp(at, b"br", 2) == 0:
        return CODING_BROTLI
    if size == 4 and strncasecmp(at, b"zstd", 4) == 0:
        return CODING_ZSTD
    if size == 1 and at[0] == 42:
        return ANY
    if size == 8 and strncasecmp(at, b"identity", 8) == 0:
        return CODING_NONE
    if size == 6 and strncasecmp(at, b"x-gzip", 6) == 0:
        return CODING_GZIP
    return -1


def weight_of(at, size):
    start: uint32_t = skip_blank(at, 0, size)
    if start == size:
        return WEIGHT_ONE
    if at[start] != 59:
        return ITEM_BAD
    start = skip_blank(at, start + 1, size)
    if size - start < 3 or (at[start] | 32) != 113 or at[start + 1] != 61:
        return ITEM_BAD
    while at[size - 1] == 32 or at[size - 1] == 9:
        size -= 1
    return quality(at + start + 2, size - start - 2)


def quality(at, size):
    """0, 0.5, 1.000: in thousandths."""
    value: int32_t = 0
    scale: int32_t = 1000
    i: uint32_t
    if size < 1 or size > 5 or (at[0] != 48 and at[0] != 49):
        return ITEM_BAD
    if size > 1 and at[1] != 46:
        return ITEM_BAD
    value = (at[0] - 48) * scale
    for i in range(2, size):
        if at[i] < 48 or at[i] > 57:
            return ITEM_BAD
        scale //= 10
        value += (at[i] - 48) * scale
    return value if value <= WEIGHT_ONE else cython.cast(int32_t, ITEM_BAD)


def skip_blank(at, start, size):
    while start < size and (at[start] == 32 or at[start] == 9):
        start += 1
    return start


def accept_weight(accepted, coding):
    own: int32_t = accepted.weights[coding]
    return own if own != WEIGHT_NONE else accepted.others


def accept_choose(accepted, order):
    best: uint8_t = CODING_NONE
    weight: int32_t
    # Unnamed, identity is always acceptable, and never better than what is named.
    most: int32_t = max(accepted.weights[cython.cast(cython.int, CODING_NONE)], 0)
    coding: uint8_t
    strict: cython.bint = most == 0
    if not accepted.named:
        return CODING_NONE
    while order:
        coding = order & 255
        order >>= 8
        if coding == CODING_NONE or coding >= CODINGS:
            continue
        weight = accept_weight(accepted, coding)
        # As good as identity is good enough: who names a coding wants fewer bytes.
        if weight > most or (weight == most and best == CODING_NONE and not strict):
            best = coding
            most = weight
    return best
