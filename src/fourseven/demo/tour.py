"""The tour: sends each request of the scene through the balancer and says which server answered.

Plain sockets, the standard library's HTTP client and, for HTTP/2, one of ours: what is sent is what
stands in the scene. Each visit uses a connection of its own, as a new visitor would.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fourseven.demo import http2
from fourseven.demo.scene import Visit
from fourseven.demo.servers import SERVER_HEADER

ADDRESS = "127.0.0.1"
TIMEOUT_SECONDS = 5.0
DATAGRAM_TRIES = 5  # a datagram may be lost, even here, while a queue fills


@dataclass(frozen=True, slots=True)
class Seen:
    """What came back. `server` is the answerer's own name; empty when there was none."""

    visit: Visit
    server: str
    status: str
    micros: float

    @property
    def right(self) -> bool:
        return self.server.rpartition("-")[0] == self.visit.expected


def send(visit: Visit, ports: Mapping[str, int], folder: Path) -> Seen:
    """Sends one visit; a failure is a Seen whose status says what went wrong."""
    port = ports[visit.listener]
    begun = time.perf_counter()
    try:
        server, status = SENDERS.get(visit.listener, over_http)(visit, port, folder)
    except (OSError, ValueError, http.client.HTTPException) as error:
        server, status = "", f"{type(error).__name__}: {error}"
    return Seen(visit, server, status, 1e6 * (time.perf_counter() - begun))


def over_http(visit: Visit, port: int, _: Path) -> tuple[str, str]:
    with socket.create_connection((ADDRESS, port), timeout=TIMEOUT_SECONDS) as connection:
        return asked(visit, connection)


def over_tls(visit: Visit, port: int, folder: Path) -> tuple[str, str]:
    """The certificate must be of the demo's authority and of the name that was asked for."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    if visit.http2:
        context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((ADDRESS, port), timeout=TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=visit.name) as connection,
    ):
        if not visit.http2:
            return asked(visit, connection)
        pseudo = {":method": visit.method, ":scheme": "https", ":path": visit.path}
        fields = {**pseudo, ":authority": visit.name, **dict(visit.headers)}
        return http2.ask(connection, list(fields.items()), visit.body)


def asked(visit: Visit, connection: socket.socket) -> tuple[str, str]:
    """Who answered, and with which status; a redirect is the balancer's own answer."""
    talk = http.client.HTTPConnection(visit.host)
    talk.sock = connection
    talk.request(visit.method, visit.path, visit.body or None, dict(visit.headers))
    answer = talk.getresponse()
    answer.read()
    status = str(answer.status)
    own = f"redirect-{status}" if "Location" in answer.headers else ""
    return answer.headers.get(SERVER_HEADER, own), status


def over_tcp(visit: Visit, port: int, _: Path) -> tuple[str, str]:
    with socket.create_connection((ADDRESS, port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(visit.body)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while data := connection.recv(65_536):
            got += data
    return named(got, visit.body)


def over_udp(visit: Visit, port: int, _: Path) -> tuple[str, str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((ADDRESS, port))
        client.settimeout(TIMEOUT_SECONDS / DATAGRAM_TRIES)
        for _try in range(DATAGRAM_TRIES):
            client.send(visit.body)
            try:
                return named(client.recv(65_536), visit.body)
            except TimeoutError:
                continue
    raise TimeoutError("no datagram came back")


def named(got: bytes, sent: bytes) -> tuple[str, str]:
    """The echo's name and "echoed", if it gave back what was sent."""
    name, _, rest = got.decode(errors="replace").partition(": ")
    return name, "echoed" if rest.encode() == sent else f"not an echo: {got[:40]!r}"


SENDERS = {"secure": over_tls, "echo": over_tcp, "datagrams": over_udp}
