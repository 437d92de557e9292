"""The check that gRPC servers answer: grpc.health.v1.Health/Check.

One unary call by HTTP/2 on a connection of its own, inside the backend's TLS where it has one. The
messages are small enough to be read by hand: a request is its service's name (field 1), an answer
is one number (field 1: 1 is SERVING). HTTP/2 is the library h2's; a gRPC library would bring
threads, pools and retries of its own, where a check is meant to be one question.

Source: gRPC "Health Checking Protocol", "gRPC over HTTP2"; protobuf's wire format.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, ClassVar

from pydantic import Field

from fourseven.features import Check
from fourseven.health.connect import Target, Unwell
from fourseven.health.inward import talking

ANSWER_MAX = 4096  # bytes; an answer has two
PATH = "/grpc.health.v1.Health/Check"
STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
SERVING = 1
SETTINGS = 4  # the type of a server's first frame (RFC 9113, 3.4), in its fourth byte
# Those that a health service gives; others are said by their number.
CODES = {"5": "NOT_FOUND", "12": "UNIMPLEMENTED", "14": "UNAVAILABLE", "16": "UNAUTHENTICATED"}


class Grpc(Check):
    """A server is well when its gRPC health service says SERVING.

    `service` is the name that is asked about; left out, the server as a whole. `authority` is the
    host that the call names, the server's address if left out.

        health: grpc
        health: {grpc: shop.Cart, interval: 2s}
    """

    key: ClassVar[str] = "grpc"
    alpn: ClassVar[str] = "h2"
    shorthand: ClassVar[str | None] = "service"

    service: Annotated[str, Field(max_length=200, pattern=r"^[\x21-\x7e]*$")] = ""
    authority: Annotated[str, Field(pattern=r"^[\x21-\x7e]*$")] = ""

    async def ask(self, target: Target) -> None:
        scheme = "http" if target.tls is None else "https"
        call = Call(self.message(), scheme, self.authority or authority_of(target))
        async with talking(target) as (reader, writer):
            while not call.ended:
                writer.write(call.to_send())
                call.receive(await reader.read(16384))
        verify(call)

    def message(self) -> bytes:
        """The request: its name as field 1, behind gRPC's prefix."""
        name = self.service.encode("ascii")
        said = varint(1 << 3 | 2) + varint(len(name)) + name if name else b""
        return struct.pack("!BI", 0, len(said)) + said


class Call:
    """One call, without a socket."""

    def __init__(self, message: bytes, scheme: str, authority: str) -> None:
        from h2.config import H2Configuration  # slow to load, and few need it
        from h2.connection import H2Connection

        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
        self.ended = False
        self.status = ""  # of HTTP
        self.code = ""  # of gRPC
        self.answer = b""
        self._began = b""
        self._h2.initiate_connection()
        stream = self._h2.get_next_available_stream_id()
        headers = {
            ":method": "POST",
            ":scheme": scheme,
            ":path": PATH,
            ":authority": authority,
            "content-type": "application/grpc",
            "te": "trailers",
            "user-agent": "fourseven",
        }
        self._h2.send_headers(stream, list(headers.items()))
        self._h2.send_data(stream, message, end_stream=True)

    def to_send(self) -> bytes:
        """What is due to the server; maybe nothing."""
        return bytes(self._h2.data_to_send())

    def receive(self, data: bytes) -> None:
        """Takes what came. Unwell where it is no answer."""
        from h2.exceptions import ProtocolError

        if not data:
            raise Unwell("closed, no answer" if not self.status else "closed within its answer")
        self._began = (self._began + data)[:4]
        if len(self._began) == 4 and self._began[3] != SETTINGS:
            raise Unwell("what it says is not HTTP/2")
        try:
            happened = self._h2.receive_data(data)
        except ProtocolError:
            raise Unwell("what it says is not HTTP/2") from None
        for event in happened:
            self._take(event)

    def _take(self, event: Any) -> None:
        from h2 import events

        match event:
            case events.ResponseReceived() | events.TrailersReceived():
                fields: Any = dict(event.headers)  # text, for the encoding is set
                self.status = fields.get(":status", self.status)
                self.code = fields.get("grpc-status", self.code)
            case events.DataReceived():
                self.answer += event.data
                if len(self.answer) > ANSWER_MAX:
                    raise Unwell("its answer is too long for one of a health service")
            case events.StreamEnded():
                self.ended = True
            case events.StreamReset() | events.ConnectionTerminated():
                raise Unwell(f"it ends the call with error {int(event.error_code or 0)}")


def verify(call: Call) -> None:
    """Unwell where the answer is not SERVING."""
    if call.status != "200":
        raise Unwell(f"status {call.status}")
    if call.code != "0":
        raise Unwell(f"gRPC {CODES.get(call.code, call.code or 'without a status')}")
    size = int.from_bytes(call.answer[1:5], "big")
    if len(call.answer) != 5 + size or call.answer[:1] != b"\0":
        raise Unwell("its answer is no message of gRPC")
    state = state_in(call.answer[5:])
    if state != SERVING:
        raise Unwell(STATES.get(state, f"state {state}"))


def state_in(message: bytes) -> int:
    """Field 1 of an answer; 0 where it is left out, as a default is."""
    if not message:
        return 0
    if len(message) != 2 or message[0] != 1 << 3:
        raise Unwell("its answer is none of a health service")
    return message[1]


def varint(number: int) -> bytes:
    """Below 128 as it is; longer ones in groups of seven bits, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def authority_of(target: Target) -> str:
    return "localhost" if target.address.startswith("unix:") else target.address
