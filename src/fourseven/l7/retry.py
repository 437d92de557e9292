"""When a try at a server failed: another one, an answer of our own, or the end of the connection.

The request's head stays in the session's buffer until the stream ends. So another try needs no
copy: the head is read again (half a microsecond) and written anew for the other server.

Laws: only before the first byte of a response, only while the whole request is still at hand, and
only if repeating is safe: nothing was sent, or the method is idempotent (RFC 9110 9.2.2). A pooled
connection that the server has just closed is no failure of the server: once more on a new one.
"""

import cython
from cython.cimports.fourseven.balancing.ewma import ewma_update
from cython.cimports.fourseven.l7.answer import (
    answer,
)
from cython.cimports.fourseven.l7.attempt import leave_server, try_server
from cython.cimports.fourseven.l7.call import call_failure
from cython.cimports.fourseven.l7.records import (
    SESSION_HEAD,
    Stream,
    Upstream,
    slot_of,
)
from cython.cimports.fourseven.l7.retry import (
    FAILED_ANSWER,
    FAILED_CONNECT,
    FAILED_CONNECT_TIME,
    FAILED_OURS,
    FAILED_REFUSED,
    FAILED_RESET,
    FAILED_TIME,
    FAILED_TLS,
)
from cython.cimports.fourseven.l7.stream import (
    body_start,
    stream_reread,
)
from cython.cimports.fourseven.l7.upstream import (
    upstream_drop,
)
from cython.cimports.fourseven.native.atomics import (
    count,
)
from cython.cimports.fourseven.protocols.message import (
    METHOD_OTHER,
    METHOD_PATCH,
    METHOD_POST,
)
from cython.cimports.fourseven.snapshot.layout import TRIED_MAX
from cython.cimports.fourseven.worker.judged import server_did
from cython.cimports.fourseven.worker.secure import TLS_REFUSED, TLS_TIME
from cython.cimports.fourseven.worker.tools import (
    monotonic_ns,
)
from cython.cimports.fourseven.worker.worker import (
    REASON_BAD_ANSWER,
    REASON_CONNECT,
    REASON_CONNECT_TIME,
    REASON_OURS,
    REASON_RESET,
    REASON_SERVER_TIME,
    REASON_TLS,
)
from cython.cimports.libc.stdint import uint16_t


def stream_failed(worker, session, failure):
    stream: cython.pointer[Stream] = cython.address(session.stream)
    stale: cython.bint = stream.upstream is not cython.NULL and stream.upstream.reused
    status: uint16_t = 502
    if stream.upstream is not cython.NULL and stream.upstream.lane is not cython.NULL:
        failure = call_failure(worker, session, failure)
    else:
        failure = tls_failure(stream, failure)
    count_failure(worker, stream, failure)
    ours: cython.bint = failure == FAILED_OURS or failure == FAILED_REFUSED
    if not ours and not (stale and failure == FAILED_RESET):
        server_did(worker, stream.slot, False)
    if not ours and failure != FAILED_CONNECT and failure != FAILED_TLS:
        ewma_update(slot_of(worker, stream.slot), monotonic_ns() - stream.started_ns, worker.now_ns)
    if stream.response_begun:
        stream.cut = 1
        session.broken = 1  # the client must see that the answer is not whole
        return
    if not may_retry(session, failure) or not stream_reread(worker, session):
        leave_server(worker, stream)
        if failure == FAILED_TIME or failure == FAILED_CONNECT_TIME:
            status = 504
        elif failure == FAILED_OURS:
            status = 503
        session.state = SESSION_HEAD
        answer(worker, session, status, failure_reason(failure))
        return
    count(cython.address(worker.counters.retries), 1)
    count(cython.address(worker.backend_counters[stream.backend_number].retries), 1)
    stream.last_failure = failure_reason(failure)
    stream.sent = 0
    stream.sent_ns = 0
    body_start(session, worker.request)
    if failure == FAILED_REFUSED or (stale and failure == FAILED_RESET):
        stream.stale = (
            1  # the server closed an idle connection: its right. Once more, on a new one.
        )
        upstream_drop(worker, stream.upstream)
        stream.upstream = cython.NULL
    else:
        if stream.tried_count < TRIED_MAX:
            stream.tried[stream.tried_count] = stream.slot
            stream.tried_count += 1
        stream.tries += 1
        leave_server(worker, stream)
    try_server(worker, session)


def failure_reason(failure):
    if failure == FAILED_CONNECT:
        return REASON_CONNECT
    if failure == FAILED_CONNECT_TIME:
        return REASON_CONNECT_TIME
    if failure == FAILED_RESET or failure == FAILED_REFUSED:
        return REASON_RESET
    if failure == FAILED_TIME:
        return REASON_SERVER_TIME
    if failure == FAILED_ANSWER:
        return REASON_BAD_ANSWER
    return REASON_TLS if failure == FAILED_TLS else REASON_OURS


def tls_failure(stream, failure):
    """Was it TLS? A server may also refuse our certificate after the handshake (TLS 1.3)."""
    upstream: cython.pointer[Upstream] = stream.upstream
    stream.tls_fault = 0
    if upstream is cython.NULL or upstream.tls is cython.NULL or not upstream.tls.said:
        return failure
    if failure == FAILED_CONNECT:
        stream.tls_fault = upstream.tls.fault
        return FAILED_TLS
    if failure == FAILED_CONNECT_TIME:
        stream.tls_fault = TLS_TIME
    elif failure == FAILED_RESET and upstream.tls.fault == TLS_REFUSED:
        stream.tls_fault = TLS_REFUSED
    return failure


def may_retry(session, failure):
    stream: cython.pointer[cython.const[Stream]] = cython.address(session.stream)
    if not stream.replayable or session.listener.plan is cython.NULL:
        return False
    if failure == FAILED_ANSWER or failure == FAILED_TIME or failure == FAILED_OURS:
        return False
    stale: cython.bint = stream.upstream is not cython.NULL and stream.upstream.reused
    if not (stale and not stream.stale) and stream.tries >= stream.backend.retries:
        return False
    if not stream.sent:
        return True
    return stream.method_id not in (METHOD_POST, METHOD_PATCH, METHOD_OTHER)


def count_failure(worker, stream, failure):
    counters = cython.address(worker.slot_counters[stream.slot])
    if stream.tls_fault:
        count(cython.address(counters.tls_failed), 1)
        count(cython.address(worker.counters.tls_server_faults[stream.tls_fault]), 1)
    if failure in (FAILED_TLS, FAILED_OURS, FAILED_REFUSED):
        return
    if failure == FAILED_CONNECT or failure == FAILED_CONNECT_TIME:
        count(cython.address(counters.connect_errors), 1)
    elif failure == FAILED_RESET:
        count(cython.address(counters.resets), 1)
    elif failure == FAILED_TIME:
        count(cython.address(counters.timeouts), 1)
    else:
        count(cython.address(counters.bad_answers), 1)
