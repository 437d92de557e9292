"""A raw HTTP/1 client: sends the bytes it is told to, and reads strictly what comes back.

Nothing here is helpful: no header is added, no framing is mended. An answer that is not exactly
as RFC 9112 says is an `AnswerError`, since a balancer may never produce one, and an answer that
ended too early is never returned as a whole one.

`Wire.end` says how the other side ended: CLOSED (FIN), RESET (RST) or OPEN (still there).
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

OPEN, CLOSED, RESET = "open", "closed", "reset"
WAIT_S = 20.0  # Beyond it a test has failed; generous, since the machine may be busy.
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9]) [\t\x20-\x7e\x80-\xff]*")
FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[\t\x20-\x7e]*)?")

Headers = list[tuple[bytes, bytes]]


class AnswerError(AssertionError):
    """The balancer answered with something that is not HTTP/1.1, or with a part of an answer."""


class EndedError(AnswerError):
    """The connection ended before an answer was whole."""


@dataclass(slots=True)
class Message:
    """A whole message: an answer as a client reads it, or a request as a server does."""

    start: bytes
    headers: Headers
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    interim: list[Message] = field(default_factory=list)  # the 1xx that came before an answer
    framing: str = "none"  # none, length, chunked, close

    @property
    def status(self) -> int:
        return int(self.start[9:12])

    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    def get(self, name: str) -> bytes | None:
        """The value of the one header of that name; None where there is none."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands {len(values)} times: {self.headers}"
        return values[0] if values else None

    def all(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        return [value for key, value in self.headers if key.lower() == wanted]


def parse_head(head: bytes, error: type[Exception] = AnswerError) -> tuple[bytes, Headers]:
    """The start line and the fields of a head that ends in an empty line; strict."""
    start, *lines = head[:-4].split(b"\r\n")
    headers = []
    for line in lines:
        match = FIELD_LINE.fullmatch(line)
        if match is None:
            raise error(f"a malformed field line {line!r} in {head!r}")
        headers.append((match[1], match[2]))
    return start, headers


class Stream:
    """A socket that is read in exact pieces; both ends of a test are one."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.buffer = bytearray()
        self.end = OPEN
        self.met_reset = False  # by a send; a socket tells of it once only

    def send(self, *pieces: bytes) -> Stream:
        """Sends all of it; a peer that has already hung up is no error (its answer is read yet)."""
        try:
            for piece in pieces:
                self.socket.sendall(piece)
        except ConnectionResetError:
            self.met_reset = True
        except BrokenPipeError:
            pass
        return self

    def finish(self) -> Stream:
        """Half close: nothing more will be sent, and the answer is still wanted."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        return self

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Leaves with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def receive(self) -> bytes:
        """One read from the socket; a timeout raises."""
        return self.socket.recv(262_144)

    def fill(self) -> bool:
        """Reads once more into the buffer; False at the end."""
        if self.end != OPEN:
            return False
        try:
            data = self.receive()
        except ConnectionResetError:
            self.end = RESET
            return False
        if not data:
            self.end = RESET if self.met_reset else CLOSED
            return False
        self.buffer += data
        return True

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        while len(self.buffer) < size:
            if not self.fill():
                raise EndedError(f"{self.end} after {bytes(self.buffer)!r:.200}, {size} wanted")
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def take_until(self, mark: bytes) -> bytes:
        """The bytes up to and with the mark."""
        scanned = 0
        while (at := self.buffer.find(mark, scanned)) < 0:
            scanned = max(0, len(self.buffer) - len(mark))
            if not self.fill():
                raise EndedError(f"{self.end} after {bytes(self.buffer)!r:.200}, {mark!r} wanted")
        return self.take(at + len(mark))

    def read_to_end(self) -> bytes:
        """Everything until the connection ends (see `end`). Times out where it stays open."""
        while self.fill():
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data


class Wire(Stream):
    """One connection to the balancer."""

    def __init__(
        self,
        address: tuple[str, int],
        source: str | None = None,
        timeout_s: float = WAIT_S,
        receive_buffer: int = 0,
    ) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(socket.socket(family, socket.SOCK_STREAM))
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.socket.bind((source, 0))
        self.socket.settimeout(timeout_s)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send_each(self, pieces: Iterable[bytes], pause_s: float = 0.0) -> Wire:
        """Sends piece by piece, so that the peer meets (nearly) every split."""
        for piece in pieces:
            self.send(piece)
            if pause_s:
                time.sleep(pause_s)
        return self

    def read_head(self) -> Message:
        """The next answer's head (or a 1xx), without its body."""
        start, headers = parse_head(self.take_until(b"\r\n\r\n"))
        if STATUS_LINE.fullmatch(start) is None:
            raise AnswerError(f"a malformed status line {start!r}")
        return Message(start, headers)

    def read(self, method: bytes = b"GET") -> Message:
        """The next whole answer, with the 1xx that came before it."""
        interim = []
        while 100 <= (answer := self.read_head()).status < 200 and answer.status != 101:
            interim.append(answer)
        answer.interim = interim
        self.read_body(answer, method)
        return answer

    def read_body(self, answer: Message, method: bytes = b"GET") -> None:
        """Reads the body that the head of `answer` announces into it."""
        lengths, codings = answer.all("content-length"), answer.all("transfer-encoding")
        if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
            raise AnswerError(f"ambiguous framing: {answer.headers}")
        if method == b"HEAD" or answer.status in (101, 204, 304):
            return
        if codings:
            if codings[0].lower() != b"chunked":
                raise AnswerError(f"unknown framing: {answer.headers}")
            answer.framing = "chunked"
            answer.body, answer.trailers = read_chunked(self)
        elif lengths:
            if re.fullmatch(rb"[0-9]{1,18}", lengths[0]) is None:
                raise AnswerError(f"a malformed length: {answer.headers}")
            answer.framing = "length"
            answer.body = self.take(int(lengths[0]))
        else:
            answer.framing = "close"
            answer.body = self.read_to_end()
            if self.end != CLOSED:
                raise EndedError("a body that ends with the connection was cut by a reset")

    def ended(self) -> bool:
        """Nothing more came, and the other side hung up."""
        rest = self.read_to_end()
        if rest:
            raise AnswerError(f"unexpected bytes: {rest!r:.300}")
        return True

    def quiet(self, within_s: float) -> bool:
        """Nothing came within this time, and the connection is open. For 'must not happen yet'."""
        if self.buffer:
            return False
        self.socket.settimeout(within_s)
        try:
            self.fill()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(WAIT_S)
        return False


def read_chunked(source: Stream) -> tuple[bytes, Headers]:
    """A chunked body from anything with `take` and `take_until`; strict."""
    body = bytearray()
    while True:
        line = source.take_until(b"\r\n")[:-2]
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            raise AnswerError(f"a malformed chunk line {line!r}")
        size = int(match[1], 16)
        if size == 0:
            break
        body += source.take(size)
        if (mark := source.take(2)) != b"\r\n":
            raise AnswerError(f"a chunk of {size} bytes ends in {mark!r}")
    trailers = bytearray()
    while (line := source.take_until(b"\r\n")) != b"\r\n":
        trailers += line
    return bytes(body), parse_head(b"x\r\n" + bytes(trailers) + b"\r\n")[1] if trailers else []


class Memory(Stream):
    """Bytes that are all there, read like a connection that has ended."""

    def __init__(self, data: bytes) -> None:
        self.buffer = bytearray(data)
        self.end = CLOSED
        self.met_reset = False


def each_byte(data: bytes) -> list[bytes]:
    """The data as single bytes."""
    return [data[at : at + 1] for at in range(len(data))]


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    """A chunked body of these chunks."""
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return b"".join([*parts, b"0\r\n", trailers, b"\r\n"])
