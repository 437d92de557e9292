"""The form of a log line: what the file says, compiled to the pieces that the log's thread writes.

`json` and `combined` are templates like any other. In JSON each field writes its own quotes, so an
absent one is null and never the word "-".

Laws: pure. An error is a ValueError that says what is wrong and what would be right.
"""

from __future__ import annotations

import json
import re

from fourseven.errors import did_you_mean
from fourseven.snapshot.layout import LineField, LineMode

Piece = tuple[int, int, bytes]  # LineField, LineMode, literal

# name -> (field, what it is)
FIELDS: dict[str, tuple[LineField, str]] = {
    "time": (LineField.LINE_TIME, "when the request began: RFC 3339, UTC, milliseconds"),
    "time_common": (LineField.LINE_TIME_COMMON, "the same as `31/Dec/2026:23:59:59 +0000`"),
    "time_unix": (LineField.LINE_TIME_UNIX, "the same in seconds since 1970"),
    "client": (LineField.LINE_CLIENT, "the client's address, behind the proxies that are trusted"),
    "client_port": (LineField.LINE_PORT, "its port"),
    "listener": (LineField.LINE_LISTENER, "by name"),
    "route": (LineField.LINE_ROUTE, "by name, or its place: `routes[3]`"),
    "backend": (LineField.LINE_BACKEND, "by name"),
    "server": (LineField.LINE_SERVER, "the address of the server that was tried last"),
    "method": (LineField.LINE_METHOD, "GET"),
    "target": (LineField.LINE_TARGET, "path and query as the client sent them, 8 KiB at most"),
    "host": (LineField.LINE_HOST, "as the client sent it"),
    "user_agent": (LineField.LINE_AGENT, "header"),
    "referer": (LineField.LINE_REFERER, "header"),
    "id": (LineField.LINE_ID, "of the request, where the listener gives it one (`request_id`)"),
    "protocol": (LineField.LINE_PROTOCOL, "HTTP/1.0, HTTP/1.1 or HTTP/2"),
    "scheme": (LineField.LINE_SCHEME, "http or https"),
    "status": (LineField.LINE_STATUS, "of the answer; 0: the client left without one"),
    "reason": (
        LineField.LINE_REASON,
        "why we answered ourselves, or why it ended; absent: neither",
    ),
    "bytes_in": (LineField.LINE_BYTES_IN, "from the client, its head included"),
    "bytes_out": (LineField.LINE_BYTES_OUT, "to the client"),
    "total_ms": (LineField.LINE_TOTAL, "from the head's last byte to the answer's last"),
    "queue_ms": (LineField.LINE_QUEUE, "until filters let it pass and a server was free"),
    "connect_ms": (LineField.LINE_CONNECT, "for a new connection to the server; 0: a kept one"),
    "answer_ms": (LineField.LINE_ANSWER, "from the request's last byte to the answer's head"),
    "retries": (LineField.LINE_RETRIES, "further tries after the first"),
    "trace_id": (LineField.LINE_TRACE, "of the W3C trace, with `tracing`"),
    "span_id": (LineField.LINE_SPAN, "ours in it"),
}
JSON_FIELDS = tuple(name for name in FIELDS if name not in ("time_common", "time_unix"))
COMBINED = (
    '{client} - - [{time_common}] "{method} {target} {protocol}" {status} {bytes_out}'
    ' "{referer}" "{user_agent}"'
)
_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def compile_format(form: str, fields: tuple[str, ...] = ()) -> list[Piece]:
    """The pieces of `json` (with these fields), `combined`, or a template with {names}."""
    if form == "json":
        return _json(fields or JSON_FIELDS)
    if fields:
        raise ValueError("fields belong to the format json; a template names its own")
    return _template(COMBINED if form == "combined" else form)


def _json(names: tuple[str, ...]) -> list[Piece]:
    pieces: list[Piece] = []
    before = "{"
    for name in dict.fromkeys(names):
        pieces.append(_literal(f"{before}{json.dumps(name)}:"))
        pieces.append((_field(name), LineMode.LINE_JSON, b""))
        before = ","
    return [*pieces, _literal("}")]


def _template(text: str) -> list[Piece]:
    pieces: list[Piece] = []
    at = 0
    for part in _PART.finditer(text):
        pieces.append(_literal(text[at : part.start()]))
        at = part.end()
        if part[0] in ("{{", "}}"):
            pieces.append(_literal(part[0][0]))
        elif part[1] is None:
            raise ValueError(f"a lone {part[0]} in the format; write {part[0] * 2} for the sign")
        else:
            pieces.append((_field(part[1]), LineMode.LINE_PLAIN, b""))
    pieces.append(_literal(text[at:]))
    if not any(piece[0] for piece in pieces):
        raise ValueError("the format names no field; write e.g. {client} {method} {target}")
    if any(ord(sign) < 32 for sign in text):
        raise ValueError("the format holds a control character; a record is one line")
    return [piece for piece in pieces if piece[0] or piece[2]]


def _literal(text: str) -> Piece:
    return (LineField.LINE_LITERAL, LineMode.LINE_PLAIN, text.encode())


def _field(name: str) -> int:
    if name not in FIELDS:
        raise ValueError(f"there is no field {name!r}; {did_you_mean(name, set(FIELDS))}")
    return FIELDS[name][0]
