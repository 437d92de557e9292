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
from cython.cimports.fourseven.l7.output import put, put_span
from cython.cimports.fourseven.l7.rewrite import REWRITE_REFUSED
from cython.cimports.fourseven.l7.templates import (
    GROUPS_MAX,
    PLACE_PATH,
    Values,
    put_template,
    values_of,
)
from cython.cimports.fourseven.matching.regex import regex_find, regex_group
from cython.cimports.fourseven.native.linux import check
from cython.cimports.fourseven.protocols.canonical import SEGMENT_HERE, put_escape, segment_kind
from cython.cimports.fourseven.protocols.grammar import PLAIN, class_of
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.layout import (
    ACTION_REWRITE_PATH,
    ACTION_REWRITE_PREFIX,
    ACTION_REWRITE_REGEX,
    RELAX_MERGE_SLASHES,
    Action,
)
from cython.cimports.libc.stdint import int32_t, uint32_t
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
    return put_regex(out, action, path, values)


def put_regex(out, action, path, values):
    """The part that matches is replaced, what stands before and behind it stays."""
    found: int32_t
    at: int32_t
    whole: Span
    check(values.context.scratch is not cython.NULL and action.regex is not cython.NULL)
    found = regex_find(action.regex, path, values.context.scratch)
    if found == 0:
        return 0
    for at in range(GROUPS_MAX):
        values.groups[at] = Span(at=cython.NULL, size=0)
        if at < found:
            values.groups[at] = regex_group(path, at, values.context.scratch)
    values.group_count = found
    whole = values.groups[0]
    if whole.at is cython.NULL:
        return 0
    put(out, path.at, cython.cast(uint32_t, whole.at - path.at))
    put_template(out, cython.address(action.value), PLACE_PATH, values)
    put(
        out,
        whole.at + whole.size,
        cython.cast(uint32_t, path.at + path.size - whole.at - whole.size),
    )
    values.group_count = 0
    return 1


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
    start: uint32_t = 0  # of the current segment
    step: int32_t
    slash: cython.bint
    if size == 0 or at[0] != b"/":
        return REWRITE_REFUSED
    while read < size:
        if at[read] == b"%":
            step = put_escape(at + read, size - read, at + write, relax)
            if step < 0:
                return REWRITE_REFUSED
            read += 3
            write += step
            continue
        if not class_of(at[read]) & PLAIN:
            return REWRITE_REFUSED
        slash = at[read] == b"/"
        if slash and climbs(at + start, write - start):
            return REWRITE_REFUSED
        read += 1
        if slash and write and start == write and not relax & RELAX_MERGE_SLASHES:
            continue
        at[write] = at[read - 1]
        write += 1
        if slash:
            start = write
    return REWRITE_REFUSED if climbs(at + start, write - start) else cython.cast(int32_t, write)


def climbs(at, size):
    return segment_kind(at, size) >= SEGMENT_HERE
