"""A caller of the admin API, for the command line: one question and one answer by the unix socket.

A refusal is a FoursevenError in the API's own words. Nothing but the standard library: `drain` at
three in the morning must not wait for an import.
"""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fourseven.errors import FoursevenError

ANSWER_TIMEOUT_S = 60.0  # an engine that restarts is waited for; its loading takes seconds


class Client:
    """Of the fourseven whose admin.sock this is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def send(self, method: str, path: str, body: dict[str, Any]) -> Any:
        return self._ask(method, path, body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {} if body is None else {"Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        connection = http.client.HTTPConnection("localhost")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(ANSWER_TIMEOUT_S)
                sock.connect(str(self._path))
                connection.sock = sock
                connection.request(method, path, content, headers)
                answer = connection.getresponse()
                document = json.loads(answer.read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise FoursevenError(f"no answer from the fourseven at {self._path}: {error}") from None
        if answer.status >= 400:
            raise FoursevenError(document.get("detail", f"refused: {answer.status}"))
        return document


def server_path(backend: str, server: str) -> str:
    """Of a server in the API."""
    return f"/v1/backends/{quote(backend, safe='')}/servers/{quote(server, safe='')}"
