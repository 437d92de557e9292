"""Answers of our own: error pages, redirects, fixed responses.

The client's connection goes on only if the place of its next request is known: the body of this one
is complete in the buffer. Otherwise the answer closes it, and the session lingers.

Laws: an answer is written whole into the worker's room and from there to the socket, or kept by the
session. After it the stream holds nothing: no server, no pin.
"""

import cython
from cython.cimports.fourseven.l7.attempt import leave_server
from cython.cimports.fourseven.l7.ended import stream_ended
from cython.cimports.fourseven.l7.grpc import write_grpc_answer
from cython.cimports.fourseven.l7.heads import (
    HEAD_REFUSED,
    HeadContext,
    write_action_answer,
    write_answer,
)
from cython.cimports.fourseven.l7.records import (
    OUT_CAPACITY,
    SESSION_CLOSED,
    SESSION_EXCHANGE,
    SESSION_HEAD,
    Http,
    Stream,
    http_of,
)
from cython.cimports.fourseven.l7.session import session_next, session_write
from cython.cimports.fourseven.l7.stream import (
    stream_unpin,
)
from cython.cimports.fourseven.l7.trace import is_zero
from cython.cimports.fourseven.native.atomics import (
    count,
)
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_LENGTH,
)
from cython.cimports.fourseven.snapshot.layout import ACTION_REDIRECT, ACTION_RESPOND
from cython.cimports.fourseven.worker.secure import fault_words
from cython.cimports.fourseven.worker.worker import REASON_ACTION, REASON_REWRITE, Buffer
from cython.cimports.libc.stdint import int32_t, uint16_t, uint32_t
from cython.cimports.libc.string import memset


def answer(worker, session, status, reason):
    """An error page; the connection goes on if the request's body is all here."""
    context = cython.declare(HeadContext)
    http: cython.pointer[Http] = http_of(worker)
    stream: cython.pointer[Stream] = session.stream
    size: int32_t
    if not body_at_hand(session):
        stream.keep_alive = 0
        session.lingering = 1
    stream.status = status
    stream.reason = reason
    stream_context(worker, session, cython.address(context))
    if status >= 502 and stream.tls_fault:
        context.hint = fault_words(stream.tls_fault)
    if session.lane is not cython.NULL and session.lane.grpc:
        size = write_grpc_answer(
            cython.address(http.out[0]), OUT_CAPACITY, status, cython.address(context)
        )
    else:
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


def answer_action(worker, session):
    context = cython.declare(HeadContext)
    http: cython.pointer[Http] = http_of(worker)
    size: int32_t
    status: uint16_t
    if not body_at_hand(session):
        session.stream.keep_alive = 0
        session.lingering = 1
    if session.lane is not cython.NULL and session.lane.grpc:
        status = terminal_status(session.stream.route)
        if status >= 400:
            answer(worker, session, status, REASON_ACTION)
            return
    stream_context(worker, session, cython.address(context))
    size = write_action_answer(
        cython.address(http.out[0]), OUT_CAPACITY, worker.request, cython.address(context)
    )
    if size < 0:
        answer(worker, session, 400 if size == HEAD_REFUSED else 500, REASON_REWRITE)
        return
    session.stream.status = terminal_status(session.stream.route)
    session.stream.reason = REASON_ACTION
    session_write(worker, session, cython.address(http.out[0]), size)
    after_answer(worker, session)


def terminal_status(route):
    """Of the step that answered; others may follow it in the file."""
    at: uint32_t
    for at in range(route.request_action_count):
        if route.request_actions[at].kind in (ACTION_REDIRECT, ACTION_RESPOND):
            return route.request_actions[at].status
    return 0


def stream_refuse(worker, session, status, reason):
    stream: cython.pointer[Stream] = session.stream
    if session.state == SESSION_EXCHANGE:
        leave_server(worker, stream)
        session.state = SESSION_HEAD
        if stream.response_begun:
            session.broken = 1
            stream.reason = reason
            stream_ended(worker, session)
            return
    if stream.pinned is cython.NULL:
        stream.listener = session.listener.plan
    stream.request.done = 0  # what follows in this connection is not to be trusted
    stream.request.framing = FRAMING_CHUNKED
    answer(worker, session, status, reason)


def after_answer(worker, session):
    stream: cython.pointer[Stream] = session.stream
    count(cython.address(session.listener.counters.status[stream.status // 100 % 6]), 1)
    stream_ended(worker, session)
    stream_unpin(worker, stream)
    if session.state == SESSION_CLOSED:
        return
    if stream.keep_alive:
        # From `raw`, not from the head's end: a failed try may have taken the body already.
        session.in_.buffer.start = session.in_.raw + cython.cast(uint32_t, stream.request.left)
    session_next(worker, session)


def body_at_hand(session):
    """Is the rest of the body in the buffer (so that the next request's place is known)?"""
    stream: cython.pointer[Stream] = session.stream
    buffer: cython.pointer[Buffer] = session.in_.buffer
    if stream.upgrade and session.in_.raw < buffer.end:
        return False  # bytes meant for another protocol are never a request
    if stream.request.done:
        stream.request.left = 0
        return True
    if stream.request.framing != FRAMING_LENGTH:
        return False
    return buffer.end - session.in_.raw >= stream.request.left


def stream_context(worker, session, context):
    stream: cython.pointer[Stream] = session.stream
    memset(context, 0, cython.sizeof(HeadContext))
    context.listener = stream.listener
    context.route = stream.route
    context.backend = stream.backend
    context.scratch = worker.scratch
    context.client_keep_alive = stream.keep_alive
    context.client_version = stream.version
    context.retry_after_s = stream.retry_after_s
    if stream.traced:
        context.trace = cython.address(stream.trace[0])
        context.span = cython.address(stream.span[0])
        context.sampled = stream.sampled
        context.begins_trace = is_zero(cython.address(stream.parent[0]), 8)
    if stream.said is not cython.NULL:
        context.said.at = stream.said.at
        context.said.size = stream.said.end
    if stream.told is not cython.NULL:
        context.told.at = stream.told.at
        context.told.size = stream.told.end
    if stream.id_size > 0:
        context.request_id.at = cython.address(stream.id[0])
        context.request_id.size = stream.id_size
