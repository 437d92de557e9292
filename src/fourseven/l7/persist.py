"""A client's own server: found by its cookie, its header or its address, and told to it.

A cookie of ours carries the server's name, so nothing is kept here. All else is looked up in the
table (persistence.table), by a hash of the value.

    known and takes work, or drains    it goes there
    known and at its limit             fallback; with rebalance it keeps its server
    known and down, or gone            fallback; with rebalance it belongs to another from now on
    not known                          balanced, and told with the answer

Laws: what a client shows is believed only if it is a server's whole name, so it can lead to a
server of this backend and to nothing else. A server in maintenance takes nobody.
"""

import cython
from cython.cimports.fourseven.balancing.key import hash_address
from cython.cimports.fourseven.l7.choice import NOBODY_ELSE, NOBODY_YET
from cython.cimports.fourseven.l7.gates import gate_say
from cython.cimports.fourseven.l7.persist import (
    BELONGS_ELSEWHERE,
    BELONGS_HERE,
    BELONGS_NOWHERE,
    BELONGS_RENEWED,
    COOKIE_SIZE,
    PERSIST_NONE,
)
from cython.cimports.fourseven.l7.records import Stream, slot_of
from cython.cimports.fourseven.matching.fields import same_name
from cython.cimports.fourseven.matching.records import FIELD_CLIENT
from cython.cimports.fourseven.matching.table import field_value
from cython.cimports.fourseven.native.atomics import count, load_i64, load_relaxed_u32
from cython.cimports.fourseven.persistence.table import name_find, table_find, table_put
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.hashing import hash_bytes
from cython.cimports.fourseven.snapshot.layout import (
    FALLBACK_REBALANCE,
    FALLBACK_WAIT,
    PERSIST_COOKIE,
    PERSIST_LEARNT,
    PERSIST_SESSION,
    PERSIST_TABLE,
    Backend,
    Persistence,
    ServerName,
)
from cython.cimports.libc.stdint import int32_t, int64_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcmp, memcpy

# ---- on the way there ----


def persist_find(worker, session, pick):
    stream: cython.pointer[Stream] = session.stream
    backend: cython.pointer[cython.const[Backend]] = stream.backend
    persistence: cython.pointer[cython.const[Persistence]] = backend.persistence
    at: int32_t
    number: uint32_t
    i: uint32_t
    stream.belongs = BELONGS_NOWHERE
    stream.client_secure = worker.request.secure
    at = known(worker, session, persistence)
    if at < 0 or cython.cast(uint32_t, at) >= backend.server_count:
        return PERSIST_NONE
    number = backend.slots[at]
    slot = slot_of(worker, number)
    for i in range(pick.tried_count):
        if pick.tried[i] == number:  # it failed this request, or could not be entered just now
            return without(worker, session, persistence, i >= stream.tried_count)
    if not load_relaxed_u32(cython.address(slot.usable)) and not load_relaxed_u32(
        cython.address(slot.persists)
    ):
        return without(worker, session, persistence, False)
    most: uint32_t = load_relaxed_u32(cython.address(slot.max_in_flight))
    if most and load_i64(cython.address(slot.in_flight)) >= cython.cast(int64_t, most):
        stream.seen_full = 1
        return without(worker, session, persistence, True)
    if stream.belongs == BELONGS_NOWHERE:
        stream.belongs = BELONGS_HERE
    return cython.cast(int32_t, number)


def known(worker, session, persistence):
    """The index of the server that this client belongs to, or -1; and the client's key."""
    stream: cython.pointer[Stream] = session.stream
    value = cython.declare(Span)
    first: uint64_t = 0
    second: uint64_t = 0
    name: cython.pointer[cython.const[ServerName]]
    stream.client_key = 0
    if persistence.kind == PERSIST_SESSION:  # TLS that ends here has no server's session
        return -1
    if persistence.field == FIELD_CLIENT:
        stream.client_key = hash_address(
            worker.request.client.bytes, persistence.prefix_v4, persistence.prefix_v6
        )
    else:
        value = field_value(
            persistence.field, worker.request, cython.address(persistence.name), worker.scratch
        )
        if value.at is cython.NULL or value.size == 0:
            return -1
        if persistence.kind == PERSIST_COOKIE:
            if not read_name(cython.address(value), cython.address(first), cython.address(second)):
                return -1
            name = name_find(persistence, first, second, True)
            if name is cython.NULL:
                return -1
            if name.old:
                stream.belongs = BELONGS_RENEWED
            return name.at
        stream.client_key = hash_bytes(value.at, value.size)
    stream.client_key |= 1  # 0 is an empty row
    return table_find(persistence, stream.client_key, worker.now_ms)


def without(worker, session, persistence, full):
    """The client's own server is known and cannot be had."""
    stream: cython.pointer[Stream] = session.stream
    if persistence.fallback == FALLBACK_REBALANCE:
        stream.belongs = BELONGS_ELSEWHERE if full else BELONGS_NOWHERE
        if not full and not stream.moved:
            stream.moved = 1
            count(cython.address(worker.backend_counters[stream.backend_number].persisted_moved), 1)
        return PERSIST_NONE
    stream.belongs = BELONGS_HERE
    if persistence.fallback == FALLBACK_WAIT and not stream.tries:
        return NOBODY_YET
    return NOBODY_ELSE


