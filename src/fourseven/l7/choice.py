"""Which server a try goes to: the client's own, or one by the algorithm, if it may be entered.

    the backend's circuit -> its limit -> the client's own server (persistence) -> the tier
    -> the algorithm -> the server's limits -> its circuit

Laws: limits hold exactly over all workers: a stream is counted first and compared after, and who
came too late takes it back and looks for another server. A server that may not be entered is not
asked of the algorithm again; when a few have said no, all are looked at in turn, so `Nobody` means
nobody.
"""

import cython
from cython.cimports.fourseven.balancing.picks.common import available
from cython.cimports.fourseven.balancing.request_key import hash_of
from cython.cimports.fourseven.l7.breaker import backend_lets, breaker_left, breaker_lets
from cython.cimports.fourseven.l7.choice import (
    FULL_BACKEND,
    FULL_SERVER,
    NOBODY_CONNECTED,
    NOBODY_FREE,
    NOBODY_MORE,
    NOBODY_TRUSTED,
    NOBODY_USABLE,
    NOBODY_WHOLE,
)
from cython.cimports.fourseven.l7.connect import connection_counted, connection_uncounted
from cython.cimports.fourseven.l7.persist import PERSIST_NONE, persist_find, persist_went
from cython.cimports.fourseven.l7.records import SESSION_ASIDE, Stream, http_of, slot_of
from cython.cimports.fourseven.native.atomics import (
    fetch_add_i64,
    load_i64,
    load_relaxed_u32,
)
from cython.cimports.fourseven.snapshot.layout import TRIED_MAX, Backend, Pick, Resilience, Slot
from cython.cimports.fourseven.worker.tiers import tier_of
from cython.cimports.fourseven.worker.tools import random_next
from cython.cimports.libc.stdint import int32_t, int64_t, uint32_t


def pick_server(worker, session):
    pick = cython.declare(Pick)
    stream: cython.pointer[Stream] = session.stream
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    number: int32_t
    before: int64_t
    at: uint32_t
    if rules is not cython.NULL:
        before = load_i64(cython.address(stream.backend.state.in_flight))
        if rules.requests_max and before >= rules.requests_max:
            return NOBODY_MORE
        if not backend_lets(worker, stream):
            return NOBODY_WHOLE
    pick.slots = worker.shared.slots
    pick.hash = hash_of(stream.backend, worker.request, worker.scratch)
    pick.now_ns = worker.now_ns
    pick.tried_count = stream.tried_count
    for at in range(stream.tried_count):
        pick.tried[at] = stream.tried[at]
    number = find_server(worker, session, cython.address(pick))
    if number == NOBODY_USABLE and stream.tried_count and rules is not cython.NULL:
        if rules.retry_same and session.state != SESSION_ASIDE:
            pick.tried_count = 0
            number = find_server(worker, session, cython.address(pick))
    if number < 0:
        if stream.probe:
            breaker_left(worker, stream)
        return number
    stream.slot = number
    stream.backed = 1
    stream.picked_ns = worker.now_ns
    stream.in_flight = 1
    stream.backend_state = stream.backend.state
    before = fetch_add_i64(cython.address(stream.backend_state.in_flight), 1)
    if rules is not cython.NULL and rules.requests_max and before >= rules.requests_max:
        return NOBODY_MORE  # another worker was quicker; the caller leaves the server
    if stream.backend.persistence is not cython.NULL:
        persist_went(worker, session)
    return number


def find_server(worker, session, pick):
    """A server that this stream has entered, or a Nobody."""
    stream: cython.pointer[Stream] = session.stream
    number: int32_t
    stream.seen_full = 0
    stream.seen_open = 0
    while True:
        number = next_server(worker, session, pick)
        if number < 0 or enter(worker, stream, number):
            return number
        if pick.tried_count == TRIED_MAX:
            return search(worker, stream, stream.backend, pick)
        pick.tried[pick.tried_count] = number
        pick.tried_count += 1


