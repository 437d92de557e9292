"""One request of a check to a server that speaks HTTP/2, on a connection of its own.

HTTP/2 is the library h2's. The caller moves the bytes, so that this knows no socket: `to_send` says
what is due to the server, `receive` takes what came, until `ended`.

Law: an answer is bounded: its body by what the caller wants of it, its head by the library.
"""

from __future__ import annotations

from typing import Any

from fourseven.health.connect import Unwell

SETTINGS = 4  # the type of a server's first frame (RFC 9113, 3.4), in its fourth byte


class Call:
    """One request and its answer, without a socket."""

    def __init__(self, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        from h2.config import H2Configuration  # slow to load, and few need it
        from h2.connection import H2Connection

        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
        self.ended = False
        self.status = ""
        self.fields: dict[str, str] = {}  # of head and trailers
        self.body = b""
        self._began = b""
        self._h2.initiate_connection()
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, headers, end_stream=not body)
        if body:
            self._h2.send_data(stream, body, end_stream=True)

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
                self.fields |= fields
                self.status = fields.get(":status", self.status)
            case events.DataReceived():
                self.body += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case events.StreamEnded():
                self.ended = True
            case events.StreamReset() | events.ConnectionTerminated():
                raise Unwell(f"it ends the call with error {int(event.error_code or 0)}")
