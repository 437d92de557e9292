"""A request of our own to a server of a backend, beside the one that a client has sent.

A service is asked about a request (gate_forward), a copy of it goes elsewhere (gate_mirror), or a
second server is asked the same (hedge). To the engine an aside is a session without a socket: its
stream picks a server, counts there, and takes a connection from the same pools, over TLS or as a
stream of HTTP/2, as any other. Only what passes over the connection is its own affair: the request
is written beforehand, whole, and the answer is kept, looked at, or thrown away (AsideWants).

Laws: it counts as in flight at its server and backend from the pick until it is closed. Its request
is one buffer; its answer at most one more. It waits as long as the backend waits for an answer, or
less (`time_ms`), or until its asker closes it. Its answer is read by the same strict reader as any
other. A pooled connection that proves dead is no failure: once more on a new one, if the request
may be repeated; one that may not takes a new connection from the start. It pins its asker's
snapshot, so a reload does not pull its backend away. Not here: another server after a failure, and
the PROXY header (the compiler refuses it: nobody's connection is spoken for).
"""

import cython
from cython.cimports.fourseven.l7.aside import (
    ASIDE_BUSY,
    ASIDE_DONE,
    ASIDE_FAILED,
    THROWN_MAX,
    WANTS_ALL,
    WANTS_HEAD,
    Aside,
    aside_of,
)
from cython.cimports.fourseven.l7.attempt import leave_server
from cython.cimports.fourseven.l7.breaker import breaker_said
from cython.cimports.fourseven.l7.call import call_failure
from cython.cimports.fourseven.l7.choice import pick_server
from cython.cimports.fourseven.l7.records import (
    SESSION_ASIDE,
    SESSION_CLOSED,
    Http,
    Session,
    Stream,
    Upstream,
    due_ms,
    http_of,
    session_of_dead,
)
from cython.cimports.fourseven.l7.response import answered_after
from cython.cimports.fourseven.l7.retry import (
    FAILED_ANSWER,
    FAILED_CONNECT,
    FAILED_CONNECT_TIME,
    FAILED_OURS,
    FAILED_REFUSED,
    FAILED_RESET,
    FAILED_TIME,
    count_failure,
    repeatable,
    tls_failure,
)
from cython.cimports.fourseven.l7.session import (
    READ_END,
    READ_LATER,
    READ_NO_MEMORY,
    session_ready,
)
from cython.cimports.fourseven.l7.stream import stream_rest, stream_take, stream_unpin
from cython.cimports.fourseven.l7.upstream import (
    server_head,
    upstream_drop,
    upstream_flush,
    upstream_read,
    upstream_release,
    upstream_send,
    upstream_take,
)
from cython.cimports.fourseven.native.atomics import (
    count,
    fetch_add_i64,
    load_i64,
    store_i64,
)
from cython.cimports.fourseven.protocols.chunked import (
    CHUNKED_DECODE,
    chunked_read,
    chunked_start,
)
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_LENGTH,
    FRAMING_NONE,
)
from cython.cimports.fourseven.worker.judged import server_did
from cython.cimports.fourseven.worker.tools import (
    buffer_free,
    bury,
    run_again,
    timer_put_off,
    timer_set,
    unwatch,
)
from cython.cimports.fourseven.worker.worker import Buffer
from cython.cimports.libc.stdint import int32_t, int64_t, uint32_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memmove, memset

# ---- open and close ----