def next_server(worker, session, pick):
    """Whom to try to enter: the client's own server, or whom the algorithm picks."""
    stream: cython.pointer[Stream] = session.stream
    backend: cython.pointer[cython.const[Backend]] = stream.backend
    number: int32_t
    if backend.persistence is not cython.NULL:
        number = persist_find(worker, session, pick)
        if number != PERSIST_NONE:
            return number
    pick.random = random_next(worker)
    if backend.tier_count:
        backend = tier_of(backend, worker, pick, stream.tried_count)
    number = backend.pick(backend, pick)
    return number if number >= 0 else nobody(worker, stream, backend)


def search(worker, stream, backend, pick):
    """The picks of the algorithm could not be entered: all others in turn, from anywhere."""
    at: uint32_t
    i: uint32_t
    if backend.tier_count:
        backend = tier_of(backend, worker, pick, stream.tried_count)
    start: uint32_t = cython.cast(uint32_t, pick.random >> 32)
    for i in range(backend.server_count):
        at = (start + i) % backend.server_count
        if available(backend, pick, at) and enter(worker, stream, backend.slots[at]):
            return cython.cast(int32_t, backend.slots[at])
    return nobody(worker, stream, backend)


def nobody(worker, stream, backend):
    """Why there is none: somebody who is usable is full, or broken, or there is nobody at all."""
    at: uint32_t
    most: uint32_t
    if stream.seen_full:
        return NOBODY_CONNECTED if stream.seen_full & FULL_BACKEND else NOBODY_FREE
    for at in range(backend.server_count):
        slot = slot_of(worker, backend.slots[at])
        most = load_relaxed_u32(cython.address(slot.max_in_flight))
        if backend.weights[at] == 0 or most == 0:
            continue
        if load_relaxed_u32(cython.address(slot.usable)) and load_i64(
            cython.address(slot.in_flight)
        ) >= cython.cast(int64_t, most):
            return NOBODY_FREE
    return NOBODY_TRUSTED if stream.seen_open else NOBODY_USABLE


def enter(worker, stream, number):
    """Counts the stream at this server, if its circuit and its limits let it in."""
    slot: cython.pointer[Slot] = slot_of(worker, number)
    before: int64_t = fetch_add_i64(cython.address(slot.in_flight), 1)
    most: uint32_t = load_relaxed_u32(cython.address(slot.max_in_flight))
    if most and before >= most:
        stream.seen_full |= FULL_SERVER
    elif stream.backend.resilience is cython.NULL:
        if load_relaxed_u32(cython.address(slot.connections_max)) == 0 or connection_at_hand(
            worker, stream, number
        ):
            return True
    elif (
        load_relaxed_u32(cython.address(slot.connections_max)) == 0
        and stream.backend.resilience.connections_max == 0
    ) or connection_at_hand(worker, stream, number):
        if breaker_lets(worker, stream, slot):
            return True
    if stream.reserved:
        connection_uncounted(worker, number, stream.reserved)
        stream.reserved = 0
    fetch_add_i64(cython.address(slot.in_flight), -1)
    return False


def connection_at_hand(worker, stream, number):
    """One that is idle here, or leave to make another: the count is taken before it is made."""
    if http_of(worker).idle[number] is not cython.NULL and not stream.backend.proxy_protocol:
        return True
    stream.reserved = connection_counted(worker, stream, number)
    return stream.reserved != 0


def another_server(worker, stream):
    pick = cython.declare(Pick)
    at: uint32_t
    backend: cython.pointer[cython.const[Backend]] = stream.backend
    pick.slots = worker.shared.slots
    pick.tried_count = stream.tried_count
    for at in range(stream.tried_count):
        pick.tried[at] = stream.tried[at]
    if backend.resilience is not cython.NULL and backend.resilience.retry_same:
        return True
    for at in range(backend.server_count):
        if backend.slots[at] != stream.slot and available(backend, cython.address(pick), at):
            return True
    return False