def read_name(text, first, second):
    """16 bytes from 32 hexadecimal digits, in lower case as we write them."""
    at: uint32_t
    digit: uint64_t
    sign: cython.char
    if text.size != COOKIE_SIZE:
        return False
    for at in range(cython.cast(uint32_t, COOKIE_SIZE)):
        sign = text.at[at]
        if 48 <= sign <= 57:
            digit = cython.cast(uint64_t, sign - 48)
        elif 97 <= sign <= 102:
            digit = cython.cast(uint64_t, sign - 87)
        else:
            return False
        if at < COOKIE_SIZE // 2:
            first[0] = (first[0] << 4) | digit
        else:
            second[0] = (second[0] << 4) | digit
    return True


def persist_went(worker, session):
    stream: cython.pointer[Stream] = session.stream
    counters = cython.address(worker.backend_counters[stream.backend_number])
    persistence: cython.pointer[cython.const[Persistence]] = stream.backend.persistence
    at: int32_t
    if stream.belongs == BELONGS_HERE or stream.belongs == BELONGS_RENEWED:
        count(cython.address(counters.persisted), 1)
        return
    if stream.belongs == BELONGS_ELSEWHERE:
        return
    if persistence.kind == PERSIST_LEARNT:
        if not stream.moved:
            return  # only an answer binds
    elif persistence.kind == PERSIST_COOKIE or not stream.client_key:
        return
    at = index_of(stream.backend, stream.slot)
    if at >= 0:
        count(cython.address(counters.persisted_new), 1)
        table_put(persistence, stream.client_key, cython.cast(uint32_t, at), worker.now_ms)


def index_of(backend, slot):
    at: uint32_t
    for at in range(backend.server_count):
        if backend.slots[at] == slot:
            return cython.cast(int32_t, at)
    return -1


# ---- on the way back ----


def persist_answer(worker, session):
    stream: cython.pointer[Stream] = session.stream
    kind: uint32_t = stream.backend.persistence.kind
    at: int32_t
    if kind == PERSIST_TABLE or kind == PERSIST_SESSION:
        return
    if kind == PERSIST_COOKIE and (
        stream.belongs == BELONGS_HERE or stream.belongs == BELONGS_ELSEWHERE
    ):
        return
    at = index_of(stream.backend, stream.slot)
    if at < 0:
        return
    if kind == PERSIST_COOKIE:
        give_cookie(worker, session, cython.cast(uint32_t, at))
    else:
        learn(worker, session, cython.cast(uint32_t, at))


def give_cookie(worker, session, at):
    stream: cython.pointer[Stream] = session.stream
    persistence: cython.pointer[cython.const[Persistence]] = stream.backend.persistence
    line = cython.declare(cython.char[1024])
    size: uint32_t = persistence.name.size
    secure: cython.bint = persistence.secure == 2
    if size + persistence.attributes.size + COOKIE_SIZE + 16 > 1024:
        return
    if persistence.secure == 1:
        secure = stream.client_secure
    memcpy(cython.address(line[0]), persistence.name.at, size)
    line[size] = b"="
    size += 1
    size += put_hex(cython.address(line[size]), persistence.given[at].first)
    size += put_hex(cython.address(line[size]), persistence.given[at].second)
    memcpy(cython.address(line[size]), persistence.attributes.at, persistence.attributes.size)
    size += persistence.attributes.size
    if secure:
        memcpy(cython.address(line[size]), b"; Secure", 8)
        size += 8
    if gate_say(worker, session, b"Set-Cookie", cython.address(line[0]), size):
        count(cython.address(worker.backend_counters[stream.backend_number].persisted_new), 1)


def put_hex(to, number):
    at: uint32_t
    digit: uint64_t
    for at in range(16):
        digit = (number >> (60 - 4 * at)) & 15
        to[at] = cython.cast(cython.char, digit + (48 if digit < 10 else 87))
    return 16


def learn(worker, session, at):
    """Each cookie of the learnt name that the server sets belongs to the server."""
    stream: cython.pointer[Stream] = session.stream
    persistence: cython.pointer[cython.const[Persistence]] = stream.backend.persistence
    header: Span = Span(at=b"set-cookie", size=10)
    value = cython.declare(Span)
    i: uint32_t
    for i in range(worker.response.header_count):
        line = cython.address(worker.response.headers[i])
        if not same_name(cython.address(line.name), cython.address(header)):
            continue
        value = cookie_value(cython.address(line.value), cython.address(persistence.name))
        if value.size:
            count(cython.address(worker.backend_counters[stream.backend_number].persisted_new), 1)
            table_put(persistence, hash_bytes(value.at, value.size) | 1, at, worker.now_ms)


def cookie_value(line, name):
    """Of `name=value; attributes`, as a client will send it back; empty where it is another's."""
    start: uint32_t = name.size + 1
    end: uint32_t = start
    if line.size <= start or line.at[name.size] != b"=":
        return Span(at=cython.NULL, size=0)
    if memcmp(line.at, name.at, name.size) != 0:
        return Span(at=cython.NULL, size=0)
    while end < line.size and line.at[end] != b";":
        end += 1
    while end > start and (line.at[end - 1] == b" " or line.at[end - 1] == b"\t"):
        end -= 1
    while start < end and (line.at[start] == b" " or line.at[start] == b"\t"):
        start += 1
    if end >= start + 2 and line.at[start] == b'"' and line.at[end - 1] == b'"':
        start += 1  # as the reader of requests does (matching.cookies)
        end -= 1
    return Span(at=line.at + start, size=end - start)
