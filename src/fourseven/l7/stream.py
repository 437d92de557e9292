"""One request, from its head to its last byte: the phases, in the order of the code.

    read head -> limits -> route -> (prefix of the body) -> choose backend -> pick server
    -> connect or reuse -> forward request -> forward response -> finish

Each phase goes on to the next or ends the stream with an `answer` of our own. Here are the phases
up to the route, and the end; servers are in `attempt`, failures in `retry`, bytes in `request` and
`response`.

The request's head stays in the session's buffer until the stream ends. So another try needs no
copy: the head is read again (half a microsecond) and written anew for the other server.

Laws: it pins its snapshot from routing until the response's head is written, for that head is made
by the same route that chose the server. Whatever ends a stream goes through `stream_finish`,
`answer` or `stream_abort`.
"""

import cython
from cython.cimports.fourseven.l7.answer import (
    answer,
    answer_action,
    body_at_hand,
    stream_refuse,
)
from cython.cimports.fourseven.l7.attempt import leave_server, try_server
from cython.cimports.fourseven.l7.ended import stream_ended
from cython.cimports.fourseven.l7.forwarded import client_address, request_id
from cython.cimports.fourseven.l7.gates import gates_pass
from cython.cimports.fourseven.l7.records import (
    SESSION_EXCHANGE,
    SESSION_GATE,
    SESSION_HEAD,
    SESSION_PREFIX,
    SESSION_TUNNEL,
    TEXT_MAX,
    Http,
    Stream,
    Upstream,
    carrier_of,
    http_of,
)
from cython.cimports.fourseven.l7.request import window_reset
from cython.cimports.fourseven.l7.session import session_close, session_next, session_write
from cython.cimports.fourseven.l7.sticky import sticky_draw
from cython.cimports.fourseven.l7.tls import tls_covers
from cython.cimports.fourseven.l7.trace import trace_begin
from cython.cimports.fourseven.l7.upstream import (
    upstream_drop,
    upstream_release,
)
from cython.cimports.fourseven.matching.table import ROUTE_NEEDS_BODY, ROUTE_UNDECIDED, route_find
from cython.cimports.fourseven.native.atomics import (
    count,
    load_i64,
    store_i64,
    store_release_i64,
)
from cython.cimports.fourseven.native.linux import SO_LINGER, SOL_SOCKET, linger, setsockopt
from cython.cimports.fourseven.protocols.chunked import (
    CHUNKED_DECODE,
    Chunked,
    chunked_read,
    chunked_start,
)
from cython.cimports.fourseven.protocols.http1 import HeadLimits, read_request
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_LENGTH,
    FRAMING_NONE,
    HEADER_REFERER,
    HEADER_USER_AGENT,
    METHOD_CONNECT,
    Request,
    Span,
)
from cython.cimports.fourseven.snapshot.layout import PROTOCOL_HTTP1, Listener, Route
from cython.cimports.fourseven.worker.arrival import arrived_fill
from cython.cimports.fourseven.worker.tools import (
    buffer_free,
    buffer_large,
    random_next,
)
from cython.cimports.fourseven.worker.worker import (
    FAULTS_MAX,
    REASON_BODY_FAULT,
    REASON_BODY_SIZE,
    REASON_CLIENT_LEFT,
    REASON_CUT,
    REASON_FAULT,
    REASON_METHOD,
    REASON_MISDIRECTED,
    REASON_NO_ROUTE,
    REASON_OURS,
    REASON_RELOADED,
    REASON_UNDECIDED,
    REASON_VERSION,
    Buffer,
)
from cython.cimports.libc.stdint import int32_t, int64_t, uint16_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import malloc
from cython.cimports.libc.string import memcpy, memset

# ---- read head, limits ----


def stream_begin(worker, session):
    size: int32_t
    stream: cython.pointer[Stream]
    listener: cython.pointer[cython.const[Listener]] = session.listener.plan
    if listener is cython.NULL:
        session_close(worker, session)
        return True
    if session.lane is cython.NULL and not listener.protocols & PROTOCOL_HTTP1:
        if stream_clear(worker, session):
            stream_refuse(worker, session, 505, REASON_VERSION)
        return True
    size = read_head(worker, session)
    if size == 0:
        return False
    if not stream_clear(worker, session):
        return True
    stream = session.stream
    stream.listener = listener
    stream.started_ns = worker.now_ns
    if size < 0:
        count(cython.address(worker.counters.faults[worker.request.fault % FAULTS_MAX]), 1)
        stream_refuse(worker, session, cython.cast(uint16_t, -size), REASON_FAULT)
        return True
    admit(worker, session)
    return True


