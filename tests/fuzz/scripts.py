"""Seeds of the sessions' targets: lives of a connection, in the records that `sessions` reads."""

from __future__ import annotations

from itertools import product

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END, WHOLE, PADDED = 1, 4, 8  # flags: END_STREAM (of an answer: ACK), END_HEADERS, PADDED
JOINED, ZEROS = 0x20, 0x40


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """A record: the frame, and a turn."""
    return bytes([kind, flags, stream, len(payload)]) + payload


def zeros(stream: int, blocks: int, flags: int = 0) -> bytes:
    return bytes([ZEROS | DATA, flags, stream, blocks])


def large(kind: int, stream: int, blocks: int, flags: int = 0) -> bytes:
    """HEADERS or CONTINUATION with one field of so many times 64 bytes."""
    return bytes([ZEROS | kind, flags, stream, blocks])


def raw(data: bytes) -> bytes:
    return bytes([0x80 | len(data)]) + data


def field(name: bytes, value: bytes) -> bytes:
    """Literal, not indexed, without Huffman (RFC 7541 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def head(path: bytes = b"/", method: bytes = b"GET", *more: bytes) -> bytes:
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")]
    return b"".join([field(*one) for one in pseudo] + list(more))


def ask(stream: int, path: bytes = b"/", *more: bytes) -> bytes:
    return frame(HEADERS, END | WHOLE, stream, head(path, b"GET", *more))


def post(stream: int, path: bytes = b"/", *more: bytes) -> bytes:
    return frame(HEADERS, WHOLE, stream, head(path, b"POST", *more))


def joined(script: bytes) -> bytes:
    """Its first record comes together with the next one."""
    return bytes([script[0] | JOINED]) + script[1:]


TRAILERS = field(b"x-sum", b"1")
CONNECT = field(b":method", b"CONNECT") + field(b":protocol", b"websocket")
CONNECT += field(b":scheme", b"http") + field(b":path", b"/") + field(b":authority", b"a")
GRPC = field(b"content-type", b"application/grpc")
UPDATE = frame(WINDOW, 0, 0, b"\0\0\xff\xff")

LIVES = [
    ask(1) + ask(3, b"/2") + ask(5, b"/deny"),
    joined(ask(1)) + joined(ask(3)) + ask(5),
    post(1) + frame(DATA, 0, 1, b"some") + frame(DATA, END, 1, b"more"),
    post(1, b"/2") + zeros(1, 200) + zeros(1, 200) + frame(HEADERS, END | WHOLE, 1, TRAILERS),
    post(1, b"/", field(b"content-length", b"4")) + frame(DATA, END, 1, b"four"),
    post(1, b"/", field(b"content-length", b"4")) + frame(DATA, END, 1, b"longer"),
    post(1, b"/", field(b"expect", b"100-continue")) + frame(DATA, END | PADDED, 1, b"\2abxx"),
    ask(1) + frame(RESET, 0, 1, b"\0\0\0\x08") + ask(3) + frame(RESET, 0, 3, b"\0\0\0\0"),
    frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0") + ask(1) + frame(WINDOW, 0, 1, b"\0\0\0\x05"),
    frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\x01") + ask(1, b"/2") + UPDATE,
    frame(HEADERS, END, 1, head()[:9]) + frame(CONTINUATION, WHOLE, 1, head()[9:]),
    frame(HEADERS, WHOLE, 1, CONNECT) + frame(DATA, 0, 1, b"\x81\0") + frame(DATA, END, 1),
    ask(1, b"/", *[field(b"cookie", b"a=b")] * 3) + frame(PING, 0, 0, bytes(8)),
    post(1, b"/2", GRPC, field(b"te", b"trailers")) + frame(DATA, END, 1, bytes(5)),
    frame(PRIORITY, 0, 1, b"\0\0\0\x03\x0a") + ask(1) + frame(GOAWAY, 0, 0, bytes(8)) + ask(3),
    frame(PUSH, WHOLE, 1, bytes(4)),
    frame(SETTINGS, END) + UPDATE + frame(12, 0, 0, b"unknown") + raw(b"PRI * HTTP/2.0"),
    raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    frame(HEADERS, END, 1, head()) + large(CONTINUATION, 1, 250) + large(CONTINUATION, 1, 250, 4),
    frame(HEADERS, END, 1, head()) + large(CONTINUATION, 1, 100, 4) + ask(3),
    post(1) + zeros(1, 20) + large(HEADERS, 1, 250, END) + large(CONTINUATION, 1, 250, WHOLE),
    post(1, b"/2") + zeros(1, 20) + large(HEADERS, 1, 200, END | WHOLE),
    frame(HEADERS, END, 1, head()) + frame(RESET, 0, 1, bytes(4)),
    post(1) + frame(HEADERS, END, 1, TRAILERS) + frame(CONTINUATION, WHOLE, 1, TRAILERS),
    joined(post(1)) + joined(zeros(1, 255)) + joined(zeros(1, 255)) + zeros(1, 255, END),
    frame(HEADERS, END, 1, head() + b"\x40\6cookie\x32" + b"a" * 50)
    + frame(CONTINUATION, 0, 1, b"\xbe" * 200)
    + frame(CONTINUATION, WHOLE, 1, b"\xbe" * 200),
]
CLIENTS = [
    bytes([choices, mood]) + life
    for at, life in enumerate(LIVES)
    for choices, mood in ((0, at), (4, 3 * at), (2, 7))
]
# Servers that do not read, of either kind.
CLIENTS += [b"\x08\0" + post(1, path) + zeros(1, 255) * 30 for path in (b"/", b"/2")]
CLIENTS += [b"\1\0" + raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + frame(SETTINGS) + ask(1)]

OK = field(b":status", b"200")
ANSWERS = [
    frame(HEADERS, WHOLE, 1, OK) + frame(DATA, END, 1, b"hello") + frame(HEADERS, 5, 3, OK),
    frame(HEADERS, WHOLE, 1, OK + field(b"content-length", b"5")) + frame(DATA, END, 1, b"hello"),
    frame(HEADERS, WHOLE, 1, OK + field(b"content-length", b"5")) + frame(DATA, END, 1, b"hi"),
    frame(HEADERS, WHOLE, 1, OK) + zeros(1, 255) + frame(HEADERS, END | WHOLE, 1, TRAILERS),
    frame(HEADERS, WHOLE, 1, OK) + zeros(1, 250) * 6,
    frame(HEADERS, WHOLE, 3, field(b":status", b"103")) + frame(HEADERS, END | WHOLE, 3, OK),
    frame(HEADERS, WHOLE, 1, OK) + frame(RESET, 0, 1, b"\0\0\0\x08") + frame(HEADERS, 5, 3, OK),
    frame(RESET, 0, 1, b"\0\0\0\x07") + frame(RESET, 0, 3, b"\0\0\0\x07"),
    frame(GOAWAY, 0, 0, b"\0\0\0\x01\0\0\0\0") + frame(HEADERS, END | WHOLE, 1, OK),
    frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x01") + frame(HEADERS, END | WHOLE, 1, OK),
    frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\0"),
    frame(SETTINGS, 0, 0, b"\0\x08\0\0\0\x01") + frame(HEADERS, WHOLE, 1, OK),
    frame(SETTINGS, 0, 0, b"\0\x04\0\0\0\0") + frame(WINDOW, 0, 3, b"\0\0\0\x02") + UPDATE,
    frame(PUSH, WHOLE, 1, b"\0\0\0\x02" + head()),
    frame(PING, 0, 0, bytes(8)) + frame(SETTINGS, END) + frame(HEADERS, END | WHOLE, 1, OK),
    raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    frame(HEADERS, WHOLE, 1, OK) + large(HEADERS, 1, 200, END) + large(CONTINUATION, 1, 200, 4),
    frame(HEADERS, 0, 1, OK) + large(CONTINUATION, 1, 200) + large(CONTINUATION, 1, 200, WHOLE),
    frame(HEADERS, 0, 1, OK) + large(CONTINUATION, 1, 50, WHOLE) + frame(DATA, END, 1, b"hello"),
    frame(HEADERS, WHOLE, 1, OK) + frame(DATA, 0, 1, b"a") + large(HEADERS, 1, 9, END | WHOLE),
    joined(frame(HEADERS, WHOLE, 3, OK)) + joined(zeros(3, 255)) * 3 + frame(RESET, 0, 3, bytes(4)),
]
SERVERS = [
    bytes([choices, clients]) + answer
    for answer, (choices, clients) in product(ANSWERS, ((0, 1), (4, 15), (9, 8), (2, 6)))
]
