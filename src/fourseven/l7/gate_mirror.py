"""The gate of mirrors: a copy of a share of the requests goes to another backend.

To see how a new version does with real requests, while nobody depends on it. The gate only draws;
the copy is made when the request has gone to its own server whole, from the bytes that stand there
(`copied`). So what was refused on the way is not copied, and what is copied has passed all filters.
By a key the draw is a hash: the same client (header, path) is always copied, or never.

Laws: the client's request never waits for a copy, and no figure of its route or backend changes.
A copy costs one buffer and one record until its answer has come, is thrown away and counted; there
are at most so many at once, over all workers together, and beyond that none is made. A request
whose body is larger than the limit, or was not kept, or that is answered before it was whole, is
not copied.
"""

import cython
from cython.cimports.fourseven.l7.aside import (
    ASIDE_DONE,
    WANTS_END,
    Aside,
    aside_close,
    aside_go,
    aside_new,
)
from cython.cimports.fourseven.l7.copied import body_size, copyable, request_copied
from cython.cimports.fourseven.l7.gate_key import plain_key
from cython.cimports.fourseven.l7.gate_mirror import (
    MIRROR_AT_ONCE,
    MIRROR_BODY_MAX,
    MIRROR_SHARE,
    MIRROR_TIME_MS,
    MIRRORS_MAX,
)
from cython.cimports.fourseven.l7.gates import GATE_PASS
from cython.cimports.fourseven.l7.records import Stream
from cython.cimports.fourseven.l7.stream import stream_reread
from cython.cimports.fourseven.native.atomics import count, fetch_add_i64
from cython.cimports.fourseven.snapshot.hashing import hash_number
from cython.cimports.fourseven.snapshot.layout import GATE_MIRROR, Backend, Gate
from cython.cimports.fourseven.worker.tools import random_next
from cython.cimports.libc.stdint import int64_t, uint32_t, uint64_t

MILLION = cython.declare(uint64_t, 1000000)


def mirror_ask(worker, session, gate):
    if session.stream.upgrade or not drawn(worker, gate):
        return GATE_PASS
    if worker.request.content_length > gate.numbers[MIRROR_BODY_MAX]:
        count(cython.address(worker.counters.mirror_given_up), 1)
    else:
        session.stream.mirrors |= 1 << place_of(session)
    return GATE_PASS


def drawn(worker, gate):
    share: uint64_t = gate.numbers[MIRROR_SHARE]
    number: uint64_t
    if share == MILLION:
        return True
    if gate.key_count == 0:
        number = random_next(worker)
    else:
        number = plain_key(cython.address(gate.keys[0]), worker.request, worker.scratch)
    return (cython.cast(uint32_t, hash_number(number) >> 32) * MILLION) >> 32 < share


def place_of(session):
    """Which of its route's mirrors the gate is that is asked now."""
    stream: cython.pointer[cython.const[Stream]] = session.stream
    place: uint32_t = 0
    at: uint32_t
    for at in range(stream.gate):
        place += stream.route.gates[at].kind == GATE_MIRROR
    return place % MIRRORS_MAX


def mirror_send(worker, session):
    stream: cython.pointer[Stream] = session.stream
    gate: cython.pointer[cython.const[Gate]]
    drawn_now: uint32_t = stream.mirrors
    at: uint32_t
    stream.mirrors = 0
    if not copyable(session) or not stream_reread(worker, session):
        count(cython.address(worker.counters.mirror_given_up), 1)
        return
    for at in range(stream.route.gate_count):
        gate = cython.address(stream.route.gates[at])
        if gate.kind == GATE_MIRROR:
            if drawn_now & 1:
                mirror_one(worker, session, gate)
            drawn_now >>= 1


def mirror_one(worker, session, gate):
    aside: cython.pointer[Aside] = cython.NULL
    backend: cython.pointer[cython.const[Backend]] = cython.address(
        session.stream.pinned.backends[gate.backend]
    )
    before: int64_t
    if body_size(session) > gate.numbers[MIRROR_BODY_MAX]:
        count(cython.address(worker.counters.mirror_given_up), 1)
        return
    before = fetch_add_i64(cython.address(gate.state.users), 1)
    if before >= cython.cast(int64_t, gate.numbers[MIRROR_AT_ONCE]):
        fetch_add_i64(cython.address(gate.state.users), -1)
        count(cython.address(worker.counters.mirror_skipped), 1)
        return
    request = request_copied(
        worker, session, backend, gate.texts if gate.text_count else cython.NULL
    )
    if request is not cython.NULL:
        aside = aside_new(worker, session, backend, request)
    if aside is cython.NULL:
        fetch_add_i64(cython.address(gate.state.users), -1)
        count(cython.address(worker.counters.mirror_given_up), 1)
        return
    aside.asker = cython.NULL  # it may be gone long before
    aside.kept = gate.state
    aside.wants = WANTS_END
    aside.told = mirror_told
    aside.time_ms = cython.cast(uint32_t, gate.numbers[MIRROR_TIME_MS])
    count(cython.address(worker.counters.mirror_copies), 1)
    if not aside_go(worker, aside):
        count(cython.address(worker.counters.mirror_failed), 1)


def mirror_told(worker, aside):
    if aside.result != ASIDE_DONE:
        count(cython.address(worker.counters.mirror_failed), 1)
    aside_close(worker, aside)
