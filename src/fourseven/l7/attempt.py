"""One try at a server: pick it, get a connection, send the request.

Laws: a stream counts as in flight at its server and its backend from the pick to `leave_server`,
whatever happens between. A server's limit holds exactly over all workers: it is counted first and
compared after, and who came too late takes another.
"""

import cython
from cython.cimports.fourseven.balancing.request_key import hash_of
from cython.cimports.fourseven.l7.answer import (
    answer,
    stream_context,
)
from cython.cimports.fourseven.l7.heads import (
    HEAD_REFUSED,
    HeadContext,
    write_request_head,
)
from cython.cimports.fourseven.l7.records import (
    OUT_CAPACITY,
    SESSION_EXCHANGE,
    SESSION_HEAD,
    Http,
    Stream,
    http_of,
    slot_of,
)
from cython.cimports.fourseven.l7.request import forward_request
from cython.cimports.fourseven.l7.retry import (
    FAILED_CONNECT,
    FAILED_OURS,
    stream_failed,
)
from cython.cimports.fourseven.l7.upstream import (
    upstream_drop,
    upstream_take,
)
from cython.cimports.fourseven.native.atomics import (
    count,
    fetch_add_i64,
    load_relaxed_u32,
)
from cython.cimports.fourseven.protocols.chunked import (
    CHUNKED_KEEP,
    chunked_start,
)
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    HEADER_EXPECT,
)
from cython.cimports.fourseven.snapshot.layout import TRIED_MAX, Pick, Slot
from cython.cimports.fourseven.worker.tools import (
    random_next,
)
from cython.cimports.fourseven.worker.worker import (
    REASON_HEAD_SIZE,
    REASON_NO_SERVER,
    REASON_REWRITE,
)
from cython.cimports.libc.stdint import int32_t, int64_t, uint32_t


def try_server(worker, session):
    stream: cython.pointer[Stream] = cython.address(session.stream)
    session.state = SESSION_EXCHANGE
    if not stream.in_flight and pick_server(worker, session) < 0:
        count(cython.address(worker.counters.pick_failed), 1)
        count(cython.address(worker.backend_counters[stream.backend_number].pick_failed), 1)
        session.state = SESSION_HEAD
        if stream.tries:
            answer(worker, session, 502, stream.last_failure)
        else:
            answer(worker, session, 503, REASON_NO_SERVER)
        return
    stream.upstream = upstream_take(worker, session)
    if stream.upstream is cython.NULL:
        stream_failed(worker, session, FAILED_OURS if stream.ours else FAILED_CONNECT)
        return
    send_request(worker, session)


def pick_server(worker, session):
    """A slot in which this stream now counts, or -1."""
    pick = cython.declare(Pick)
    stream: cython.pointer[Stream] = cython.address(session.stream)
    slot: cython.pointer[Slot]
    number: int32_t
    before: int64_t
    most: uint32_t
    at: uint32_t
    pick.slots = worker.shared.slots
    pick.hash = hash_of(stream.backend, worker.request, worker.scratch)
    pick.now_ns = worker.now_ns
    pick.tried_count = stream.tried_count
    for at in range(stream.tried_count):
        pick.tried[at] = stream.tried[at]
    while True:
        pick.random = random_next(worker)
        number = stream.backend.pick(stream.backend, cython.address(pick))
        if number < 0:
            return -1
        slot = slot_of(worker, number)
        before = fetch_add_i64(cython.address(slot.in_flight), 1)
        most = load_relaxed_u32(cython.address(slot.max_in_flight))
        if most == 0 or before < most:
            break
        fetch_add_i64(cython.address(slot.in_flight), -1)  # another worker was quicker
        if pick.tried_count == TRIED_MAX:
            return -1
        pick.tried[pick.tried_count] = number
        pick.tried_count += 1
    stream.slot = number
    stream.backed = 1
    stream.picked_ns = worker.now_ns
    stream.in_flight = 1
    stream.backend_state = stream.backend.state
    fetch_add_i64(cython.address(stream.backend_state.in_flight), 1)
    return number


def send_request(worker, session):
    context = cython.declare(HeadContext)
    http: cython.pointer[Http] = http_of(worker)
    stream: cython.pointer[Stream] = cython.address(session.stream)
    size: int32_t
    stream_context(worker, session, cython.address(context))
    context.body_framing = stream.request.framing
    context.body_size = stream.request.left
    if stream.continued:
        drop_expect(worker.request)
    size = write_request_head(
        cython.address(http.out[0]), OUT_CAPACITY, worker.request, cython.address(context)
    )
    if size < 0:
        leave_server(worker, stream)
        session.state = SESSION_HEAD
        if size == HEAD_REFUSED:
            answer(worker, session, 400, REASON_REWRITE)
        else:
            answer(worker, session, 431, REASON_HEAD_SIZE)
        return
    count(cython.address(worker.slot_counters[stream.slot].requests), 1)
    count(cython.address(worker.backend_counters[stream.backend_number].requests), 1)
    if stream.request.framing == FRAMING_CHUNKED:
        chunked_start(cython.address(stream.request.chunked), CHUNKED_KEEP)
    forward_request(worker, session, size)


def drop_expect(request):
    """We have said 100 Continue for the server: it is not to say it again."""
    at: uint32_t
    request.expect_continue = 0
    for at in range(request.header_count):
        if request.headers[at].known == HEADER_EXPECT:
            request.headers[at].drop = 1


def leave_server(worker, stream):
    """Off this server: the connection is dropped, and the stream no longer counts there."""
    if stream.upstream is not cython.NULL:
        upstream_drop(worker, stream.upstream)
        stream.upstream = cython.NULL
    if stream.in_flight:
        fetch_add_i64(cython.address(slot_of(worker, stream.slot).in_flight), -1)
        fetch_add_i64(cython.address(stream.backend_state.in_flight), -1)
        stream.in_flight = 0
