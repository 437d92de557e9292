"""Compared with llhttp (through httptools) and h11: where we accept, they agree on the framing.

A balancer is attacked where two parsers read the same bytes differently, so each accepted input is
read by two others too: method, target, fields, body, and where the next message begins. They may
refuse what we accept, but only for a reason that stands in EXPLAINED; and where they accept what
we refuse, that is our strictness.

The corpus: the rows of the other tests, and variants made from them (hypothesis) out of the pieces
that smuggling is made of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourseven.protocols import probe
from fourseven.protocols.chunked import ChunkedMode
from fourseven.protocols.message import Framing, Method
from protocols.test_chunked import ACCEPTED as CHUNKED
from protocols.test_http1_accepted import ACCEPTED
from protocols.test_http1_answers import ACCEPTED as ANSWERS
from protocols.test_http1_answers import REFUSED as BAD_ANSWERS
from protocols.test_http1_refused import REFUSED

BODY = b"hello"
CHUNKS = b"3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nX-T: 1\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: n\r\n\r\n"


@dataclass
class Reading:
    """What a parser made of the first message: the common ground of all three."""

    method: bytes = b""
    target: bytes = b""
    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False


def ours(data: bytes, answers: int | None = None) -> Reading | None:
    seen = probe.request(data) if answers is None else probe.response(data, answers)
    if seen["result"] <= 0:
        return None
    found = Reading(method=seen.get("method", b""), target=seen.get("target", b""))
    found.status = seen.get("status", 0)
    found.fields = [(name.lower(), value) for name, value, _, _ in seen["fields"]]
    rest = data[seen["result"] :]
    if seen["framing"] == Framing.FRAMING_CHUNKED:
        body = probe.chunked([rest], ChunkedMode.CHUNKED_DECODE)
        if body["result"] < 0:
            return None
        found.body, found.complete = body["out"], body["done"]
    elif seen["framing"] == Framing.FRAMING_LENGTH:
        found.body = rest[: seen["content_length"]]
        found.complete = len(rest) >= seen["content_length"]
    elif seen["framing"] == Framing.FRAMING_CLOSE:
        found.body = rest
    else:
        found.complete = True
    return found


class Events:
    """Collects what httptools calls back, up to the end of the first message."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.head = False

    def on_url(self, url: bytes) -> None:
        if not self.reading.complete:
            self.reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head:
            self.reading.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.head = True

    def on_body(self, body: bytes) -> None:
        if not self.reading.complete:
            self.reading.body += body

    def on_message_complete(self) -> None:
        self.reading.complete = True


def llhttp(data: bytes, answer: bool = False) -> Reading | str:
    """Its reading, or why it refused; what comes behind the first message is not its concern."""
    events = Events()
    kind = httptools.HttpResponseParser if answer else httptools.HttpRequestParser
    parser = kind(events)
    try:
        for at in range(len(data)):  # so that a fault behind the message comes too late to matter
            parser.feed_data(data[at : at + 1])
            if events.reading.complete:
                break
    except httptools.HttpParserUpgrade:
        events.reading.complete = True
        if any(name == b"content-length" and int(value) for name, value in events.reading.fields):
            return "handed over"
    except httptools.HttpParserError as error:
        return str(error)
    if not events.head:
        return "unfinished"
    if answer:
        events.reading.status = parser.get_status_code()
    else:
        events.reading.method = parser.get_method()
    return events.reading


def h11_reading(data: bytes, method: bytes | None = None) -> Reading | str:
    """Its reading, or why it refused; with a method, `data` is the answer to such a request."""
    connection = h11.Connection(h11.SERVER if method is None else h11.CLIENT)
    found = Reading()
    try:
        if method is not None:
            connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
            connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        while take(found, connection.next_event()):
            pass
    except h11.RemoteProtocolError as error:
        return str(error)
    return found


def take(found: Reading, event: Any) -> bool:
    """Adds what h11 says next; false at the end of the message or of the bytes."""
    if event is h11.NEED_DATA or event is h11.PAUSED:
        return False
    if isinstance(event, h11.Request):
        found.method, found.target = event.method, event.target
        found.fields = list(event.headers)
    elif isinstance(event, h11.Response | h11.InformationalResponse):
        found.status, found.fields = event.status_code, list(event.headers)
        found.complete = isinstance(event, h11.InformationalResponse)
    elif isinstance(event, h11.Data):
        found.body += bytes(event.data)
    else:
        found.complete = True
    return not found.complete


# Why a peer may refuse what we accept.
EXPLAINED = {
    "no request line received": "h11 passes no empty line before a request",
    "Invalid method encountered": "llhttp knows a fixed list of methods",
    "Request has invalid `Transfer-Encoding`": "llhttp takes no tab behind the coding",
    "handed over": "llhttp reads no body of an Upgrade; we send the body on without Upgrade",
}


def agree(mine: Reading, peer: Reading | str, data: bytes) -> None:
    if isinstance(peer, str):
        assert any(reason in peer for reason in EXPLAINED), (peer, data)
        return
    assert (mine.method, mine.target, mine.status) == (peer.method, peer.target, peer.status), data
    assert [name for name, _ in mine.fields] == [name for name, _ in peer.fields], data
    for (name, value), (_, other) in zip(mine.fields, peer.fields, strict=True):
        folded = value.lower() if name == b"transfer-encoding" else value  # as h11 does
        assert other.strip(b" \t") in (value, folded), data
    assert (mine.body, mine.complete) == (peer.body, peer.complete), data


