"""The gate of body sizes: what a route lets through of a request's body, and of an answer's.

It only sets the limits that `request` and `response` count by. A request that says beforehand that
it is larger is answered 413 at once; one in chunks when it has become larger. An answer that says
so becomes 502; one that turns out larger is cut, and the client sees that it is not whole.

Law: the smaller of two limits holds: a route never lifts what its listener says.
"""

import cython
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.gate_body import BODY_REQUEST, BODY_RESPONSE
from cython.cimports.fourseven.l7.gates import GATE_ANSWERED, GATE_PASS
from cython.cimports.fourseven.l7.records import Stream
from cython.cimports.fourseven.protocols.message import FRAMING_LENGTH
from cython.cimports.fourseven.worker.worker import REASON_BODY_SIZE
from cython.cimports.libc.stdint import uint64_t


def body_ask(worker, session, gate):
    stream: cython.pointer[Stream] = session.stream
    request: uint64_t = gate.numbers[BODY_REQUEST]
    response: uint64_t = gate.numbers[BODY_RESPONSE]
    if request and (stream.request.limit == 0 or request < stream.request.limit):
        stream.request.limit = request
    if response and (stream.response.limit == 0 or response < stream.response.limit):
        stream.response.limit = response
    if (
        request
        and worker.request.framing == FRAMING_LENGTH
        and worker.request.content_length > request
    ):
        answer(worker, session, 413, REASON_BODY_SIZE)
        return GATE_ANSWERED
    return GATE_PASS
