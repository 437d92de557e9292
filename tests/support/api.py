"""A client of the admin API for tests: any request, by the unix socket or by an address."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, NamedTuple

JSON = {"Content-Type": "application/json"}


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """Of a refusal."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        assert self.document["status"] == self.status
        return self.document["type"].removeprefix("urn:fourseven:problem:")


class Api:
    """`where` is a unix socket's path or (host, port)."""

    def __init__(self, where: Path | tuple[str, int], timeout_s: float = 60.0) -> None:
        self.where, self.timeout_s = where, timeout_s

    def connect(self) -> socket.socket:
        if isinstance(self.where, Path):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(self.timeout_s)
            sock.connect(str(self.where))
            return sock
        return socket.create_connection(self.where, self.timeout_s)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = self.connect()
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(
                method, path, content, {**(JSON if body is not None else {}), **said}
            )
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Any:
        reply = self.ask("GET", path, **headers)
        assert reply.status == 200, reply
        return reply.document

    def post(self, path: str, body: Any = None) -> Any:
        reply = self.ask("POST", path, {} if body is None else body)
        assert reply.status == 200, reply
        return reply.document
