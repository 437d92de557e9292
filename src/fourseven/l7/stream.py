"""One request, from its head to its last byte: the phases, in the order of the code.

    read head -> limits -> route -> (prefix of the body) -> choose backend -> pick server
    -> connect or reuse -> forward request -> forward response -> finish

Each phase either goes on to the next or ends the stream with an answer of our own. Forwarding is in
`forward`; here are the decisions.

The request's head stays in the session's buffer until the stream ends. So another try needs no
copy: the head is read again (half a microsecond) and written anew for the other server.

Laws: a stream counts as in flight at its server and its backend from the pick to `leave_server`,
whatever happens between. It pins its snapshot from routing until the response's head is written. A
try is repeated only before the first byte of a response, only when the whole request is still at
hand, and only if repeating is safe: nothing was sent, or the method is idempotent (RFC 9110 9.2.2).
"""

import cython
from cython.cimports.fourseven.balancing.ewma import ewma_update
from cython.cimports.fourseven.balancing.request_key import hash_of
from cython.cimports.fourseven.l7.forward import forward_request, window_reset
from cython.cimports.fourseven.l7.forwarded import client_address, request_id
from cython.cimports.fourseven.l7.heads import (
    HeadContext,
    write_action_answer,
    write_answer,
    write_request_head,
)
from cython.cimports.fourseven.l7.records import (
    OUT_CAPACITY,
    SESSION_CLOSED,
    SESSION_EXCHANGE,
    SESSION_HEAD,
    SESSION_PREFIX,
    Http,
    Session,
    Stream,
    Upstream,
    http_of,
    slot_of,
)
from cython.cimports.fourseven.l7.session import session_close, session_next, session_write
from cython.cimports.fourseven.l7.stream import (
    FAILED_ANSWER,
    FAILED_CONNECT,
    FAILED_CONNECT_TIME,
    FAILED_RESET,
    FAILED_TIME,
)
from cython.cimports.fourseven.l7.upstream import (
    upstream_drop,
    upstream_release,
    upstream_take,
)
from cython.cimports.fourseven.matching.table import ROUTE_NEEDS_BODY, route_find
from cython.cimports.fourseven.native.atomics import (
    count,
    fetch_add_i64,
    load_i64,
    store_i64,
    store_release_i64,
)
from cython.cimports.fourseven.protocols.chunked import (
    CHUNKED_DECODE,
    CHUNKED_KEEP,
    Chunked,
    chunked_read,
    chunked_start,
)
from cython.cimports.fourseven.protocols.http1 import HeadLimits, read_request
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_LENGTH,
    FRAMING_NONE,
    HEADER_EXPECT,
    METHOD_CONNECT,
    METHOD_OTHER,
    METHOD_PATCH,
    METHOD_POST,
    Request,
    Span,
)
from cython.cimports.fourseven.snapshot.layout import TRIED_MAX, Listener, Pick, Route, Slot
from cython.cimports.fourseven.worker.tools import (
    buffer_free,
    buffer_large,
    monotonic_ns,
    random_next,
)
from cython.cimports.fourseven.worker.worker import FAULTS_MAX, Buffer
from cython.cimports.libc.stdint import int32_t, int64_t, uint16_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy, memset

# ---- read head, limits ----


def stream_begin(worker, session):
    size: int32_t
    stream: cython.pointer[Stream] = cython.address(session.stream)
    listener: cython.pointer[cython.const[Listener]] = session.listener.plan
    if listener is cython.NULL:
        session_close(worker, session)
        return True
    size = read_head(worker, session)
    if size == 0:
        return False
    stream_clear(session)
    stream.listener = listener
    stream.started_ns = worker.now_ns
    if size < 0:
        count(cython.address(worker.counters.faults[worker.request.fault % FAULTS_MAX]), 1)
        stream_refuse(worker, session, cython.cast(uint16_t, -size))
        return True
    admit(worker, session)
    return True


def stream_clear(session):
    """No request is at work: an answer now is about the connection."""
    memset(cython.address(session.stream), 0, cython.sizeof(Stream))
    session.stream.version = 11


