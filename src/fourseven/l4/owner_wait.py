"""A relayed connection waits for its client's own server, where the file says so (l4.owner).

It has no server and no connection to one; its timer looks again every 50 ms, until the server can
be had or the time is over. A client that leaves meanwhile is seen by its socket.

Law: it waits before its first connect alone, so the time of that connect, which has not begun, is
free to say since when.
"""

import cython
from cython.cimports.fourseven.l4.choose import (
    LEASE_LATER,
    LEASE_NOBODY,
    LEASE_TAKEN,
    backend_now,
    lease_take,
)
from cython.cimports.fourseven.l4.owner_wait import OWNER_POLL_MS
from cython.cimports.fourseven.l4.relay_tcp import cut, try_server
from cython.cimports.fourseven.l4.resumption import learner_begin
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.snapshot.layout import Backend
from cython.cimports.fourseven.worker.tools import timer_set
from cython.cimports.libc.stdint import int32_t, uint64_t


def relay_lease(worker, session, backend):
    taken: int32_t = lease_take(
        worker,
        backend,
        cython.address(session.address),
        session.arrived,
        cython.address(session.lease),
    )
    if taken == LEASE_LATER and not wait(worker, session, backend):
        return LEASE_NOBODY
    if taken == LEASE_TAKEN:
        learner_begin(
            cython.address(session.server),
            backend,
            session.arrived,
            cython.address(session.lease),
        )
    return taken


def wait(worker, session, backend):
    passed_ms: uint64_t
    wait_ms: uint64_t = backend.persistence.wait_ms
    if session.connect_began_ns == 0:
        session.connect_began_ns = worker.now_ns
    passed_ms = (worker.now_ns - session.connect_began_ns) // 1000000
    if passed_ms >= wait_ms:
        count(cython.address(worker.backend_counters[backend.number].persisted_refused), 1)
        return False
    timer_set(
        worker,
        cython.address(session.timer),
        worker.now_ms + min(wait_ms - passed_ms, cython.cast(uint64_t, OWNER_POLL_MS)),
    )
    return True


def look_again(worker, session):
    backend: cython.pointer[cython.const[Backend]] = backend_now(worker, session.lease.backend)
    if backend is cython.NULL or backend.persistence is cython.NULL:
        cut(worker, session)
        return
    try_server(worker, session, backend)
