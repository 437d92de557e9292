"""An answer of our own whose lines and body somebody else has written: a gate, a service it asked.

Laws: the framing is ours: whoever gives the lines gives none that frames or belongs to a
connection. A body is left out where the status or the method has none.
"""

import cython
from cython.cimports.fourseven.l7.answer import after_answer, body_at_hand, stream_context
from cython.cimports.fourseven.l7.heads import (
    HeadContext,
    put_connection,
    put_length,
    put_status_line,
)
from cython.cimports.fourseven.l7.output import Output, put_span, put_text
from cython.cimports.fourseven.l7.records import OUT_CAPACITY, Stream, http_of
from cython.cimports.fourseven.l7.session import session_write
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.protocols.message import METHOD_HEAD


def answer_given(worker, session, status, reason, lines, body):
    context = cython.declare(HeadContext)
    stream: cython.pointer[Stream] = session.stream
    to = cython.declare(Output)
    if not body_at_hand(session):
        stream.keep_alive = 0
        session.lingering = 1
    stream.status = status
    stream.reason = reason
    stream_context(worker, session, cython.address(context))
    to = Output(at=cython.address(http_of(worker).out[0]), size=0, capacity=OUT_CAPACITY, full=0)
    put_status_line(cython.address(to), status)
    put_span(cython.address(to), lines)
    put_connection(cython.address(to), cython.address(context))
    put_span(cython.address(to), cython.address(context.said))
    if status != 204 and status != 304:
        put_length(cython.address(to), body.size)
    put_text(cython.address(to), b"\r\n")
    if status != 204 and status != 304 and stream.method_id != METHOD_HEAD:
        put_span(cython.address(to), body)
    count(cython.address(worker.counters.own_answers), 1)
    if to.full:
        session.broken = 1  # the callers bound both: unreachable, but never half an answer
    else:
        session_write(worker, session, cython.address(http_of(worker).out[0]), to.size)
    after_answer(worker, session)
