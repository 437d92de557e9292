"""A service is asked whether a request may pass (forward authentication).

It gets the head of the request without its body: method, scheme, host and path as X-Forwarded-*
headers, and the headers that the file names. 2xx lets it pass, with headers of that answer for the
server; any other answer goes to the client instead.

Numbers: milliseconds, and whether a request passes where no answer comes; then how many headers
are told to the service. Texts: the path, headers for the service, headers for the server. Laws:
what the service says back never frames a message (its framing is dropped, ours is written); a
header for the server is one value, or it is not told.
"""

import cython
from cython.cimports.fourseven.l7.answer import answer
from cython.cimports.fourseven.l7.aside import (
    ASIDE_BUSY,
    ASIDE_DONE,
    Aside,
    aside_close,
    aside_go,
    aside_new,
)
from cython.cimports.fourseven.l7.forwarded import put_address
from cython.cimports.fourseven.l7.gate_forward import ASKED_LINES_MAX
from cython.cimports.fourseven.l7.gates import (
    GATE_ANSWERED,
    GATE_PASS,
    GATE_WAIT,
    gate_open,
    gate_tell_span,
)
from cython.cimports.fourseven.l7.given import GIVEN_BODY_MAX, answer_given
from cython.cimports.fourseven.l7.output import (
    Output,
    put_byte,
    put_header,
    put_span,
    put_text,
    same_name,
)
from cython.cimports.fourseven.l7.records import Stream
from cython.cimports.fourseven.protocols.message import (
    HEADER_CONNECTION,
    HEADER_CONTENT_LENGTH,
    HEADER_KEEP_ALIVE,
    HEADER_PROXY_CONNECTION,
    HEADER_TRAILER,
    HEADER_TRANSFER_ENCODING,
    HEADER_UPGRADE,
    METHOD_GET,
    Span,
)
from cython.cimports.fourseven.worker.tools import buffer_free, buffer_large
from cython.cimports.fourseven.worker.worker import REASON_ASK_FAILED, REASON_ASKED, Buffer
from cython.cimports.libc.stdint import uint32_t


def forward_ask(worker, session, gate):
    stream: cython.pointer[Stream] = session.stream
    aside: cython.pointer[Aside]
    if stream.gate_step == 0:
        aside = begin(worker, session, gate)
        if aside is cython.NULL:
            return failed(worker, session, gate)
        stream.gate_own = aside
        stream.gate_step = 1
        stream.gate_due_ms = worker.now_ms + gate.numbers[0]
        return GATE_WAIT
    aside = cython.cast(cython.pointer[Aside], stream.gate_own)
    if aside.result == ASIDE_BUSY and worker.now_ms < stream.gate_due_ms:
        return GATE_WAIT
    if aside.result != ASIDE_DONE or aside.response.status < 200:
        return failed(worker, session, gate)
    if aside.response.status < 300:
        tell(worker, session, gate, aside)
        return GATE_PASS
    hand_on(worker, session, aside)
    return GATE_ANSWERED


def forward_left(worker, session):
    if session.stream.gate_own is not cython.NULL:
        aside_close(worker, cython.cast(cython.pointer[Aside], session.stream.gate_own))
        session.stream.gate_own = cython.NULL


def failed(worker, session, gate):
    if gate.numbers[1]:
        return GATE_PASS
    answer(worker, session, 503, REASON_ASK_FAILED)
    return GATE_ANSWERED


