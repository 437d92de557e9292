"""A raw HTTP/2 client: sends the frames it is told to, and reads strictly what comes back.

Frames are hyperframe's and fields are hpack's, so a test can say what no honest client would. Every
frame that comes is checked against the state of its stream (RFC 9113 5.1): an answer that is not
exactly in order is an AnswerError. The client answers SETTINGS by itself and nothing else: windows,
PINGs and resets are the test's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from support.wire import OPEN, AnswerError, EndedError, Headers, Stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11
Fields = list[tuple[str, str]]


@dataclass(slots=True)
class Answer:
    """What came on one stream."""

    headers: Headers = field(default_factory=list)
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    interim: list[Headers] = field(default_factory=list)
    begun: bool = False
    ended: bool = False
    reset: int | None = None
    frames: list[Frame] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(dict(self.headers)[b":status"])

    def get(self, name: str) -> bytes | None:
        values = [value for key, value in self.headers if key == name.encode()]
        assert len(values) <= 1, f"{name} stands {len(values)} times: {self.headers}"
        return values[0] if values else None


def request(method: str = "GET", path: str = "/", *more: tuple[str, str], **pseudo: str) -> Fields:
    """The fields of a request; a pseudo field that is given as "" is left out."""
    own = {"method": method, "scheme": "http", "authority": "a.example", "path": path, **pseudo}
    return [(f":{name}", value) for name, value in own.items() if value] + list(more)


class Http2:
    """One connection, over a stream that may be TLS."""

    def __init__(self, wire: Stream, settings: dict[int, int] | None = None) -> None:
        self.wire = wire
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.answers: dict[int, Answer] = {}
        self.settings: dict[int, int] = {}
        self.pings: list[bytes] = []
        self.goaways: list[GoAwayFrame] = []
        self.windows: dict[int, int] = {}
        self.next_id = 1
        self.asked: list[bytes] = []
        self.ponging = False
        self.partial: tuple[HeadersFrame, bytes] | None = None
        wire.send(PREFACE)
        self.send(SettingsFrame(0, settings or {}))

    def __enter__(self) -> Http2:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    # ---- to the balancer ----

    def send(self, *frames: Frame) -> Http2:
        self.wire.send(b"".join(frame.serialize() for frame in frames))
        return self

    def head(self, fields: Any, end: bool = True, id: int | None = None) -> HeadersFrame:
        """A HEADERS frame, not yet sent; a new stream where no id is given."""
        if id is None:
            id = self.next_id
            self.next_id += 2
        frame = HeadersFrame(id, self.encoder.encode(fields), flags=["END_HEADERS"])
        if end:
            frame.flags.add("END_STREAM")
        return frame

    def ask(self, *fields: Any, end: bool = True, **pseudo: str) -> int:
        """Sends a request's head: request("GET", "/x"), or any fields; its stream's id."""
        chosen = (
            list(fields[0])
            if fields and isinstance(fields[0], list)
            else request(*fields, **pseudo)
        )
        frame = self.head(chosen, end)
        self.send(frame)
        return frame.stream_id

    def data(self, id: int, data: bytes = b"", end: bool = False, pad: int = 0) -> Http2:
        frame = DataFrame(id, data)
        if pad:
            frame.pad_length = pad
            frame.flags.add("PADDED")
        if end:
            frame.flags.add("END_STREAM")
        for one in (0, id):
            self.windows[one] = self.window(one) - frame.flow_controlled_length
        return self.send(frame)

    def body(self, id: int, data: bytes, end: bool = True) -> Http2:
        """Data as the windows allow, in frames of 16 KiB."""
        at = 0
        while at < len(data):
            size = min(16_384, len(data) - at, self.window(0), self.window(id))
            if size <= 0:
                self.read()
                continue
            self.data(id, data[at : at + size], end and at + size == len(data))
            at += size
        return self

    def window(self, id: int) -> int:
        return self.windows.setdefault(id, 65_535)

    def grant(self, id: int, size: int) -> Http2:
        return self.send(WindowUpdateFrame(id, window_increment=size))

    def reset(self, id: int, code: int = CANCEL) -> Http2:
        return self.send(RstStreamFrame(id, error_code=code))

    def ping(self, data: bytes = b"12345678") -> Http2:
        return self.send(PingFrame(0, data))

    def pong(self) -> Http2:
        """Answers the balancer's PINGs, those yet to come too."""
        self.ponging = True
        for data in self.asked:
            self.send(PingFrame(0, data, flags=["ACK"]))
        self.asked.clear()
        return self

    # ---- from the balancer ----

    def read(self) -> Frame:
        """The next frame; what it says is noted."""
        head = self.wire.take(9)
        frame, size = Frame.parse_frame_header(memoryview(head))
        frame.parse_body(memoryview(self.wire.take(size)))
        self.note(frame)
        return frame

    def note(self, frame: Frame) -> None:
        if self.partial is not None and not isinstance(frame, ContinuationFrame):
            raise AnswerError(f"{frame!r} within a head")
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.settings |= frame.settings
            self.send(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame) and "ACK" in frame.flags:
            self.pings.append(frame.opaque_data)
        elif isinstance(frame, PingFrame):
            self.asked.append(frame.opaque_data)
            if self.ponging:
                self.pong()
        elif isinstance(frame, GoAwayFrame):
            self.goaways.append(frame)
        elif isinstance(frame, WindowUpdateFrame):
            self.windows[frame.stream_id] = self.window(frame.stream_id) + frame.window_increment
        elif isinstance(frame, HeadersFrame):
            self.fields(frame, frame.data)
        elif isinstance(frame, ContinuationFrame):
            if self.partial is None or self.partial[0].stream_id != frame.stream_id:
                raise AnswerError(f"{frame!r} without a head")
            first, data = self.partial
            first.flags |= {"END_HEADERS"} & set(frame.flags)
            self.fields(first, data + frame.data)
        elif isinstance(frame, DataFrame):
            answer = self.open_answer(frame)
            if not answer.begun:
                raise AnswerError("data before a head")
            answer.body += frame.data
            answer.ended = "END_STREAM" in frame.flags
        elif isinstance(frame, RstStreamFrame):
            self.answers.setdefault(frame.stream_id, Answer()).reset = frame.error_code
        elif isinstance(frame, PushPromiseFrame):
            raise AnswerError("a push that nobody wants")

    def open_answer(self, frame: Frame) -> Answer:
        answer = self.answers.setdefault(frame.stream_id, Answer())
        answer.frames.append(frame)
        if answer.ended or answer.reset is not None:
            raise AnswerError(f"{frame!r} on a closed stream")
        return answer

    def fields(self, frame: HeadersFrame, block: bytes) -> None:
        self.partial = (frame, block)
        if "END_HEADERS" not in frame.flags:
            return
        self.partial = None
        answer = self.open_answer(frame)
        fields = [
            (bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)
        ]
        ended = "END_STREAM" in frame.flags
        for name, _ in fields:
            if name != name.lower() or name in (b"connection", b"transfer-encoding", b"keep-alive"):
                raise AnswerError(f"a field that has no place in HTTP/2: {name!r}")
        if answer.begun:
            if not ended:
                raise AnswerError("trailers that do not end the stream")
            answer.trailers = fields
        elif fields[0][0] != b":status":
            raise AnswerError(f"a head without a status: {fields}")
        elif fields[0][1].startswith(b"1"):
            answer.interim.append(fields)
        else:
            answer.headers = fields
            answer.begun = True
        answer.ended = ended

    def answer(self, id: int) -> Answer:
        """The whole answer of a stream, or how far it came when it was reset."""
        while True:
            answer = self.answers.get(id)
            if answer is not None and (answer.ended or answer.reset is not None):
                return answer
            self.read()

    def begun(self, id: int) -> Answer:
        """Once its head is there."""
        while not (answer := self.answers.get(id, Answer())).begun:
            if answer.reset is not None:
                raise AnswerError(f"reset with {answer.reset}")
            self.read()
        return answer

    def get(self, *fields: Any, **pseudo: str) -> Answer:
        return self.answer(self.ask(*fields, **pseudo))

    def fence(self) -> Http2:
        """Returns once all that was sent before has been read."""
        mark = b"fence%03d" % (len(self.pings) % 1000)
        self.ping(mark)
        while mark not in self.pings:
            self.read()
        return self

    def goaway(self) -> int:
        """The code with which the connection ends; everything until its end is read."""
        try:
            while True:
                self.read()
        except EndedError:
            pass
        if not self.goaways:
            raise AnswerError(f"{self.wire.end} without GOAWAY")
        return self.goaways[-1].error_code

    @property
    def open(self) -> bool:
        return self.wire.end == OPEN