def read_head(worker, session):
    limits = cython.declare(HeadLimits)
    buffer: cython.pointer[Buffer] = session.in_.buffer
    listener: cython.pointer[cython.const[Listener]] = session.listener.plan
    request: cython.pointer[Request] = worker.request
    limits.head_max = listener.head_max
    limits.headers_max = listener.headers_max
    limits.target_max = listener.target_max
    limits.relax = listener.relax
    request.peer = session.peer
    request.client = session.peer
    request.local = session.listener.local
    request.secure = 0
    request.body.at = cython.NULL
    request.body.size = 0
    request.body_complete = 0
    return read_request(
        buffer.at + buffer.start,
        buffer.end - buffer.start,
        cython.address(session.scanned),
        cython.address(limits),
        request,
    )


def admit(worker, session):
    """The head is sound: fills the stream from it, and asks the limits."""
    stream: cython.pointer[Stream] = cython.address(session.stream)
    request: cython.pointer[Request] = worker.request
    listener: cython.pointer[cython.const[Listener]] = stream.listener
    status: uint16_t
    id = cython.declare(Span)
    count(cython.address(worker.counters.requests), 1)
    count(cython.address(session.listener.counters.requests), 1)
    stream.method_id = request.method_id
    stream.version = request.version
    stream.upgrade = request.upgrade
    stream.head_size = request.head_size
    stream.replayable = 1
    stream.request.limit = listener.body_max
    body_start(session, request)
    stream.keep_alive = request.keep_alive and not worker.draining
    if listener.requests_max and session.requests + 1 >= listener.requests_max:
        stream.keep_alive = 0
    client_address(listener, request)
    if listener.request_id.at is not cython.NULL:
        id = request_id(
            listener,
            request,
            cython.address(stream.id[0]),
            random_next(worker),
            random_next(worker),
        )
        if id.at is not cython.NULL and id.size <= cython.sizeof(stream.id):
            memcpy(cython.address(stream.id[0]), id.at, id.size)
            stream.id_size = id.size
    status = over_limit(listener, session, request)
    if status != 0:
        stream_refuse(worker, session, status)
        return
    session.window_bytes = 0
    session.body_due_ms = 0
    if listener.body_timeout_ms and not stream.request.done:
        session.body_due_ms = worker.now_ms + listener.body_timeout_ms
    route_step(worker, session)


def body_start(session, request):
    """The request's body from its first byte, which stands behind the head."""
    body = cython.address(session.stream.request)
    body.framing = request.framing
    body.left = request.content_length if request.framing == FRAMING_LENGTH else 0
    body.total = 0
    body.done = request.framing == FRAMING_NONE or (
        request.framing == FRAMING_LENGTH and request.content_length == 0
    )
    window_reset(session)


def over_limit(listener, session, request):
    """The status of the refusal, or 0."""
    if listener.body_max and request.content_length > listener.body_max:
        return 413
    if request.method_id == METHOD_CONNECT:
        return 405
    return 0


# ---- route ----


def route_step(worker, session):
    number: int32_t = route_find(session.stream.listener, worker.request, worker.scratch)
    if number == ROUTE_NEEDS_BODY:
        prefix_begin(worker, session)
    elif number < 0:
        answer(worker, session, 404)
    else:
        take_route(worker, session, number)


def prefix_begin(worker, session):
    """A payload decides: read its beginning first. A client that waits to be asked is asked."""
    stream: cython.pointer[Stream] = cython.address(session.stream)
    larger: cython.pointer[Buffer]
    buffer: cython.pointer[Buffer] = session.in_.buffer
    if not buffer.large:
        larger = buffer_large(worker)
        if larger is cython.NULL:
            stream_refuse(worker, session, 503)
            return
        larger.end = buffer.end - buffer.start
        memcpy(larger.at, buffer.at + buffer.start, larger.end)
        session.in_.buffer = larger
        buffer_free(worker, buffer)
        window_reset(session)
    session.state = SESSION_PREFIX
    if worker.request.expect_continue and not body_at_hand(session):
        stream.continued = 1
        if session_write(worker, session, b"HTTP/1.1 100 Continue\r\n\r\n", 25) < 0:
            session_close(worker, session)
            return
    if stream_prefix(worker, session):
        return