def aside_new(worker, asker, backend, request):
    http: cython.pointer[Http] = http_of(worker)
    session: cython.pointer[Session]
    stream: cython.pointer[Stream]
    pins: cython.pointer[int64_t]
    aside: cython.pointer[Aside] = cython.cast(cython.pointer[Aside], malloc(cython.sizeof(Aside)))
    if aside is cython.NULL:
        count(cython.address(worker.counters.memory_refused), 1)
        buffer_free(worker, request)
        return aside
    stream = stream_take(worker)
    if stream is cython.NULL:
        buffer_free(worker, request)
        free(aside)
        return cython.NULL
    memset(
        aside,
        0,
        cython.cast(cython.p_char, cython.address(aside.response))
        - cython.cast(cython.p_char, aside),
    )
    aside.asker = asker
    aside.request = request
    session = cython.address(aside.session)
    session.state = SESSION_ASIDE
    session.outward = 1  # it waits for no client
    session.source.fd = -1
    session.source.ready = session_ready
    session.dead.bury = aside_bury
    session.listener = asker.listener
    session.peer = asker.peer
    session.next = http.asides
    session.link = cython.address(http.asides)
    if session.next is not cython.NULL:
        session.next.link = cython.address(session.next)
    http.asides = session
    session.stream = stream
    stream.method_id = asker.stream.method_id
    stream.version = 11
    stream.started_ns = worker.now_ns
    stream.backend = backend
    stream.backend_number = backend.number
    stream.pinned = asker.stream.pinned
    pins = cython.address(stream.pinned.pins[worker.index].count)
    store_i64(pins, load_i64(pins) + 1)
    return aside


def aside_go(worker, aside):
    stream: cython.pointer[Stream] = aside.session.stream
    stream.stale = not repeatable(stream)
    if pick_server(worker, cython.address(aside.session)) < 0:
        aside_close(worker, aside)
        return False
    count(cython.address(worker.slot_counters[stream.slot].requests), 1)
    count(cython.address(worker.backend_counters[stream.backend_number].requests), 1)
    if not take_connection(worker, aside):
        if not stream.ours and not stream.crowded:
            blame(worker, aside, FAILED_CONNECT)
        aside_close(worker, aside)
        return False
    return True


def take_connection(worker, aside):
    """What can be sent is sent; if that fails, a turn of its own tells so."""
    stream: cython.pointer[Stream] = aside.session.stream
    upstream: cython.pointer[Upstream] = upstream_take(worker, cython.address(aside.session))
    stream.upstream = upstream
    if upstream is cython.NULL:
        return False
    if aside.time_ms:
        upstream.try_due_ms = worker.now_ms + aside.time_ms
        timer_set(worker, cython.address(upstream.timer), due_ms(upstream, upstream.timer.due_ms))
    if aside_send(worker, aside) < 0:
        run_again(worker, cython.address(aside.session.source))
    return True


def aside_close(worker, aside):
    session: cython.pointer[Session] = cython.address(aside.session)
    upstream: cython.pointer[Upstream] = session.stream.upstream
    if session.state == SESSION_CLOSED:
        return
    session.state = SESSION_CLOSED
    session.link[0] = session.next
    if session.next is not cython.NULL:
        session.next.link = session.link
    session.stream.upstream = cython.NULL
    if upstream is not cython.NULL:
        if aside.result == ASIDE_DONE and aside.over and session.stream.sent_ns:
            upstream_release(worker, upstream)
        else:
            upstream_drop(worker, upstream)
    leave_server(worker, session.stream)
    stream_unpin(worker, session.stream)
    if aside.kept is not cython.NULL:
        fetch_add_i64(cython.address(aside.kept.users), -1)
    buffer_free(worker, aside.request)
    aside.request = cython.NULL
    aside.asker = cython.NULL
    unwatch(worker, cython.address(session.source))
    bury(worker, cython.address(session.dead))


def aside_bury(worker, dead):
    stream_rest(worker, session_of_dead(dead))
    free(session_of_dead(dead))


# ---- events ----


def aside_step(worker, session):
    aside: cython.pointer[Aside] = aside_of(session)
    upstream: cython.pointer[Upstream] = session.stream.upstream
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    size: int32_t = READ_LATER
    lost: cython.bint
    if aside.result:
        return False
    lost = aside_send(worker, aside) < 0  # an answer may have come before
    if buffer is not cython.NULL and buffer.end == buffer.capacity:
        aside_failed(worker, aside, FAILED_ANSWER)
        return False
    if upstream.readable or lost:
        size = upstream_read(worker, upstream)
    if size > 0 or size == READ_END:
        look(worker, aside, size == READ_END)
    elif size != READ_LATER or lost:
        if size == READ_NO_MEMORY:
            aside_failed(worker, aside, FAILED_OURS)
        else:
            aside_failed(worker, aside, FAILED_CONNECT if upstream.connecting else FAILED_RESET)
    return size > 0 and session.state == SESSION_ASIDE and not aside.result