def stream_clear(worker, session):
    stream: cython.pointer[Stream]
    stream_rest(worker, session)
    stream = stream_take(worker)
    if stream is cython.NULL:
        session_close(worker, session)
        return False
    session.stream = stream
    stream.version = 11
    if session.listener.plan is not cython.NULL:
        stream.logged = session.listener.plan.logged
        stream.client = session.peer
        stream.secure = carrier_of(session).tls is not cython.NULL
    return True


def stream_take(worker):
    http: cython.pointer[Http] = http_of(worker)
    stream: cython.pointer[Stream] = http.free_streams
    if stream is not cython.NULL:
        http.free_streams = stream.next_free
    else:
        stream = cython.cast(cython.pointer[Stream], malloc(cython.sizeof(Stream)))
        if stream is cython.NULL:
            count(cython.address(worker.counters.memory_refused), 1)
            return stream
    memset(stream, 0, cython.sizeof(Stream))
    return stream


def stream_rest(worker, session):
    http: cython.pointer[Http] = http_of(worker)
    if session.stream != cython.address(http.resting):
        session.stream.next_free = http.free_streams
        http.free_streams = session.stream
        session.stream = cython.address(http.resting)


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
    request.secure = carrier_of(session).tls is not cython.NULL
    request.certificate = cython.NULL
    if request.secure:
        request.certificate = carrier_of(session).tls.certificate
    request.body.at = cython.NULL
    request.body.size = 0
    request.body_complete = 0
    arrived_fill(carrier_of(session).arrived, request)
    return read_request(
        buffer.at + buffer.start,
        buffer.end - buffer.start,
        cython.address(session.scanned),
        cython.address(limits),
        request,
    )


def admit(worker, session):
    """The head is sound: fills the stream from it, and asks the limits."""
    stream: cython.pointer[Stream] = session.stream
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
    stream.keep_alive = request.keep_alive
    last: cython.bint = listener.requests_max != 0 and session.requests + 1 >= listener.requests_max
    if stream.keep_alive and (last or worker.draining):
        stream.keep_alive = 0
        session.lingering = 1  # it did not know: its next requests may be on their way
    client_address(listener, request)
    if listener.traced:
        trace_begin(worker, session, request)
    if stream.logged or stream.sampled:
        note_texts(session, request)
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
        stream_refuse(worker, session, status, limit_reason(status))
        return
    session.body_due_ms = 0
    if listener.body_timeout_ms and not stream.request.done:
        session.body_due_ms = worker.now_ms + listener.body_timeout_ms
    route_step(worker, session)


def note_texts(session, request):
    """Where the texts for the record stand in the head."""
    stream: cython.pointer[Stream] = session.stream
    at: uint32_t
    stream.client = request.client
    note_text(session, 0, cython.address(request.method))
    note_text(session, 1, cython.address(request.target))
    note_text(session, 2, cython.address(request.authority))
    for at in range(request.header_count):
        if request.headers[at].known == HEADER_USER_AGENT:
            note_text(session, 3, cython.address(request.headers[at].value))
        elif request.headers[at].known == HEADER_REFERER:
            note_text(session, 4, cython.address(request.headers[at].value))


def note_text(session, which, text):
    buffer: cython.pointer[Buffer] = session.in_.buffer
    start: cython.p_const_char = buffer.at + buffer.start
    if text.at is cython.NULL or text.at < start or text.at + text.size > buffer.at + buffer.end:
        return  # it was put together elsewhere
    if text.at - start > 65535:
        return
    session.stream.texts[which].at = cython.cast(uint16_t, text.at - start)
    session.stream.texts[which].size = cython.cast(
        uint16_t, text.size if text.size < TEXT_MAX else cython.cast(uint32_t, TEXT_MAX)
    )


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
    carrier = carrier_of(session)
    if carrier.tls is not cython.NULL and not tls_covers(carrier, request):
        return 421  # RFC 9110 15.5.20: another certificate stands for that host
    return 0


def limit_reason(status):
    if status == 413:
        return REASON_BODY_SIZE
    return REASON_METHOD if status == 405 else REASON_MISDIRECTED


# ---- route ----


def route_step(worker, session):
    number: int32_t = route_find(session.stream.listener, worker.request, worker.scratch)
    if number == ROUTE_NEEDS_BODY:
        prefix_begin(worker, session)
    elif number < 0:
        no_route(worker, session, number)
    else:
        take_route(worker, session, number)


def no_route(worker, session, number):
    """None matches; or nobody knows, since an expression ran into its limit."""
    if number == ROUTE_UNDECIDED:
        answer(worker, session, 500, REASON_UNDECIDED)
    else:
        answer(worker, session, 404, REASON_NO_ROUTE)


