"""The usual check: a request, and what its answer must be.

It is sent as requests are: over TLS where the backend has it, behind its PROXY header, and by
HTTP/2 where the backend's protocol is h2 (`call`). Else the request is HTTP/1.1 with `Connection:
close`, and its answer is read by a reader for one's own servers (`answer`) that yet takes nothing
for granted: every part has a limit, and what is no HTTP is a failure with a name.

Source: RFC 9110 (15: status codes).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from fourseven.features import Check
from fourseven.health.answer import Answer
from fourseven.health.call import Call
from fourseven.health.connect import Target, Unwell
from fourseven.health.inward import talking
from fourseven.scalars import TOKEN

BODY_MAX = 256 * 1024  # bytes in which the wanted text is looked for
LINGER_MAX = 64 * 1024  # bytes that a server may still say when all is known
LINGER_S = 0.25
CODES = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.ASCII)
NAME = f"^{TOKEN.pattern}$"
VALUE = r"^[\t\x20-\x7e]*$"


def _ranges(value: object) -> tuple[str, ...]:
    given = value if isinstance(value, list | tuple) else [value]
    for one in map(str, given):
        found = CODES.fullmatch(one)
        if not found or int(found[2] or 599) < int(found[1]):
            raise ValueError(f"{one!r} is no status; write 204, or 200-299, or a list of them")
    return tuple(map(str, given))


Codes = Annotated[
    tuple[str, ...],
    BeforeValidator(_ranges),
    WithJsonSchema({"type": ["string", "integer", "array"], "examples": ["200-299"]}),
]


class Http(Check):
    """A server is well when it answers a request as it should.

    `path` (the plain value) is asked for with `method`. The answer's status must be among `status`;
    where `body` is given, this text must stand in its first 256 KiB. `host` is the Host header,
    the server's address if left out.

        health: {http: /healthz, interval: 2s}
        health: {http: {path: /ready, status: [200, 204], body: ok, headers: {X-Probe: lb}}}
    """

    key: ClassVar[str] = "http"
    shorthand: ClassVar[str | None] = "path"

    path: Annotated[str, Field(pattern=r"^/[\x21-\x7e]*$")] = "/"
    method: Annotated[str, Field(pattern=NAME)] = "GET"
    host: Annotated[str, Field(pattern=r"^[\x21-\x7e]*$")] = ""
    headers: dict[Annotated[str, Field(pattern=NAME)], Annotated[str, Field(pattern=VALUE)]] = (
        Field(default_factory=dict)
    )
    status: Codes = ("200-399",)
    body: str = ""

    @field_validator("headers")
    @classmethod
    def ours(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in ("host", "connection", "content-length", "transfer-encoding"):
                raise ValueError(f"{name} is set by the check itself; leave it out")
        return headers

    async def ask(self, target: Target) -> None:
        if target.http2:
            await self.call(target)
            return
        async with talking(target) as (reader, writer):
            writer.write(self.request(target))
            answer = Answer(self.method)
            await self.judge(reader, answer)
            await linger(reader)

    async def call(self, target: Target) -> None:
        """The same question by HTTP/2."""
        headers = {
            ":method": self.method,
            ":scheme": "http" if target.tls is None else "https",
            ":path": self.path,
            ":authority": self.asked_host(target),
            "user-agent": "fourseven",
            "accept": "*/*",
        }
        headers |= {name.lower(): value.strip() for name, value in self.headers.items()}
        call = Call(list(headers.items()))
        wanted = self.body.encode()
        async with talking(target) as (reader, writer):
            while not call.ended:
                writer.write(call.to_send())
                call.receive(await reader.read(16384))
                if call.status and not self.takes(int(call.status)):
                    raise Unwell(f"status {call.status}")
                if call.status and wanted in call.body[:BODY_MAX]:
                    return
                if len(call.body) >= BODY_MAX:
                    break
        raise Unwell(f"{call.status}, but its body does not contain the wanted text")

    def asked_host(self, target: Target) -> str:
        unix = target.address.startswith("unix:")
        return self.host or ("localhost" if unix else target.address)

    def request(self, target: Target) -> bytes:
        """The bytes that ask."""
        host = self.asked_host(target)
        headers = {"Host": host, "User-Agent": "fourseven", "Accept": "*/*", **self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("ascii")

    def takes(self, status: int) -> bool:
        return any(_holds(one, status) for one in self.status)

    async def judge(self, reader: asyncio.StreamReader, answer: Answer) -> None:
        """Reads as much of the answer as it takes; Unwell where it is not the wanted one."""
        wanted = self.body.encode()
        while True:
            answer.receive(await reader.read(16384))
            if answer.status and not self.takes(answer.status):
                raise Unwell(f"status {answer.status}")
            if answer.status and wanted in answer.body[:BODY_MAX]:
                return
            if answer.ended or len(answer.body) >= BODY_MAX:
                raise Unwell(f"{answer.status}, but its body does not contain the wanted text")


async def linger(reader: asyncio.StreamReader) -> None:
    """Lets the server end its answer: a close amid it is an error in its log, at each check."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(LINGER_S):
            left = LINGER_MAX
            while left > 0 and (data := await reader.read(16384)):
                left -= len(data)


def _holds(codes: str, status: int) -> bool:
    first, _, last = codes.partition("-")
    return int(first) <= status <= int(last or first)