def aside_late(worker, session):
    if aside_of(session).result == ASIDE_BUSY:
        aside_failed(
            worker,
            aside_of(session),
            FAILED_CONNECT_TIME if session.stream.upstream.connecting else FAILED_TIME,
        )


def aside_send(worker, aside):
    """1: all is sent, 0: it waits for room, -1: the connection is lost."""
    stream: cython.pointer[Stream] = aside.session.stream
    upstream: cython.pointer[Upstream] = stream.upstream
    request: cython.pointer[Buffer] = aside.request
    sent: int32_t
    if stream.sent_ns:
        return 1
    while request.start < request.end:
        sent = upstream_send(
            worker, upstream, request.at + request.start, request.end - request.start
        )
        if sent <= 0:
            return sent
        request.start += sent
    sent = upstream_flush(worker, upstream)  # what TLS still holds
    if sent <= 0:
        return sent
    stream.sent_ns = worker.now_ns
    timer_put_off(
        worker,
        cython.address(upstream.timer),
        due_ms(upstream, worker.now_ms + upstream.response_timeout_ms),
    )
    if not upstream.reused:  # it will not be sent again
        buffer_free(worker, request)
        aside.request = cython.NULL
    return 1


# ---- the answer ----


def look(worker, aside, ended):
    """At what has come; and whether there can be more."""
    upstream: cython.pointer[Upstream] = aside.session.stream.upstream
    found: int32_t
    good: cython.bint
    while aside.head_size == 0:
        found = 0
        if upstream.in_.buffer is not cython.NULL:
            found = head(worker, aside)
        if found <= 0:
            if found < 0 or ended:
                aside_failed(worker, aside, FAILED_ANSWER if found < 0 else FAILED_RESET)
            return
    if aside.wants == WANTS_HEAD:
        tell(worker, aside, ASIDE_DONE)
        return
    if aside.wants == WANTS_ALL:
        good = whole_body(aside, ended)
    else:
        good = throw_away(worker, aside, ended)
    if aside.over:
        upstream.keep_alive = (
            aside.response.keep_alive and aside.response.framing != FRAMING_CLOSE and not ended
        )
        tell(worker, aside, ASIDE_DONE)
    elif not good or ended:
        aside_failed(worker, aside, FAILED_RESET if good else FAILED_ANSWER)


def head(worker, aside):
    """Bytes of a head, 0: it is not whole, below 0: it is none. 1xx are passed over."""
    stream: cython.pointer[Stream] = aside.session.stream
    upstream: cython.pointer[Upstream] = stream.upstream
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    size: int32_t = server_head(upstream, stream.method_id, cython.address(aside.response))
    if size <= 0:
        return size
    if aside.response.status < 200:
        buffer.start += size
        return size
    aside.head_size = size
    if aside.wants != WANTS_HEAD:
        judge(worker, aside)
        upstream.in_.raw = buffer.start + size
    return size


