"""Header actions, without ever holding a changed list of headers.

A list of set, add and remove in order looks as if it must be played on a copy of the headers. It
need not: a header of the message survives exactly when no action sets or removes its name, and a
line that an action writes survives exactly when no later action does. So the writer asks two
questions and copies nothing.

Laws: names know no case. What a client sends is gone too where it differs from the name by `_` for
`-` alone: a server that reads X_User as X-User must not be deceived. A value that comes out empty,
or that would hold a control character, is not sent at all: the old header is gone all the same, for
a filter that meant to replace it must never let it through.
"""

import cython
from cython.cimports.fourseven.l7.output import put as put_bytes
from cython.cimports.fourseven.l7.output import put_text, same_name, same_variable
from cython.cimports.fourseven.l7.templates import PLACE_HEADER, put_template
from cython.cimports.fourseven.snapshot.layout import (
    ACTION_ADD_HEADER,
    ACTION_REMOVE_HEADER,
    ACTION_SET_HEADER,
    Action,
)
from cython.cimports.libc.stdint import uint32_t, uint64_t


def edits_of(edits, actions, count):
    at: uint32_t
    one: uint64_t = 1
    edits.actions = actions
    edits.count = count
    edits.lengths = 0
    for at in range(count):
        if actions[at].kind in (ACTION_SET_HEADER, ACTION_REMOVE_HEADER):
            edits.lengths |= one << (actions[at].name.size & 63)


def edits_cover(edits, first, name):
    at: uint32_t
    action: cython.pointer[cython.const[Action]]
    if not edits.lengths >> (name.size & 63) & 1:
        return False
    for at in range(first, edits.count):
        action = cython.address(edits.actions[at])
        if action.kind in (ACTION_SET_HEADER, ACTION_REMOVE_HEADER):
            if same_name(cython.address(action.name), name):
                return True
    return False


def edits_cover_variable(edits, name):
    at: uint32_t
    action: cython.pointer[cython.const[Action]]
    if not edits.lengths >> (name.size & 63) & 1:
        return False
    for at in range(edits.count):
        action = cython.address(edits.actions[at])
        if action.kind in (ACTION_SET_HEADER, ACTION_REMOVE_HEADER):
            if same_variable(cython.address(action.name), name):
                return True
    return False


def put_edits(out, edits, values):
    at: uint32_t
    action: cython.pointer[cython.const[Action]]
    for at in range(edits.count):
        action = cython.address(edits.actions[at])
        if action.kind not in (ACTION_SET_HEADER, ACTION_ADD_HEADER):
            continue
        if not edits_cover(edits, at + 1, cython.address(action.name)):
            put_edit(out, cython.address(action.name), cython.address(action.value), values)


def put_edit(out, name, value, values):
    start: uint32_t = out.size
    begin: uint32_t
    put_bytes(out, name.at, name.size)
    put_text(out, b": ")
    begin = out.size
    if put_template(out, value, PLACE_HEADER, values) != 0 or (out.size == begin and not out.full):
        out.size = start
        return
    put_text(out, b"\r\n")
