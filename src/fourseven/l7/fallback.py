"""The fallback of a route: another backend serves where the chosen one cannot.

A request goes there when its backend has no server for it: none is usable, circuits are open, or
limits and queue are full. The client is told nothing; the backend that could not serve counts it
(`fallbacks`). Filters are the route's, so they hold for both.

Laws: a request falls back once. One whose own server is waited for or refused (persistence) stays:
the file has said what happens then. What was tried may be tried again, or it would not have come so
far (l7.retry).
"""

import cython
from cython.cimports.fourseven.l7.hedge import HEDGE_NONE
from cython.cimports.fourseven.l7.persist import BELONGS_NOWHERE
from cython.cimports.fourseven.l7.queue import queue_leave
from cython.cimports.fourseven.l7.records import Stream
from cython.cimports.fourseven.native.atomics import count, fetch_add_i64
from cython.cimports.fourseven.worker.worker import REASON_PERSISTED_DOWN


def fallback_takes(worker, session, reason):
    stream: cython.pointer[Stream] = session.stream
    if stream.fallen or stream.route is cython.NULL or reason == REASON_PERSISTED_DOWN:
        return False
    if stream.route.fallback >= stream.pinned.backend_count:
        return False
    count(cython.address(worker.backend_counters[stream.backend_number].fallbacks), 1)
    queue_leave(worker, session)
    if stream.budgeted:
        fetch_add_i64(cython.address(stream.backend_state.retrying), -1)
        stream.budgeted = 0
    stream.fallen = 1
    stream.backend = cython.address(stream.pinned.backends[stream.route.fallback])
    stream.backend_number = stream.backend.number
    stream.tries = 0
    stream.tried_count = 0
    stream.stale = 0
    stream.moved = 0
    stream.belongs = BELONGS_NOWHERE
    stream.queue_until_ms = 0
    stream.hedge = HEDGE_NONE
    return True
