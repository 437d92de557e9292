"""A server of HTTP/2 that records what reached it, frame by frame, and answers as a test says.

Each stream is a Call. A whole request is answered by its path's script, or with the server's name;
a path in `held` is the test's: it waits for the call (`server.call`) and answers it from outside.
Whatever breaks the rules of RFC 9113 is a fault of the sender.

Laws: frames are hyperframe's and fields are hpack's, so that a script can say what no honest server
would. It gives windows back by itself, unless the call is told to keep them (`stingy`), and it obeys
the balancer's windows in `pour` alone.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from support.http2 import PREFACE
from support.recorder import Conversation, Recorder
from support.wire import WAIT_S, EndedError, Message

Fields = list[tuple[str, str]]
OWN = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")


class Call(Message):
    """One stream: the request that came, and what may be answered."""

    def __init__(self, talk: Http2Conversation, id: int, fields: list[tuple[bytes, bytes]]) -> None:
        self.pseudo = {name: value for name, value in fields if name.startswith(b":")}
        plain = [one for one in fields if not one[0].startswith(b":")]
        line = b" ".join([self.pseudo[b":method"], self.pseudo[b":path"], b"HTTP/2"])
        super().__init__(line, plain)
        self.talk = talk
        self.id = id
        self.whole = False  # its last byte has come
        self.reset: int | None = None
        self.answered = False

    @property
    def path(self) -> bytes:
        return self.target.split(b"?")[0]

    def head(self, *fields: tuple[str, str], status: str = "200", end: bool = False) -> Call:
        self.talk.head(self.id, [(":status", status), *fields], end)
        return self

    def data(self, data: bytes = b"", end: bool = False) -> Call:
        frame = DataFrame(self.id, data)
        if end:
            frame.flags.add("END_STREAM")
        self.talk.put(frame)
        return self

    def pour(self, data: bytes, end: bool = True) -> Call:
        """As the balancer's windows allow, in frames of 16 KiB; waits for room."""
        at = 0
        while at < len(data):
            self.talk.wait_for_window(self.id)
            with self.talk.sending:  # others pour into the same connection's window
                size = min(16_384, len(data) - at, self.talk.room(self.id))
                if size > 0:
                    self.data(data[at : at + size], end and at + size == len(data))
                    at += size
        return self

    def tail(self, *fields: tuple[str, str]) -> Call:
        self.talk.head(self.id, list(fields), True)
        return self

    def answer(self, body: bytes = b"", *fields: tuple[str, str], status: str = "200") -> None:
        bare = self.method == b"HEAD" or status in ("204", "304") or not body
        more = [] if status == "204" else [("content-length", str(len(body)))]
        self.head(*fields, *more, status=status, end=bare)
        if not bare:
            self.pour(body)

    def cancel(self, code: int = 8) -> None:
        self.talk.put(RstStreamFrame(self.id, error_code=code))

    def wait(self, holds: Callable[[], object]) -> Call:
        self.talk.recorder.wait(holds)
        return self


Script = Callable[[Call], Any]