def prefix_begin(worker, session):
    """A payload decides: read its beginning first. A client that waits to be asked is asked."""
    stream: cython.pointer[Stream] = session.stream
    larger: cython.pointer[Buffer]
    buffer: cython.pointer[Buffer] = session.in_.buffer
    if not buffer.large:
        larger = buffer_large(worker)
        if larger is cython.NULL:
            stream_refuse(worker, session, 503, REASON_OURS)
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
        stream_refuse(worker, session, 400, REASON_RELOADED)
        return True
    set_prefix(worker, session)
    if session.state != SESSION_PREFIX:
        return True
    if worker.request.body.at is cython.NULL:
        return False
    number = route_find(session.stream.listener, worker.request, worker.scratch)
    session.state = SESSION_HEAD
    if number < 0:
        no_route(worker, session, number)
    else:
        take_route(worker, session, number)
    return True


def set_prefix(worker, session):
    """Gives the matches what is here of the body, once it suffices; decoded if it is chunked."""
    stream: cython.pointer[Stream] = session.stream
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
            stream_refuse(worker, session, 400, REASON_BODY_FAULT)
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
    stream: cython.pointer[Stream] = session.stream
    pins: cython.pointer[int64_t] = cython.address(worker.snapshot.pins[worker.index].count)
    stream.route = cython.address(stream.listener.routes[number])
    stream.pinned = worker.snapshot
    store_i64(pins, load_i64(pins) + 1)
    stream.routed = 1
    stream.route_stable = stream.route.stable
    count(cython.address(worker.route_counters[stream.route_stable].begun), 1)
    if gates_pass(worker, session):
        stream_go_on(worker, session)


def stream_go_on(worker, session):
    stream: cython.pointer[Stream] = session.stream
    if stream.route.choice_count == 0:
        answer_action(worker, session)
        return
    if stream.backend is cython.NULL:  # it is, unless it waited for a server
        stream.backend = choose(worker, session)
    stream.backend_number = stream.backend.number
    try_server(worker, session)


def choose(worker, session):
    """The route's backend, by weight where it has several."""
    stream: cython.pointer[Stream] = session.stream
    route: cython.pointer[cython.const[Route]] = stream.route
    at: uint32_t = 0
    drawn: uint64_t
    if route.choice_count > 1 and route.choice_total > 0:
        drawn = sticky_draw(worker, session) if route.sticky else random_next(worker)
        drawn = (drawn >> 32) * route.choice_total >> 32
        while at + 1 < route.choice_count and drawn >= route.choices[at].up_to:
            at += 1
    return cython.address(stream.pinned.backends[route.choices[at].backend])


# ---- the end ----


def stream_finish(worker, session):
    stream: cython.pointer[Stream] = session.stream
    buffer: cython.pointer[Buffer] = session.in_.buffer
    upstream: cython.pointer[Upstream] = stream.upstream
    stream.upstream = cython.NULL
    if stream.sent_ns:
        upstream_release(worker, upstream)
    else:
        upstream_drop(worker, upstream)  # it still expects a body that nobody will send
        stream.keep_alive = 0
        session.lingering = 1
    count(cython.address(session.listener.counters.status[stream.status // 100 % 6]), 1)
    count(cython.address(worker.slot_counters[stream.slot].status[stream.status // 100 % 6]), 1)
    leave_server(worker, stream)
    stream_ended(worker, session)
    if buffer is not cython.NULL:
        buffer.start = session.in_.raw
    session_next(worker, session)


def stream_abort(worker, session):
    """The client left, or its connection is beyond use."""
    stream: cython.pointer[Stream] = session.stream
    reset = cython.declare(linger)
    if (
        stream.response_begun
        and stream.response_framing == FRAMING_CLOSE
        and session.lane is cython.NULL
    ):
        reset.l_onoff = 1  # a close would say that the body is whole
        reset.l_linger = 0
        setsockopt(
            session.source.fd,
            SOL_SOCKET,
            SO_LINGER,
            cython.address(reset),
            cython.sizeof(linger),
        )
    if not stream.reason and session.state != SESSION_TUNNEL:
        stream.reason = REASON_CUT if stream.cut else REASON_CLIENT_LEFT
    if (
        session.state == SESSION_EXCHANGE or session.state == SESSION_GATE
    ):  # a tunnel has had its answer
        count(cython.address(session.listener.counters.status[0]), 1)
    leave_server(worker, stream)
    stream_ended(worker, session)
    stream_unpin(worker, stream)


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


def stream_reread(worker, session):
    """The head was sound once; it is so again, unless the listener has become stricter."""
    session.scanned = 0
    if session.listener.plan is cython.NULL:
        return False
    if read_head(worker, session) <= 0:
        return False
    client_address(session.listener.plan, worker.request)
    return True
