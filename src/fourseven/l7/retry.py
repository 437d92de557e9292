"""When a try at a server failed: another one, an answer of our own, or the end of the connection.

The request's head stays in the session's buffer until the stream ends. So another try needs no
copy: the head is read again (half a microsecond) and written anew for the other server.

Beyond a few failures the cure is worse than the disease: a backend may have a budget, a share of
its requests in flight that may be on a further try. An answer may be worth another try too (`retry:
on: [503]`): it is dropped, if there is a server to ask instead.

Laws: only before the first byte of a response has reached the client, only while the whole request
is still at hand, and only if repeating is safe: nothing was sent, or the method is idempotent (RFC
9110 9.2.2). A pooled connection that the server has just closed is no failure of the server: once
more on a new one.
"""

import cython
from cython.cimports.fourseven.balancing.ewma import ewma_update
from cython.cimports.fourseven.l7.answer import (
    answer,
)
from cython.cimports.fourseven.l7.attempt import leave_server, try_server
from cython.cimports.fourseven.l7.breaker import breaker_said
from cython.cimports.fourseven.l7.call import call_failure
from cython.cimports.fourseven.l7.choice import another_server
from cython.cimports.fourseven.l7.fallback import fallback_takes
from cython.cimports.fourseven.l7.hedge import HEDGE_NONE, HEDGE_OUT, hedge_takes_over
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
    fetch_add_i64,
    load_i64,
    load_relaxed,
    swap_if,
)
from cython.cimports.fourseven.protocols.message import (
    METHOD_OTHER,
    METHOD_PATCH,
    METHOD_POST,
)
from cython.cimports.fourseven.snapshot.layout import (
    NO_BACKEND,
    RETRY_CONNECT,
    RETRY_RESET,
    RETRY_TIMEOUT,
    TRIED_MAX,
    Resilience,
)
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
    REASON_RETRIED_STATUS,
    REASON_SERVER_TIME,
    REASON_TLS,
)
from cython.cimports.libc.stdint import int64_t, uint16_t, uint32_t, uint64_t


def stream_failed(worker, session, failure):
    stream: cython.pointer[Stream] = session.stream
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
        breaker_said(worker, stream, False)
    if not ours and failure != FAILED_CONNECT and failure != FAILED_TLS:
        ewma_update(slot_of(worker, stream.slot), monotonic_ns() - stream.started_ns, worker.now_ns)
    if stream.response_begun:
        stream.cut = 1
        session.broken = 1  # the client must see that the answer is not whole
        return
    if stream.hedge == HEDGE_OUT:
        stream.last_failure = failure_reason(failure)
        hedge_takes_over(worker, session)
        return
    if not may_retry(worker, session, failure) or not stream_reread(worker, session):
        if falls_back(worker, session, failure):
            return
        leave_server(worker, stream)
        if failure == FAILED_TIME or failure == FAILED_CONNECT_TIME:
            status = 504
        elif failure == FAILED_OURS:
            status = 503
        session.state = SESSION_HEAD
        answer(worker, session, status, failure_reason(failure))
        return
    stream.last_failure = failure_reason(failure)
    try_again(worker, session, failure == FAILED_REFUSED or (stale and failure == FAILED_RESET))


def falls_back(worker, session, failure):
    """No further try; but nobody could be connected to, so the route's fallback may have it."""
    stream: cython.pointer[Stream] = session.stream
    if stream.sent or not stream.replayable or stream.route is cython.NULL:
        return False
    if stream.fallen or stream.route.fallback == NO_BACKEND:
        return False
    if failure not in (FAILED_CONNECT, FAILED_CONNECT_TIME, FAILED_TLS):
        return False
    if not stream_reread(worker, session):
        return False
    leave_server(worker, stream)
    if not fallback_takes(worker, session, failure_reason(failure)):
        return False
    body_start(session, worker.request)
    try_server(worker, session)
    return True


def try_again(worker, session, same):
    """The head has been read again; `same`: at the same server, on a new connection."""
    stream: cython.pointer[Stream] = session.stream
    count(cython.address(worker.counters.retries), 1)
    count(cython.address(worker.backend_counters[stream.backend_number].retries), 1)
    stream.sent = 0
    stream.sent_ns = 0
    stream.hedge = HEDGE_NONE
    body_start(session, worker.request)
    if same:
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