class Http2Conversation(Conversation):
    """One connection of the balancer to this server."""

    recorder: Http2Server

    def greet(self) -> None:
        if self.recorder.context is not None:
            self.socket = self.recorder.context.wrap_socket(self.socket, server_side=True)
            if self.socket.selected_alpn_protocol() != "h2":
                raise OSError
        self.encoder, self.decoder = Encoder(), Decoder()
        self.calls: dict[int, Call] = {}
        self.windows = {0: 65_535}
        self.initial = 65_535
        self.frames: list[Frame] = []
        self.goaway: GoAwayFrame | None = None
        self.sending = threading.RLock()
        self.counting = threading.Lock()  # of the windows: the reader and pourers change them
        self.turned = threading.Condition()
        self.partial: tuple[int, bytes, bool] | None = None
        if self.take(len(PREFACE)) != PREFACE:
            raise OSError
        if self.recorder.opening is not None:
            self.recorder.opening(self)
        else:
            self.put(SettingsFrame(0, self.recorder.settings))

    # ---- to the balancer ----

    def put(self, *frames: Frame) -> None:
        with self.sending:
            for frame in frames:
                if isinstance(frame, DataFrame):
                    self.spend(frame.stream_id, frame.flow_controlled_length)
                self.send(frame.serialize())

    def head(self, id: int, fields: Fields, end: bool) -> None:
        with self.sending:
            frame = HeadersFrame(id, self.encoder.encode(fields), flags=["END_HEADERS"])
            if end:
                frame.flags.add("END_STREAM")
            self.send(frame.serialize())

    def spend(self, id: int, size: int) -> None:
        with self.counting:
            for one in (0, id):
                self.windows[one] = self.windows.setdefault(one, self.initial) - size

    def wait_for_window(self, id: int) -> None:
        """Returns once something may be sent, if nobody else is quicker."""
        with self.turned:
            ok = self.turned.wait_for(lambda: self.room(id) > 0 or self.finished.is_set(), WAIT_S)
        if not ok or self.finished.is_set():
            raise EndedError("the balancer gives no window")

    def room(self, id: int) -> int:
        with self.counting:
            return min(self.windows[0], self.windows.setdefault(id, self.initial))

    # ---- from the balancer ----

    def serve(self) -> None:
        try:
            while True:
                head = self.take(9)
                frame, size = Frame.parse_frame_header(memoryview(head))
                frame.parse_body(memoryview(self.take(size)))
                self.frames.append(frame)
                self.note(frame)
                with self.turned:
                    self.turned.notify_all()
        finally:
            self.finished.set()
            with self.turned:
                self.turned.notify_all()

    def note(self, frame: Frame) -> None:
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            with self.counting:
                delta = frame.settings.get(4, self.initial) - self.initial
                self.initial += delta
                for id in self.windows:
                    self.windows[id] += delta if id else 0
            self.put(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self.put(PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, GoAwayFrame):
            self.goaway = frame
        elif isinstance(frame, WindowUpdateFrame):
            with self.counting:
                one = self.windows.setdefault(frame.stream_id, self.initial)
                self.windows[frame.stream_id] = one + frame.window_increment
        elif isinstance(frame, HeadersFrame):
            self.partial = (frame.stream_id, frame.data, "END_STREAM" in frame.flags)
            self.fields(frame)
        elif isinstance(frame, ContinuationFrame) and self.partial is not None:
            id, data, end = self.partial
            self.partial = (id, data + frame.data, end)
            self.fields(frame)
        elif isinstance(frame, DataFrame):
            self.data(frame)
        elif isinstance(frame, RstStreamFrame):
            self.calls[frame.stream_id].reset = frame.error_code

    def fields(self, frame: HeadersFrame | ContinuationFrame) -> None:
        if "END_HEADERS" not in frame.flags or self.partial is None:
            return
        id, data, end = self.partial
        self.partial = None
        found = [(bytes(n), bytes(v)) for n, v in self.decoder.decode(data, raw=True)]
        for name, _ in found:
            if name != name.lower() or name in OWN:
                self.faults.append(f"a field that has no place in HTTP/2: {name!r}")
        if id in self.calls:
            self.calls[id].trailers = found
        else:
            self.begin(id, found)
        if end:
            self.ended(self.calls[id])

    def begin(self, id: int, found: list[tuple[bytes, bytes]]) -> None:
        names = [name for name, _ in found if name.startswith(b":")]
        wanted = [b":method", b":scheme", b":path", b":authority"]
        if b":protocol" in names:
            wanted.insert(0, b":protocol")
        if names != wanted or [name for name, _ in found][: len(names)] != names:
            self.faults.append(f"pseudo fields {names}")
        if id <= max(self.calls, default=-1) or id % 2 == 0:
            self.faults.append(f"stream {id} after {max(self.calls, default=0)}")
        call = Call(self, id, found)
        self.calls[id] = call
        self.recorder.came(call)

    def data(self, frame: DataFrame) -> None:
        call = self.calls[frame.stream_id]
        if call.whole:
            self.faults.append("data behind the end")
        call.body += frame.data
        size = frame.flow_controlled_length
        if size and call.path not in self.recorder.stingy:
            updates = [WindowUpdateFrame(0, window_increment=size)]
            if "END_STREAM" not in frame.flags:
                updates.append(WindowUpdateFrame(frame.stream_id, window_increment=size))
            self.put(*updates)
        if "END_STREAM" in frame.flags:
            self.ended(call)

    def ended(self, call: Call) -> None:
        call.whole = True
        length = call.get("content-length")
        if length is not None and int(length) != len(call.body):
            self.faults.append(f"{len(call.body)} bytes where {length!r} were told")
        self.requests.append(call)
        self.recorder.ended(call)


class Http2Server(Recorder):
    """The server; `context` makes it speak TLS."""

    kind = Http2Conversation
    conversations: list[Http2Conversation]  # type: ignore[assignment]

    def __init__(
        self,
        name: str = "server",
        context: ssl.SSLContext | None = None,
        settings: dict[int, int] | None = None,
    ) -> None:
        self.context = context
        self.settings = settings or {}
        self.opening: Callable[[Http2Conversation], Any] | None = None
        self.held: set[bytes] = set()
        self.early: dict[bytes, Script] = {}  # run when a head is there
        self.stingy: set[bytes] = set()
        super().__init__(name)

    def came(self, call: Call) -> None:
        call.talk.heads.append(call)
        if call.path in self.early:
            self.early[call.path](call)
        self.tell()

    def ended(self, call: Call) -> None:
        self.tell()
        if call.path in self.held or call.path in self.early:
            return
        script = self.scripts.get(call.path)
        if script is not None:
            script(call)  # type: ignore[call-arg, arg-type]
        else:
            call.answer(self.name.encode())

    def call(self, path: bytes, at: int = 0) -> Call:
        """The call for this path, the newest for -1, once it is there."""
        self.wait(lambda: len(self.calls(path)) > max(at, 0))
        return self.calls(path)[at]

    def calls(self, path: bytes) -> list[Call]:
        return [head for head in self.heads if head.path == path]  # type: ignore[attr-defined]


def shut(conversation: Http2Conversation) -> None:
    """The connection ends, without a word."""
    conversation.socket.shutdown(socket.SHUT_RDWR)


def slam(conversation: Http2Conversation) -> None:
    """It ends with a reset behind what was said; returns when it has."""
    left_at_once = struct.pack("ii", 1, 0)
    conversation.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, left_at_once)
    conversation.socket.shutdown(socket.SHUT_RD)  # its thread wakes, and closes it
    conversation.recorder.wait(lambda: conversation.socket.fileno() < 0)
