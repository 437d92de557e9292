"""The record of a request, written by its worker in the moment of its end.

It holds what is known then and could not be found out later: numbers become names while they still
hold, texts of the request are copied from its head, which stands in the buffer until the end.
Whoever reads it (observe.lines for the log, control for spans) needs nothing else.

Laws: it costs the worker two copies and one look at the clock, never a system call that may wait.
A full ring drops the record and counts it.
"""

import cython
from cython.cimports.fourseven.l7.record import (
    RECORD_TEXTS,
    TEXT_BACKEND,
    TEXT_ID,
    TEXT_LISTENER,
    TEXT_METHOD,
    TEXT_ROUTE,
    TEXT_SERVER,
    Record,
    Session,
    Span,
    Worker,
)
from cython.cimports.fourseven.l7.records import Stream
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.linux import CLOCK_REALTIME, clock_gettime, timespec
from cython.cimports.fourseven.snapshot.names import NameTable, NameText
from cython.cimports.fourseven.worker.ring import Ring, ring_done, ring_room
from cython.cimports.libc.stdint import uint16_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy, memset


def record_stream(worker, session, now_ns):
    stream: cython.pointer[cython.const[Stream]] = session.stream
    texts = cython.declare(Span[10])
    size: uint32_t = cython.sizeof(Record)
    which: uint32_t
    memset(cython.address(texts[0]), 0, cython.sizeof(texts))
    gather(worker, session, cython.address(texts[0]))
    for which in range(RECORD_TEXTS):
        size += texts[which].size
    size = (size + 7) & ~cython.cast(uint32_t, 7)
    if stream.logged:
        leave(worker, worker.log_ring, session, cython.address(texts[0]), size, now_ns)
    if stream.sampled and stream.traced == 2:
        leave(worker, worker.span_ring, session, cython.address(texts[0]), size, now_ns)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def leave(
    worker: cython.pointer[Worker],
    ring: cython.pointer[Ring],
    session: cython.pointer[cython.const[Session]],
    texts: cython.pointer[Span],
    size: uint32_t,
    now_ns: uint64_t,
) -> cython.void:
    record: cython.pointer[Record] = cython.cast(cython.pointer[Record], ring_room(ring, size))
    if record is cython.NULL:
        count(cython.address(worker.counters.records_dropped), 1)
        return
    memset(record, 0, cython.sizeof(Record))
    record.size = size
    fill(record, session)
    fill_times(record, session, now_ns)
    put_texts(record, texts)
    ring_done(ring, size)
    count(cython.address(worker.counters.records), 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def gather(
    worker: cython.pointer[Worker],
    session: cython.pointer[cython.const[Session]],
    texts: cython.pointer[Span],
) -> cython.void:
    """Where the texts stand now."""
    stream: cython.pointer[cython.const[Stream]] = session.stream
    names: cython.pointer[NameTable] = cython.cast(cython.pointer[NameTable], worker.shared.names)
    at: uint32_t
    buffer = session.in_.buffer
    if session.listener.plan is not cython.NULL:
        texts[cython.cast(cython.int, TEXT_LISTENER)] = session.listener.plan.name
    if stream.routed:
        texts[cython.cast(cython.int, TEXT_ROUTE)] = name_of(names.routes[stream.route_stable])
    if stream.backed:
        texts[cython.cast(cython.int, TEXT_BACKEND)] = name_of(
            names.backends[stream.backend_number]
        )
        texts[cython.cast(cython.int, TEXT_SERVER)] = name_of(names.slots[stream.slot])
    if stream.id_size:
        texts[cython.cast(cython.int, TEXT_ID)] = Span(
            at=cython.address(stream.id[0]), size=stream.id_size
        )
    if buffer is cython.NULL:
        return
    for at in range(5):
        if (
            stream.texts[at].size
            and stream.texts[at].at + stream.texts[at].size <= stream.head_size
        ):
            texts[cython.cast(cython.int, TEXT_METHOD) + at].at = (
                buffer.at + buffer.start + stream.texts[at].at
            )
            texts[cython.cast(cython.int, TEXT_METHOD) + at].size = stream.texts[at].size


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def name_of(name: cython.pointer[cython.const[NameText]]) -> Span:
    text: Span = Span(at=cython.NULL, size=0)
    if name is not cython.NULL:
        text.at = cython.address(name.at[0])
        text.size = name.size
    if text.size > 65535:
        text.size = 65535
    return text


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fill(
    record: cython.pointer[Record], session: cython.pointer[cython.const[Session]]
) -> cython.void:
    stream: cython.pointer[cython.const[Stream]] = session.stream
    record.status = stream.status
    record.reason = stream.reason
    record.version = stream.version if session.lane is cython.NULL else 20
    record.secure = stream.secure
    record.tries = stream.tries
    record.client = stream.client
    record.bytes_in = stream.head_size + stream.request.total
    record.bytes_out = stream.bytes_out
    record.traced = stream.traced
    record.sampled = stream.sampled
    memcpy(cython.address(record.trace[0]), cython.address(stream.trace[0]), 16)
    memcpy(cython.address(record.span[0]), cython.address(stream.span[0]), 8)
    memcpy(cython.address(record.parent[0]), cython.address(stream.parent[0]), 8)


def fill_times(record, session, now_ns):
    stream: cython.pointer[cython.const[Stream]] = session.stream
    now = cython.declare(timespec)
    clock_gettime(CLOCK_REALTIME, cython.address(now))
    if stream.started_ns:
        record.total_us = (now_ns - stream.started_ns) // 1000
    record.began_us = (
        cython.cast(uint64_t, now.tv_sec) * 1000000
        + cython.cast(uint64_t, now.tv_nsec) // 1000
        - record.total_us
    )
    if stream.gated_ns > stream.started_ns:
        record.queue_us = (stream.gated_ns - stream.started_ns) // 1000
    if stream.connected_ns > stream.picked_ns:
        record.connect_us = (stream.connected_ns - stream.picked_ns) // 1000
    if stream.first_ns > stream.sent_ns and stream.sent_ns:
        record.answer_us = (stream.first_ns - stream.sent_ns) // 1000


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_texts(record: cython.pointer[Record], texts: cython.pointer[Span]) -> cython.void:
    to: cython.p_char = cython.cast(cython.p_char, record) + cython.sizeof(Record)
    which: uint32_t
    for which in range(RECORD_TEXTS):
        record.sizes[which] = cython.cast(uint16_t, texts[which].size)
        if texts[which].size:
            memcpy(to, texts[which].at, texts[which].size)
            to += texts[which].size