def stream_prefix(worker, session):
    number: int32_t
    session.stream.listener = session.listener.plan  # not pinned yet: it may have changed
    if not stream_reread(worker, session):
        stream_refuse(worker, session, 400)
        return True
    set_prefix(worker, session)
    if session.state != SESSION_PREFIX:
        return True
    if worker.request.body.at is cython.NULL:
        return False
    number = route_find(session.stream.listener, worker.request, worker.scratch)
    session.state = SESSION_HEAD
    if number < 0:
        answer(worker, session, 404)
    else:
        take_route(worker, session, number)
    return True


def set_prefix(worker, session):
    """Gives the matches what is here of the body, once it suffices; decoded if it is chunked."""
    stream: cython.pointer[Stream] = cython.address(session.stream)
    buffer: cython.pointer[Buffer] = session.in_.buffer
    request: cython.pointer[Request] = worker.request
    http: cython.pointer[Http] = http_of(worker)
    size: uint32_t = buffer.end - buffer.start - stream.head_size
    wanted: uint32_t = stream.listener.body_prefix_max
    used: uint32_t = 0
    chunked = cython.declare(Chunked)
    decoded: int32_t
    at: cython.p_char = buffer.at + buffer.start + stream.head_size
    room: cython.bint = buffer.end < buffer.capacity
    complete: cython.bint = False
    if request.framing == FRAMING_CHUNKED:
        memcpy(cython.address(http.out[0]), at, size)
        chunked_start(cython.address(chunked), CHUNKED_DECODE)
        decoded = chunked_read(
            cython.address(chunked), cython.address(http.out[0]), size, cython.address(used)
        )
        if decoded < 0:
            stream_refuse(worker, session, 400)
            return
        at = cython.address(http.out[0])
        size = decoded
        complete = chunked.done
    elif size >= request.content_length:
        size = cython.cast(uint32_t, request.content_length)
        complete = True
    if size >= wanted or complete or not room:
        request.body.at = at
        request.body.size = size if size < wanted or complete else wanted
        request.body_complete = complete


def take_route(worker, session, number):
    stream: cython.pointer[Stream] = cython.address(session.stream)
    pins: cython.pointer[int64_t] = cython.address(worker.snapshot.pins[worker.index].count)
    stream.route = cython.address(stream.listener.routes[number])
    stream.pinned = worker.snapshot
    store_i64(pins, load_i64(pins) + 1)
    if stream.route.choice_count == 0:
        answer_action(worker, session)
        return
    stream.backend = choose(worker, stream)
    try_server(worker, session)


def choose(worker, stream):
    """The route's backend, by weight where it has several."""
    route: cython.pointer[cython.const[Route]] = stream.route
    at: uint32_t = 0
    ticket: uint32_t
    if route.choice_count > 1 and route.choice_total > 0:
        ticket = cython.cast(uint32_t, random_next(worker) >> 32) % route.choice_total
        while at + 1 < route.choice_count and ticket >= route.choices[at].up_to:
            at += 1
    return cython.address(stream.pinned.backends[route.choices[at].backend])


def stream_unpin(worker, stream):
    pins: cython.pointer[int64_t]
    if stream.pinned is cython.NULL:
        return
    pins = cython.address(stream.pinned.pins[worker.index].count)
    store_release_i64(pins, load_i64(pins) - 1)
    stream.pinned = cython.NULL
    stream.listener = cython.NULL
    stream.route = cython.NULL
    stream.backend = cython.NULL


# ---- answers of our own ----


def answer_action(worker, session):
    context = cython.declare(HeadContext)
    http: cython.pointer[Http] = http_of(worker)
    size: int32_t
    if not body_at_hand(session):
        session.stream.keep_alive = 0
        session.lingering = 1
    stream_context(worker, session, cython.address(context))
    size = write_action_answer(
        cython.address(http.out[0]), OUT_CAPACITY, worker.request, cython.address(context)
    )
    if size < 0:
        answer(worker, session, 500)
        return
    session.stream.status = session.stream.route.request_actions[
        session.stream.route.request_action_count - 1
    ].status
    session_write(worker, session, cython.address(http.out[0]), size)
    after_answer(worker, session)


