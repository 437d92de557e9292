"""Path rewriting: from the canonical path to the one that the server gets.

A rewrite can make a path that we would never have let in: `/x../secret` is an honest path, but
with its prefix /x replaced by /files/ it becomes /files/../secret. So every new path goes through
the rules of the reader again: it starts with a slash, `//` is merged, needless %XX is decoded, and
what climbs (`.`, `..`, `..;a`) or hides a slash (%2F) is refused, not repaired: no honest request
needs it.

Laws: a prefix ends at a segment's end, so /videos never cuts /videosX. A rewrite whose prefix or
pattern does not fit leaves the path alone. Several rewrites follow each other, each on what the
one before left. The query is not touched here.
"""

import cython
from cython.cimports.fourseven.l7.output import Output, put, put_span
from cython.cimports.fourseven.l7.rewrite import REWRITE_REFUSED
from cython.cimports.fourseven.l7.templates import (
    PLACE_PATH,
    Values,
    is_unreserved,
    put_template,
    stands_in_url,
    values_of,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.layout import (
    ACTION_REWRITE_PATH,
    ACTION_REWRITE_PREFIX,
    ACTION_REWRITE_REGEX,
    RELAX_ENCODED_SLASH,
    RELAX_MERGE_SLASHES,
    Action,
)
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t
from cython.cimports.libc.string import memcmp, memmove


def put_path(out, request, context):
    values = cython.declare(Values)
    path: Span = request.path
    start: uint32_t = out.size
    from_: uint32_t
    at: uint32_t
    done: int32_t
    action: cython.pointer[cython.const[Action]]
    if context.route is cython.NULL or path.size == 0 or path.at[0] != 47:  # OPTIONS * stays
        put_span(out, cython.address(path))
        return 0
    values_of(cython.address(values), request, context)
    for at in range(context.route.request_action_count):
        action = cython.address(context.route.request_actions[at])
        if action.kind < ACTION_REWRITE_PREFIX or action.kind > ACTION_REWRITE_REGEX:
            continue
        from_ = out.size  # behind the path of the rewrite before, which this one reads
        done = put_rewrite(out, action, cython.address(path), cython.address(values))
        if done == 0:
            continue
        if out.full:
            return 0
        if done > 0:
            done = settle(out.at + from_, out.size - from_, context.listener.relax)
        if done < 0:
            return REWRITE_REFUSED
        memmove(out.at + start, out.at + from_, done)
        out.size = start + done
        path = Span(at=out.at + start, size=done)
    if out.size == start:
        put(out, path.at, path.size)
    return 0


def put_rewrite(out, action, path, values):
    if action.kind == ACTION_REWRITE_PREFIX:
        return put_prefix(out, action, path, values)
    if action.kind == ACTION_REWRITE_PATH:
        put_template(out, cython.address(action.value), PLACE_PATH, values)
        return 1
    return 0


def put_prefix(out, action, path, values):
    start: uint32_t = out.size
    rest: Span = rest_of(path, cython.address(action.name))
    if rest.at is cython.NULL:
        return 0
    put_template(out, cython.address(action.value), PLACE_PATH, values)
    if rest.size and out.size > start and out.at[out.size - 1] == 47:
        out.size -= 1  # the rest brings its own slash
    put(out, rest.at, rest.size)
    return 1


def rest_of(path, prefix):
    size: uint32_t = prefix.size
    none: Span = Span(at=cython.NULL, size=0)
    if size and prefix.at[size - 1] == 47:  # /videos/ and /videos are the same prefix
        size -= 1
    if path.size < size or (size and memcmp(path.at, prefix.at, size) != 0):
        return none
    if path.size > size and path.at[size] != 47:
        return none
    return Span(at=path.at + size, size=path.size - size)


def settle(at, size, relax):
    read: uint32_t = 0
    write: uint32_t = 0
    step: int32_t
    byte: uint8_t
    if size == 0 or at[0] != 47:
        return REWRITE_REFUSED
    while read < size:
        byte = at[read]
        if byte == 37:
            step = settle_escape(at + read, size - read, relax, at + write)
            if step < 0:
                return REWRITE_REFUSED
            read += 3
            write += step
            continue
        if not is_unreserved(byte) and not stands_in_url(byte, PLACE_PATH):
            return REWRITE_REFUSED
        if byte == 47 and ends_in_dots(at, write):
            return REWRITE_REFUSED
        read += 1
        if byte == 47 and write and at[write - 1] == 47 and not relax & RELAX_MERGE_SLASHES:
            continue
        at[write] = byte
        write += 1
    return REWRITE_REFUSED if ends_in_dots(at, write) else cython.cast(int32_t, write)


def settle_escape(at, size, relax, to):
    """One %XX: decoded where that changes nothing (1), kept in capitals (3), or refused."""
    high: int32_t
    low: int32_t
    byte: uint8_t
    hexadecimal: cython.p_const_char = b"0123456789ABCDEF"
    if size < 3:
        return REWRITE_REFUSED
    high = hex_value(at[1])
    low = hex_value(at[2])
    if high < 0 or low < 0:
        return REWRITE_REFUSED
    byte = high * 16 + low
    if is_unreserved(byte):
        to[0] = byte
        return 1
    if byte == 0 or ((byte == 47 or byte == 92) and not relax & RELAX_ENCODED_SLASH):
        return REWRITE_REFUSED
    to[0] = 37
    to[1] = hexadecimal[high]
    to[2] = hexadecimal[low]
    return 3


def ends_in_dots(at, size):
    """Is the last segment, without its parameters, one that climbs?"""
    start: uint32_t = size
    end: uint32_t
    while start and at[start - 1] != 47:
        start -= 1
    end = start
    while end < size and at[end] != 59:
        end += 1
    if end - start == 1:
        return at[start] == 46
    return end - start == 2 and at[start] == 46 and at[start + 1] == 46


def hex_value(byte):
    if byte >= 48 and byte <= 57:
        return byte - 48
    byte |= 32
    if byte >= 97 and byte <= 102:
        return byte - 87
    return -1