def begin(worker, session, gate):
    to = cython.declare(Output)
    request = worker.request
    at: uint32_t
    aside: cython.pointer[Aside]
    buffer: cython.pointer[Buffer] = buffer_large(worker)
    if buffer is cython.NULL:
        return cython.cast(cython.pointer[Aside], cython.NULL)
    to = Output(at=buffer.at, size=0, capacity=buffer.capacity, full=0)
    put_text(cython.address(to), b"GET ")
    put_span(cython.address(to), cython.address(gate.texts[0]))
    put_text(cython.address(to), b" HTTP/1.1\r\nHost: ")
    put_span(cython.address(to), cython.address(request.authority))
    put_text(cython.address(to), b"\r\nX-Forwarded-Method: ")
    put_span(cython.address(to), cython.address(request.method))
    put_text(cython.address(to), b"\r\nX-Forwarded-Proto: ")
    put_text(cython.address(to), b"https" if request.secure else b"http")
    put_text(cython.address(to), b"\r\nX-Forwarded-Host: ")
    put_span(cython.address(to), cython.address(request.authority))
    put_text(cython.address(to), b"\r\nX-Forwarded-Uri: ")
    put_span(cython.address(to), cython.address(request.path))
    if request.query.at is not cython.NULL:
        put_byte(cython.address(to), 63)
        put_span(cython.address(to), cython.address(request.query))
    put_text(cython.address(to), b"\r\nX-Forwarded-For: ")
    put_address(cython.address(to), cython.address(request.client))
    put_text(cython.address(to), b"\r\n")
    for at in range(request.header_count):
        if told_to_service(gate, cython.address(request.headers[at])):
            put_header(
                cython.address(to),
                cython.address(request.headers[at].name),
                cython.address(request.headers[at].value),
            )
    put_text(cython.address(to), b"\r\n")
    if to.full:
        buffer_free(worker, buffer)
        return cython.cast(cython.pointer[Aside], cython.NULL)
    buffer.end = to.size
    aside = aside_new(
        worker, session, cython.address(session.stream.pinned.backends[gate.backend]), buffer
    )
    if aside is not cython.NULL:
        aside.told = forward_told
        aside.session.stream.method_id = METHOD_GET
        if not aside_go(worker, aside):
            return cython.cast(cython.pointer[Aside], cython.NULL)
    return aside


def forward_told(worker, aside):
    gate_open(worker, aside.asker)


def told_to_service(gate, header):
    at: uint32_t
    for at in range(1, 1 + cython.cast(uint32_t, gate.numbers[2])):
        if same_name(cython.address(header.name), cython.address(gate.texts[at])):
            return True
    return False


def tell(worker, session, gate, aside):
    at: uint32_t
    i: uint32_t
    seen: uint32_t
    value: Span = Span(at=cython.NULL, size=0)
    for at in range(1 + cython.cast(uint32_t, gate.numbers[2]), gate.text_count):
        seen = 0
        for i in range(aside.response.header_count):
            if same_name(
                cython.address(aside.response.headers[i].name), cython.address(gate.texts[at])
            ):
                seen += 1
                value = aside.response.headers[i].value
        if seen == 1 and value.size:
            gate_tell_span(worker, session, cython.address(gate.texts[at]), cython.address(value))


def hand_on(worker, session, aside):
    """The answer as the service gave it, its framing and its connection's headers left out."""
    lines = cython.declare(cython.char[6144])
    to: Output = Output(at=cython.address(lines[0]), size=0, capacity=ASKED_LINES_MAX, full=0)
    text: Span
    body: Span = aside.body
    at: uint32_t
    for at in range(aside.response.header_count):
        if passes(cython.address(aside.response.headers[at])):
            put_header(
                cython.address(to),
                cython.address(aside.response.headers[at].name),
                cython.address(aside.response.headers[at].value),
            )
    if body.size > GIVEN_BODY_MAX:
        body.size = 0
    text = Span(at=to.at, size=to.size)
    answer_given(
        worker,
        session,
        aside.response.status,
        REASON_ASKED,
        cython.address(text),
        cython.address(body),
    )


def passes(header):
    return not header.drop and header.known not in (
        HEADER_CONNECTION,
        HEADER_CONTENT_LENGTH,
        HEADER_KEEP_ALIVE,
        HEADER_PROXY_CONNECTION,
        HEADER_TRAILER,
        HEADER_TRANSFER_ENCODING,
        HEADER_UPGRADE,
    )