def answer(worker, session, status):
    """An error page; the connection goes on if the request's body is all here."""
    context = cython.declare(HeadContext)
    http: cython.pointer[Http] = http_of(worker)
    stream: cython.pointer[Stream] = cython.address(session.stream)
    size: int32_t
    if not body_at_hand(session):
        stream.keep_alive = 0
        session.lingering = 1
    stream.status = status
    stream_context(worker, session, cython.address(context))
    size = write_answer(
        cython.address(http.out[0]),
        OUT_CAPACITY,
        status,
        stream.method_id,
        cython.address(context),
    )
    count(cython.address(worker.counters.own_answers), 1)
    session_write(worker, session, cython.address(http.out[0]), size)
    after_answer(worker, session)


def stream_refuse(worker, session, status):
    stream: cython.pointer[Stream] = cython.address(session.stream)
    if session.state == SESSION_EXCHANGE:
        leave_server(worker, stream)
        session.state = SESSION_HEAD
        if stream.response_begun:
            session.broken = 1
            return
    if stream.pinned is cython.NULL:
        stream.listener = session.listener.plan
    stream.request.done = 0  # what follows in this connection is not to be trusted
    stream.request.framing = FRAMING_CHUNKED
    answer(worker, session, status)


def after_answer(worker, session):
    stream: cython.pointer[Stream] = cython.address(session.stream)
    count(cython.address(session.listener.counters.status[stream.status // 100 % 6]), 1)
    stream_unpin(worker, stream)
    if session.state == SESSION_CLOSED:
        return
    if stream.keep_alive:
        session.in_.buffer.start += stream.head_size
        session.in_.buffer.start += cython.cast(uint32_t, stream.request.left)
    session_next(worker, session)


def body_at_hand(session):
    """Is the whole body in the buffer (so that the next request's place is known)?"""
    stream: cython.pointer[Stream] = cython.address(session.stream)
    buffer: cython.pointer[Buffer] = session.in_.buffer
    if stream.request.done:
        stream.request.left = 0
        return True
    if stream.request.framing != FRAMING_LENGTH or not stream.replayable:
        return False
    return buffer.end - buffer.start - stream.head_size >= stream.request.left


def stream_context(worker, session, context):
    stream: cython.pointer[Stream] = cython.address(session.stream)
    memset(context, 0, cython.sizeof(HeadContext))
    context.listener = stream.listener
    context.route = stream.route
    context.backend = stream.backend
    context.scratch = worker.scratch
    context.client_keep_alive = stream.keep_alive
    context.client_version = stream.version
    if stream.id_size > 0:
        context.request_id.at = cython.address(stream.id[0])
        context.request_id.size = stream.id_size


def stream_reread(worker, session):
    """The head was sound once; it is so again, unless the listener has become stricter."""
    session.scanned = 0
    if session.listener.plan is cython.NULL:
        return False
    if read_head(worker, session) <= 0:
        return False
    client_address(session.listener.plan, worker.request)
    return True


# ---- pick, connect, send ----


def pick_server(worker, session):
    """A slot in which this stream now counts, or -1."""
    pick = cython.declare(Pick)
    stream: cython.pointer[Stream] = cython.address(session.stream)
    slot: cython.pointer[Slot]
    number: int32_t
    before: int64_t
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
        if slot.max_in_flight == 0 or before < slot.max_in_flight:
            break
        fetch_add_i64(cython.address(slot.in_flight), -1)  # another worker was quicker
        if pick.tried_count == TRIED_MAX:
            return -1
        pick.tried[pick.tried_count] = number
        pick.tried_count += 1
    stream.slot = number
    stream.in_flight = 1
    stream.backend_state = stream.backend.state
    fetch_add_i64(cython.address(stream.backend_state.in_flight), 1)
    return number


def try_server(worker, session):
    stream: cython.pointer[Stream] = cython.address(session.stream)
    session.state = SESSION_EXCHANGE
    if not stream.in_flight and pick_server(worker, session) < 0:
        count(cython.address(worker.counters.pick_failed), 1)
        session.state = SESSION_HEAD
        answer(worker, session, 502 if stream.tries else 503)
        return
    stream.upstream = upstream_take(worker, session)
    if stream.upstream is cython.NULL:
        stream_failed(worker, session, FAILED_CONNECT)
        return
    send_request(worker, session)


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
        answer(worker, session, 431)
        return
    count(cython.address(worker.slot_counters[stream.slot].requests), 1)
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


# ---- failure ----

def stream_failed(worker, session, failure):
    stream: cython.pointer[Stream] = cython.address(session.stream)
    stale: cython.bint = stream.upstream is not cython.NULL and stream.upstream.reused
    status: uint16_t = 502
    count_failure(worker, stream, failure)
    if failure != FAILED_CONNECT:
        ewma_update(
            slot_of(worker, stream.slot), monotonic_ns() - stream.started_ns, worker.now_ns
        )
    if stream.response_begun:
        session.broken = 1  # the client must see that the answer is not whole
        return
    if not may_retry(session, failure) or not stream_reread(worker, session):
        leave_server(worker, stream)
        if failure == FAILED_TIME or failure == FAILED_CONNECT_TIME:
            status = 504
        session.state = SESSION_HEAD
        answer(worker, session, status)
        return
    count(cython.address(worker.counters.retries), 1)
    stream.sent = 0
    stream.sent_ns = 0
    body_start(session, worker.request)
    if stale and failure == FAILED_RESET:
        stream.stale = 1  # the server closed an idle connection: its right. Once more, on a new one.
        upstream_drop(worker, stream.upstream)
        stream.upstream = cython.NULL
    else:
        if stream.tried_count < TRIED_MAX:
            stream.tried[stream.tried_count] = stream.slot
            stream.tried_count += 1
        stream.tries += 1
        leave_server(worker, stream)
    try_server(worker, session)


def may_retry(session, failure):
    stream: cython.pointer[cython.const[Stream]] = cython.address(session.stream)
    if not stream.replayable or session.listener.plan is cython.NULL:
        return False
    if stream.request.framing == FRAMING_CHUNKED:
        return False
    if failure == FAILED_ANSWER or failure == FAILED_TIME:
        return False
    stale: cython.bint = stream.upstream is not cython.NULL and stream.upstream.reused
    if not (stale and not stream.stale) and stream.tries >= stream.backend.retries:
        return False
    if not stream.sent:
        return True
    return stream.method_id not in (METHOD_POST, METHOD_PATCH, METHOD_OTHER)


def count_failure(worker, stream, failure):
    counters = cython.address(worker.slot_counters[stream.slot])
    if failure == FAILED_CONNECT or failure == FAILED_CONNECT_TIME:
        count(cython.address(counters.connect_errors), 1)
    elif failure == FAILED_RESET:
        count(cython.address(counters.resets), 1)
    elif failure == FAILED_TIME:
        count(cython.address(counters.timeouts), 1)
    else:
        count(cython.address(counters.bad_answers), 1)


def stream_abort(worker, session):
    """The client left, or its connection is beyond use."""
    stream: cython.pointer[Stream] = cython.address(session.stream)
    leave_server(worker, stream)
    stream_unpin(worker, stream)
    count(cython.address(session.listener.counters.status[0]), 1)


# ---- finish ----


def stream_finish(worker, session):
    stream: cython.pointer[Stream] = cython.address(session.stream)
    buffer: cython.pointer[Buffer] = session.in_.buffer
    upstream: cython.pointer[Upstream] = stream.upstream
    stream.upstream = cython.NULL
    if stream.sent_ns:
        upstream_release(worker, upstream)
    else:
        upstream_drop(worker, upstream)  # it still expects a body that nobody will send
        stream.keep_alive = 0
        session.lingering = 1
    leave_server(worker, stream)
    count(cython.address(session.listener.counters.status[stream.status // 100 % 6]), 1)
    count(cython.address(worker.slot_counters[stream.slot].status[stream.status // 100 % 6]), 1)
    if buffer is not cython.NULL:
        buffer.start = session.in_.raw
    session_next(worker, session)
