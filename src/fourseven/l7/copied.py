"""A client's request written once more, for another server than the one that has got it.

The head still stands in the session's buffer, and the body behind it, if nothing of it had to make
room. So a copy is the head read again and written anew, with the steps of its route, and the body's
bytes as they came.

Law: the copy is one buffer of its own, small where that is enough: what becomes of it is no matter
of the session any more.
"""

import cython
from cython.cimports.fourseven.l7.answer import stream_context
from cython.cimports.fourseven.l7.attempt import drop_expect
from cython.cimports.fourseven.l7.copied import Stream
from cython.cimports.fourseven.l7.heads import HeadContext, write_request_head
from cython.cimports.fourseven.l7.output import Output, put, put_span, put_text
from cython.cimports.fourseven.l7.records import OUT_CAPACITY, http_of
from cython.cimports.fourseven.worker.tools import buffer_free, buffer_large, buffer_small
from cython.cimports.fourseven.worker.worker import BUFFER_SMALL, Buffer
from cython.cimports.libc.stdint import int32_t, uint32_t


def request_copied(worker, session, backend, mark):
    context = cython.declare(HeadContext)
    stream: cython.pointer[Stream] = session.stream
    to = cython.declare(Output)
    copy: cython.pointer[Buffer]
    body: uint32_t = body_size(session)
    size: int32_t
    stream_context(worker, session, cython.address(context))
    context.backend = backend
    context.body_framing = stream.request.framing
    context.body_size = worker.request.content_length
    drop_expect(worker.request)
    size = write_request_head(
        cython.address(http_of(worker).out[0]),
        OUT_CAPACITY,
        worker.request,
        cython.address(context),
    )
    if size < 0:
        return cython.NULL
    copy = buffer_small(worker) if size + body + 256 <= BUFFER_SMALL else buffer_large(worker)
    if copy is cython.NULL:
        return copy
    to = Output(at=copy.at, size=0, capacity=copy.capacity, full=0)
    put(cython.address(to), cython.address(http_of(worker).out[0]), size - 2)
    if mark is not cython.NULL:
        put_span(cython.address(to), mark)
        put_text(cython.address(to), b": 1\r\n")
    put_text(cython.address(to), b"\r\n")
    put(
        cython.address(to),
        session.in_.buffer.at + session.in_.buffer.start + stream.head_size,
        body,
    )
    if to.full:
        buffer_free(worker, copy)
        return cython.NULL
    copy.end = to.size
    return copy


def copyable(session):
    stream: cython.pointer[cython.const[Stream]] = session.stream
    return (
        stream.replayable
        and stream.request.done
        and stream.pinned is not cython.NULL
        and session.listener.plan is not cython.NULL
    )


def body_size(session):
    return session.in_.raw - session.in_.buffer.start - session.stream.head_size
