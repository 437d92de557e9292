"""The end of a request, whatever it was: an answer of a server, one of our own, a client that left.

All ends meet here, so this is where a request is counted with its whole time, where its record is
written for the log, and where the gates that let it pass hear of its end.

Laws: it is called before the session goes on to its next request or is closed, and it works once.
The snapshot may be gone by now: only numbers are left of route, backend and server.
"""

import cython
from cython.cimports.fourseven.l7.ended import Stream
from cython.cimports.fourseven.l7.gates import gates_leave
from cython.cimports.fourseven.l7.hedge import hedge_end
from cython.cimports.fourseven.l7.queue import queue_leave
from cython.cimports.fourseven.l7.record import record_stream
from cython.cimports.fourseven.l7.shape import shape_drop
from cython.cimports.fourseven.native.atomics import count, fetch_add_i64
from cython.cimports.fourseven.worker.latency import latency_class
from cython.cimports.fourseven.worker.tools import buffer_free, monotonic_ns
from cython.cimports.fourseven.worker.worker import REASONS_MAX
from cython.cimports.libc.stdint import uint64_t


def stream_ended(worker, session):
    stream: cython.pointer[Stream] = session.stream
    if stream.ended:
        return
    stream.ended = 1
    now_ns: uint64_t = monotonic_ns()
    if stream.queued:
        queue_leave(worker, session)
    if stream.hedge:
        hedge_end(worker, session)
    if stream.budgeted:
        fetch_add_i64(cython.address(stream.backend_state.retrying), -1)
        stream.budgeted = 0
    if stream.logged or (stream.sampled and stream.traced == 2):
        record_stream(worker, session, now_ns)
    gates_leave(worker, session)
    if stream.shape is not cython.NULL:
        shape_drop(worker, stream)
    buffer_free(worker, stream.said)
    buffer_free(worker, stream.told)
    stream.said = cython.NULL
    stream.told = cython.NULL
    if stream.routed:
        count_ended(worker, stream, now_ns)  # from now on its numbers may be given to others


def count_ended(worker, stream, now_ns):
    counters = cython.address(worker.route_counters[stream.route_stable])
    took_ns: uint64_t = now_ns - stream.started_ns
    count(cython.address(counters.bytes_in), stream.head_size + stream.request.total)
    count(cython.address(counters.bytes_out), stream.bytes_out)
    count(cython.address(counters.status[stream.status // 100 % 6]), 1)
    count(cython.address(counters.latency_ns), took_ns)
    count(cython.address(counters.latencies[latency_class(took_ns)]), 1)
    if stream.reason:
        count(cython.address(counters.reasons[stream.reason % REASONS_MAX]), 1)
    count(cython.address(counters.ended), 1)  # last: who sees it sees all of the above
