"""One request over HTTP/2, in the fewest frames: enough for a tour, and for nothing else.

The request's fields are written out as literals, so no table is kept. Of an answer's fields only
the status is read, and only where it is 200, which has a byte of its own (RFC 7541 Appendix A);
who answered stands in the body.

Source: RFC 9113 (3.4 the preface, 4.1 frames), RFC 7541 (6.2.2 literals).
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator

DATA, HEADERS, SETTINGS, GOAWAY = 0x0, 0x1, 0x4, 0x7
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STATUS_200 = 0x88
STREAM = 1


def ask(connection: ssl.SSLSocket, fields: list[tuple[str, str]], body: bytes) -> tuple[str, str]:
    """Sends one request; the name in the answer's body, and its status."""
    begin = HEADERS, END_HEADERS | (0 if body else END_STREAM)
    sent = PREFACE + frame(SETTINGS, 0, 0) + frame(*begin, STREAM, block(fields))
    connection.sendall(sent + (frame(DATA, END_STREAM, STREAM, body) if body else b""))
    got, status = b"", ""
    for kind, flags, stream, payload in frames(connection):
        if kind == SETTINGS and not flags & ACK:
            connection.sendall(frame(SETTINGS, ACK, 0))
        if kind == GOAWAY:
            break
        if stream != STREAM:
            continue
        if kind == HEADERS and not status:
            status = "200" if payload[0] == STATUS_200 else "not 200"
        if kind == DATA:
            got += payload
        if flags & END_STREAM and kind in (DATA, HEADERS):
            return str(json.loads(got).get("server", "")) if got else "", f"{status} (HTTP/2)"
    raise ConnectionError("the connection ended before the answer did")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload).to_bytes(3, "big")
    return size + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def block(fields: list[tuple[str, str]]) -> bytes:
    """Literal fields without indexing, none longer than a tour needs."""
    return b"".join(b"\0" + text(name.lower()) + text(value) for name, value in fields)


def text(value: str) -> bytes:
    """A string as it is: its length in seven bits, or these full and the rest behind them."""
    raw = value.encode("ascii")
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    size, left = bytes([127]), len(raw) - 127
    while left >= 128:
        size += bytes([left % 128 + 128])
        left //= 128
    return size + bytes([left]) + raw


def frames(connection: ssl.SSLSocket) -> Iterator[tuple[int, int, int, bytes]]:
    """(kind, flags, stream, payload) of each frame until the connection ends."""
    got = b""
    while data := connection.recv(65_536):
        got += data
        while len(got) >= 9 and len(got) >= 9 + int.from_bytes(got[:3], "big"):
            end = 9 + int.from_bytes(got[:3], "big")
            yield got[3], got[4], int.from_bytes(got[5:9], "big"), got[9:end]
            got = got[end:]