def may_retry(worker, session, failure):
    stream: cython.pointer[Stream] = session.stream
    if not stream.replayable or session.listener.plan is cython.NULL:
        return False
    if not worth(stream, failure):
        return False
    stale: cython.bint = stream.upstream is not cython.NULL and stream.upstream.reused
    if not (stale and not stream.stale) and stream.tries >= stream.backend.retries:
        return False
    if stream.sent and not repeatable(stream):
        return False
    return (stale and failure == FAILED_RESET) or budget_grants(worker, stream)


def repeatable(stream):
    """RFC 9110 9.2.2: twice is as good as once; or the file says that the application bears it."""
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    if rules is not cython.NULL and rules.retry_any_method:
        return True
    return stream.method_id not in (METHOD_POST, METHOD_PATCH, METHOD_OTHER)


def worth(stream, failure):
    """Is this failure one that another try may mend?"""
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    on: uint32_t = RETRY_CONNECT | RETRY_RESET
    if failure == FAILED_ANSWER or failure == FAILED_OURS:
        return False
    if failure == FAILED_REFUSED:
        return True  # the server said itself that it has not begun
    if rules is not cython.NULL:
        on = rules.retry_on
    if failure == FAILED_TIME:
        return (on & RETRY_TIMEOUT) != 0
    return (on & (RETRY_RESET if failure == FAILED_RESET else RETRY_CONNECT)) != 0


def retry_answer(worker, session):
    """An answer that is worth another try, if there is another server for it: true when it is
    dropped, and the next try has begun."""
    stream: cython.pointer[Stream] = session.stream
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    at: uint32_t
    for at in range(rules.status_count):
        if rules.statuses[at] == worker.response.status:
            break
    else:
        return False
    if stream.hedge == HEDGE_OUT:
        count(cython.address(worker.backend_counters[stream.backend_number].retries_of_status), 1)
        stream.last_failure = REASON_RETRIED_STATUS
        hedge_takes_over(worker, session)
        return True
    if not stream.replayable or session.listener.plan is cython.NULL or stream.upgrade:
        return False
    if stream.tries >= stream.backend.retries or not repeatable(stream):
        return False
    if not another_server(worker, stream) or not budget_grants(worker, stream):
        return False
    if not stream_reread(worker, session):
        return False
    count(cython.address(worker.backend_counters[stream.backend_number].retries_of_status), 1)
    stream.last_failure = REASON_RETRIED_STATUS
    try_again(worker, session, False)
    return True


def budget_grants(worker, stream):
    """May one more be on a further try? Counted first and compared after, so it holds exactly."""
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    before: int64_t
    live: int64_t
    if rules is cython.NULL or rules.budget_percent == 0 or stream.budgeted:
        return True
    before = fetch_add_i64(cython.address(stream.backend_state.retrying), 1)
    live = load_i64(cython.address(stream.backend_state.in_flight))
    if (before + 1) * 100 <= live * rules.budget_percent:
        stream.budgeted = 1
        return True
    fetch_add_i64(cython.address(stream.backend_state.retrying), -1)
    if spare(worker, stream, rules):
        return True
    count(cython.address(worker.backend_counters[stream.backend_number].retries_refused), 1)
    return False


def spare(worker, stream, rules):
    """The budget's minimum: so many a second, as one time that all workers move on (GCRA)."""
    second_ns: uint64_t = 1000000000
    step_ns: uint64_t
    due_ns: uint64_t
    begin_ns: uint64_t
    if rules.budget_min == 0:
        return False
    step_ns = second_ns // rules.budget_min
    while True:
        due_ns = load_relaxed(cython.address(stream.backend_state.spare_ns))
        begin_ns = due_ns if due_ns > worker.now_ns else worker.now_ns
        if begin_ns + step_ns > worker.now_ns + second_ns:
            return False
        if swap_if(cython.address(stream.backend_state.spare_ns), due_ns, begin_ns + step_ns):
            return True


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
