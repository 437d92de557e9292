"""The check that gRPC servers answer: grpc.health.v1.Health/Check.

One unary call by HTTP/2 on a connection of its own, inside the backend's TLS where it has one.
The messages are small enough to be read by hand: a request is its service's name (field 1), an
answer is one number (field 1: 1 is SERVING). A gRPC library would bring threads, pools and
retries of its own, where a check is meant to be one question.

Source: gRPC "Health Checking Protocol", "gRPC over HTTP2"; protobuf's wire format.
"""

from __future__ import annotations

import struct
from typing import Annotated, ClassVar

from pydantic import Field

from fourseven.features import Check
from fourseven.health.call import Call
from fourseven.health.connect import Target, Unwell
from fourseven.health.inward import talking

ANSWER_MAX = 4096  # bytes; an answer has two
PATH = "/grpc.health.v1.Health/Check"
STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
SERVING = 1
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
        headers = {
            ":method": "POST",
            ":scheme": scheme,
            ":path": PATH,
            ":authority": self.authority or authority_of(target),
            "content-type": "application/grpc",
            "te": "trailers",
            "user-agent": "fourseven",
        }
        call = Call(list(headers.items()), self.message())
        async with talking(target) as (reader, writer):
            while not call.ended:
                writer.write(call.to_send())
                call.receive(await reader.read(16384))
                if len(call.body) > ANSWER_MAX:
                    raise Unwell("its answer is too long for one of a health service")
        verify(call)

    def message(self) -> bytes:
        """The request: its name as field 1, behind gRPC's prefix."""
        name = self.service.encode("ascii")
        said = varint(1 << 3 | 2) + varint(len(name)) + name if name else b""
        return struct.pack("!BI", 0, len(said)) + said


def verify(call: Call) -> None:
    """Unwell where the answer is not SERVING."""
    if call.status != "200":
        raise Unwell(f"status {call.status}")
    code = call.fields.get("grpc-status", "")
    if code != "0":
        raise Unwell(f"gRPC {CODES.get(code, code or 'without a status')}")
    size = int.from_bytes(call.body[1:5], "big")
    if len(call.body) != 5 + size or call.body[:1] != b"\0":
        raise Unwell("its answer is no message of gRPC")
    state = state_in(call.body[5:])
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
