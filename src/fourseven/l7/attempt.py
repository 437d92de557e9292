"""One try at a server: pick it, get a connection, send the request.

Where no server takes the request, it waits in the backend's queue, if there is one, or is answered
by us with the reason.

Laws: a stream counts as in flight at its server and its backend from the pick (`choice`) to
`leave_server`, whatever happens between.
"""

import cython
from cython.cimports.fourseven.l7.answer import (
    answer,
    stream_context,
)
from cython.cimports.fourseven.l7.breaker import breaker_left
from cython.cimports.fourseven.l7.choice import (
    FULL_BACKEND,
    NOBODY_CONNECTED,
    NOBODY_ELSE,
    NOBODY_FREE,
    NOBODY_MORE,
    NOBODY_TRUSTED,
    NOBODY_WHOLE,
    NOBODY_YET,
    pick_server,
)
from cython.cimports.fourseven.l7.connect import connection_uncounted
from cython.cimports.fourseven.l7.fallback import fallback_takes
from cython.cimports.fourseven.l7.heads import (
    HEAD_REFUSED,
    HeadContext,
    write_request_head,
)
from cython.cimports.fourseven.l7.queue import (
    TURN_NOW,
    TURN_OVER,
    await_server,
    queue_leave,
    queue_turn,
    queue_wait,
    queue_wake,
    waited,
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
    fetch_add_release_i64,
    load_i64,
)
from cython.cimports.fourseven.protocols.chunked import (
    CHUNKED_KEEP,
    chunked_start,
)
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    HEADER_EXPECT,
)
from cython.cimports.fourseven.snapshot.layout import Resilience
from cython.cimports.fourseven.worker.worker import (
    REASON_BACKEND_CIRCUIT,
    REASON_BACKEND_CONNECTIONS,
    REASON_BACKEND_FULL,
    REASON_CIRCUIT_OPEN,
    REASON_HEAD_SIZE,
    REASON_NO_SERVER,
    REASON_NONE,
    REASON_PERSISTED_DOWN,
    REASON_QUEUE_TIME,
    REASON_REWRITE,
    REASON_SERVERS_FULL,
)
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t


def try_server(worker, session):
    stream: cython.pointer[Stream] = session.stream
    number: int32_t
    session.state = SESSION_EXCHANGE
    if not stream.in_flight:
        if stream.backend.resilience is not cython.NULL and not in_turn(worker, session):
            return
        number = pick_server(worker, session)
        if number < 0:
            without_server(worker, session, number)
            return
        if stream.queued:
            queue_leave(worker, session)
        elif stream.queue_until_ms:
            waited(worker, stream)
    stream.upstream = upstream_take(worker, session)
    if stream.upstream is cython.NULL:
        if stream.crowded:
            without_server(
                worker,
                session,
                NOBODY_CONNECTED if stream.seen_full & FULL_BACKEND else NOBODY_FREE,
            )
            return
        stream_failed(worker, session, FAILED_OURS if stream.ours else FAILED_CONNECT)
        return
    send_request(worker, session)


def in_turn(worker, session):
    """Those who wait for a server of this backend go first."""
    stream: cython.pointer[Stream] = session.stream
    turn: uint8_t
    if stream.backend.resilience.queue_max == 0:
        return True
    turn = queue_turn(worker, session)
    if turn == TURN_NOW:
        return True
    if turn == TURN_OVER:
        refuse(worker, session, REASON_QUEUE_TIME)
    elif not stream.queued:
        without_server(worker, session, NOBODY_FREE)
    return False


def without_server(worker, session, why):
    """It waits, or is answered by us."""
    stream: cython.pointer[Stream] = session.stream
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    counters = cython.address(worker.backend_counters[stream.backend_number])
    reason: uint8_t = REASON_NO_SERVER
    leave_server(worker, stream)
    if why == NOBODY_FREE or why == NOBODY_MORE or why == NOBODY_CONNECTED:
        reason = REASON_SERVERS_FULL
        if why != NOBODY_FREE:
            reason = REASON_BACKEND_FULL if why == NOBODY_MORE else REASON_BACKEND_CONNECTIONS
        if rules is not cython.NULL and rules.queue_max:
            reason = queue_wait(worker, session)
            if reason == REASON_NONE:
                return
        else:
            count(cython.address(counters.limited), 1)
    elif why == NOBODY_YET:
        reason = await_server(worker, session)
        if reason == REASON_NONE:
            return
    elif why == NOBODY_ELSE:
        reason = REASON_PERSISTED_DOWN
    elif why == NOBODY_TRUSTED:
        reason = REASON_CIRCUIT_OPEN
        count(cython.address(counters.circuit_refused), 1)
    elif why == NOBODY_WHOLE:
        reason = REASON_BACKEND_CIRCUIT
        count(cython.address(counters.backend_circuit_refused), 1)
    refuse(worker, session, reason)


def refuse(worker, session, reason):
    """The route's fallback; or 503, but 502 where servers were reached and have failed it."""
    stream: cython.pointer[Stream] = session.stream
    if fallback_takes(worker, session, reason):
        try_server(worker, session)
        return
    if reason == REASON_PERSISTED_DOWN:
        counters = cython.address(worker.backend_counters[stream.backend_number])
        count(cython.address(counters.persisted_refused), 1)
    count(cython.address(worker.counters.pick_failed), 1)
    count(cython.address(worker.backend_counters[stream.backend_number].pick_failed), 1)
    session.state = SESSION_HEAD
    if stream.tries:
        answer(worker, session, 502, stream.last_failure)
    else:
        answer(worker, session, 503, reason)


def send_request(worker, session):
    context = cython.declare(HeadContext)
    http: cython.pointer[Http] = http_of(worker)
    stream: cython.pointer[Stream] = session.stream
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
        # released: who finds nothing in flight finds all that was counted before
        fetch_add_release_i64(cython.address(slot_of(worker, stream.slot).in_flight), -1)
        fetch_add_release_i64(cython.address(stream.backend_state.in_flight), -1)
        stream.in_flight = 0
        if stream.probe:
            breaker_left(worker, stream)
        if stream.reserved:
            connection_uncounted(worker, stream.slot, stream.reserved)
            stream.reserved = 0
        if load_i64(cython.address(stream.backend_state.waiting)) > 0:
            queue_wake(worker, stream.backend_number)
