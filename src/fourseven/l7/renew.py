"""Who waits for a server goes by the newest file.

A stream pins the snapshot that it was routed by, and everything that it does is of one piece. But
in a queue it may stand for seconds, and what an operator does about a queue is to load a file with
more servers. So when its turn comes, it moves its pin to the snapshot of now: the same route (by
its stable number, which is that of listener and name) and the same backend (by its number). Filters
that it has passed are passed; what they hold for it stays held, by states that are no snapshot's.

Law: the stream has a backend, no server, and has written nothing. Where the new file has no such
route or backend, or a copy of the request is owed to mirrors of the old route, all stays as it was.
"""

import cython
from cython.cimports.fourseven.l7.records import Stream
from cython.cimports.fourseven.native.atomics import load_i64, store_i64, store_release_i64
from cython.cimports.fourseven.snapshot.layout import Listener, Snapshot
from cython.cimports.libc.stdint import int32_t, int64_t, uint32_t


def stream_renew(worker, session):
    stream: cython.pointer[Stream] = session.stream
    snapshot: cython.pointer[Snapshot] = worker.snapshot
    listener: cython.pointer[cython.const[Listener]] = session.listener.plan
    pins: cython.pointer[int64_t]
    route: int32_t
    backend: int32_t
    if stream.backend is cython.NULL or stream.pinned is snapshot or stream.mirrors:
        return
    if stream.pinned is cython.NULL or listener is cython.NULL or stream.in_flight:
        return
    route = same_route(listener, stream.route_stable)
    backend = same_backend(snapshot, stream.backend_number)
    if route < 0 or backend < 0:
        return
    pins = cython.address(snapshot.pins[worker.index].count)
    store_i64(pins, load_i64(pins) + 1)
    pins = cython.address(stream.pinned.pins[worker.index].count)
    store_release_i64(pins, load_i64(pins) - 1)
    stream.pinned = snapshot
    stream.listener = listener
    stream.route = cython.address(listener.routes[route])
    stream.gate = cython.cast(cython.uchar, stream.route.gate_count)
    stream.backend = cython.address(snapshot.backends[backend])


def same_route(listener, stable):
    """Its index, or -1."""
    at: uint32_t
    for at in range(listener.route_count):
        if listener.routes[at].stable == stable:
            return cython.cast(int32_t, at)
    return -1


def same_backend(snapshot, number):
    """Its index, or -1."""
    at: uint32_t
    for at in range(snapshot.backend_count):
        if snapshot.backends[at].number == number:
            return cython.cast(int32_t, at)
    return -1