def judge(worker, aside):
    """The server has answered: how well, and after what time."""
    stream: cython.pointer[Stream] = aside.session.stream
    stream.status = aside.response.status
    server_did(worker, stream.slot, stream.status < 500)
    breaker_said(worker, stream, stream.status < 500)
    count(cython.address(worker.slot_counters[stream.slot].status[stream.status // 100 % 6]), 1)
    if stream.sent_ns:
        answered_after(worker, stream, worker.now_ns - stream.sent_ns)
    aside.left = aside.response.content_length
    chunked_start(cython.address(aside.chunked), CHUNKED_DECODE)


def whole_body(aside, ended):
    """`over` where it is all here; false where it can be no body. It stays where it is."""
    response = cython.address(aside.response)
    upstream: cython.pointer[Upstream] = aside.session.stream.upstream
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    start: uint32_t = buffer.start + aside.head_size
    size: uint32_t = buffer.end - start
    aside.body.at = buffer.at + start
    aside.body.size = size
    if response.framing == FRAMING_CHUNKED:
        return chunks(aside)
    if response.framing == FRAMING_NONE:
        aside.body.size = 0
        aside.over = 1
    elif response.framing == FRAMING_LENGTH:
        aside.over = size >= response.content_length
        if aside.over:
            aside.body.size = cython.cast(uint32_t, response.content_length)
    elif response.framing == FRAMING_CLOSE:
        aside.over = ended
    upstream.in_.raw = start + aside.body.size
    return True


def chunks(aside):
    """Decoded where they stand: what is decoded is followed by what is not yet."""
    used: uint32_t = 0
    upstream: cython.pointer[Upstream] = aside.session.stream.upstream
    buffer: cython.pointer[Buffer] = upstream.in_.buffer
    raw: uint32_t = buffer.start + aside.head_size + aside.decoded
    made: int32_t = chunked_read(
        cython.address(aside.chunked), buffer.at + raw, buffer.end - raw, cython.address(used)
    )
    if made < 0:
        return False
    memmove(buffer.at + raw + made, buffer.at + raw + used, buffer.end - raw - used)
    buffer.end -= used - made
    aside.decoded += made
    aside.body.size = aside.decoded
    aside.over = aside.chunked.done
    upstream.in_.raw = raw + made
    return True


def throw_away(worker, aside, ended):
    """What has come of the body is dropped, and its room is used again."""
    window = cython.address(aside.session.stream.upstream.in_)
    buffer: cython.pointer[Buffer] = window.buffer
    if buffer is cython.NULL:
        aside.over = ended and aside.response.framing == FRAMING_CLOSE
        return True
    if not throw_piece(aside, ended):
        return False
    if aside.over:
        return True
    buffer.end -= window.raw
    memmove(buffer.at, buffer.at + window.raw, buffer.end)
    buffer.start = 0
    window.raw = 0
    if buffer.end == 0:
        buffer_free(worker, buffer)
        window.buffer = cython.NULL
    return True


def throw_piece(aside, ended):
    window = cython.address(aside.session.stream.upstream.in_)
    framing = aside.response.framing
    size: uint32_t = window.buffer.end - window.raw
    used: uint32_t = size
    if framing == FRAMING_NONE:
        used = 0
        aside.over = 1
    elif framing == FRAMING_LENGTH:
        if used > aside.left:
            used = cython.cast(uint32_t, aside.left)
        aside.left -= used
        aside.over = aside.left == 0
    elif framing == FRAMING_CLOSE:
        aside.over = ended
    elif (
        chunked_read(
            cython.address(aside.chunked),
            window.buffer.at + window.raw,
            size,
            cython.address(used),
        )
        < 0
    ):
        return False
    else:
        aside.over = aside.chunked.done
    window.raw += used
    aside.thrown += used
    if aside.thrown > THROWN_MAX and not aside.over:
        aside.response.keep_alive = 0
        aside.over = 1
    return True


# ---- failures ----


def aside_failed(worker, aside, failure):
    stream: cython.pointer[Stream] = aside.session.stream
    if stream.upstream.lane is not cython.NULL:
        failure = call_failure(worker, cython.address(aside.session), failure)
    else:
        failure = tls_failure(stream, failure)
    if failure == FAILED_RESET or failure == FAILED_REFUSED:
        if once_more(worker, aside):
            return
    blame(worker, aside, failure)
    tell(worker, aside, ASIDE_FAILED)


def once_more(worker, aside):
    """A connection that others have used was closed meanwhile: the same on a new one."""
    stream: cython.pointer[Stream] = aside.session.stream
    if not stream.upstream.reused or stream.stale or aside.head_size:
        return False
    if aside.request is cython.NULL:
        return False
    upstream_drop(worker, stream.upstream)
    stream.upstream = cython.NULL
    stream.stale = 1
    stream.sent = 0
    stream.sent_ns = 0
    aside.request.start = 0
    return take_connection(worker, aside)


def blame(worker, aside, failure):
    """What the server is charged with; nothing where it is not its fault."""
    stream: cython.pointer[Stream] = aside.session.stream
    count_failure(worker, stream, failure)
    if failure != FAILED_OURS and failure != FAILED_REFUSED and not aside.head_size:
        server_did(worker, stream.slot, False)
        breaker_said(worker, stream, False)


def tell(worker, aside, result):
    aside.result = result
    aside.told(worker, aside)