def compare_request(data: bytes) -> None:
    mine = ours(data)
    if mine is not None:
        agree(mine, llhttp(data), data)
        agree(mine, h11_reading(data), data)


def compare_answer(data: bytes, method_id: int) -> None:
    mine = ours(data, method_id)
    if mine is not None:
        if method_id == Method.METHOD_GET:  # httptools cannot be told of a HEAD
            agree(mine, llhttp(data, answer=True), data)
        agree(mine, h11_reading(data, b"HEAD" if method_id == Method.METHOD_HEAD else b"GET"), data)


CORPUS = [row[1] for row in (*ACCEPTED, *REFUSED)]
TE = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("data", CORPUS, ids=[row[0] for row in (*ACCEPTED, *REFUSED)])
@pytest.mark.parametrize("body", [b"", BODY + NEXT, CHUNKS + NEXT], ids=["bare", "plain", "chunks"])
def test_requests(data: bytes, body: bytes) -> None:
    compare_request(data + body)


@pytest.mark.parametrize("data", [row[1] for row in CHUNKED], ids=[row[0] for row in CHUNKED])
def test_chunked_requests(data: bytes) -> None:
    assert ours(TE + data) is not None
    compare_request(TE + data + NEXT)


@pytest.mark.parametrize(
    "method, data", [(row[1], row[2]) for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_answers(method: int, data: bytes) -> None:
    for body in (b"", BODY, CHUNKS):
        compare_answer(data + body, method)


@pytest.mark.parametrize("data", [row[1] for row in BAD_ANSWERS], ids=[r[0] for r in BAD_ANSWERS])
def test_bad_answers(data: bytes) -> None:
    compare_answer(data + BODY, Method.METHOD_GET)


lines = st.sampled_from([
    b"Host: a", b"host:a", b"Host: b", b"Content-Length: 5", b"Content-Length: 0", b"content-length:\t5 ",
    b"Content-Length: 5, 5", b"Content-Length: +5", b"Content-Length: 005", b"Transfer-Encoding: chunked",
    b"transfer-encoding:\tCHUNKED", b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding : chunked", b" Transfer-Encoding: chunked", b"Transfer-Encoding:\x0bchunked",
    b"Transfer_Encoding: chunked", b"Connection: close", b"Connection: keep-alive", b"X: y\nContent-Length: 5",
    b"X: y\rContent-Length: 5", b"X:", b"X", b": x", b"Expect: 100-continue", b"TE: trailers", b"X: \x80",
    b"Connection: Content-Length", b"Trailer: X-T", b"X: y\r", b"X: \x00",
])  # fmt: skip
firsts = st.sampled_from([
    b"GET / HTTP/1.1", b"POST /x?y HTTP/1.1", b"HEAD / HTTP/1.0", b"PUT http://a/ HTTP/1.1", b"OPTIONS * HTTP/1.1",
    b"GET  / HTTP/1.1", b"GET / HTTP/1.1 ", b"GET /a b HTTP/1.1", b"GET / HTTP/0.9", b"\r\nGET / HTTP/1.1",
])  # fmt: skip
pieces = st.sampled_from([
    b"5\r\nhello\r\n", b"0\r\n", b"\r\n", b"X: y\r\n", b"5;a=b\r\nhello\r\n", b"05\r\nhello\r\n", b"5\nhello\r\n",
    b"0x5\r\nhello\r\n", b"5 \r\nhello\r\n", b"5\r\nhello\n", b"5;\r\nhello\r\n", b"hello", NEXT, b"-5\r\n", b"5;a\nb\r\n",
])  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(firsts, st.lists(lines, max_size=4), st.lists(pieces, max_size=4).map(b"".join))
def test_what_smuggling_is_made_of(first: bytes, fields: list[bytes], body: bytes) -> None:
    compare_request(b"\r\n".join([first, b"Host: a", *fields, b"", body]))


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from([b"200 OK", b"200", b"204 No Content", b"304 Not Modified", b"404 "]),
    st.lists(lines, max_size=4),
    st.lists(pieces, max_size=4).map(b"".join),
    st.sampled_from([Method.METHOD_GET, Method.METHOD_HEAD]),
)
def test_answers_made_of_the_same(
    status: bytes, fields: list[bytes], body: bytes, method: int
) -> None:
    compare_answer(b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", body]), method)


def test_the_comparison_compares() -> None:
    """It sees a difference in framing, and it sees most of the corpus accepted by all three."""
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    mine = ours(data)
    assert mine == llhttp(data) == h11_reading(data)
    with pytest.raises(AssertionError):
        agree(mine, llhttp(data.replace(b"h: 5", b"h: 4")), data)
    accepted = [row[1] for row in ACCEPTED]
    together = [
        d
        for d in accepted
        if isinstance(llhttp(d), Reading) and isinstance(h11_reading(d), Reading)
    ]
    assert len(together) > 0.8 * len(accepted)
