"""Small real servers that say who they are: `… -m fourseven.demo.servers KIND NAME COUNT [PEM]`.

One process serves one set (videos-1, videos-2, …), each server on a port of its own, and prints the
ports in one line. They are the standard library's; the echoes answer over TCP or UDP with their
name before what they were sent. They are there to be looked at, not to be fast: what is
measured runs against `origin`.

A set ends when its standard input does, so it never outlives the one who started it.
"""

from __future__ import annotations

import json
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ADDRESS = "127.0.0.1"
SERVER_HEADER = "X-Served-By"
BODY_MAX = 1 << 20  # the demo sends a few hundred bytes; a person who plays may send more


def main() -> int:
    kind, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    more = sys.argv[4:]  # the certificate of a server that ends TLS
    ports = [KINDS[kind](f"{name}-{number}", *more) for number in range(1, count + 1)]
    print(*ports, flush=True)
    sys.stdin.read()
    return 0


def serve_http(name: str, certificate: str = "") -> int:
    """Answers any request with who it is and what it saw of the client."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if size > BODY_MAX:
                self.send_error(413)
                return
            received = self.rfile.read(size)
            told = {
                "server": name,
                "method": self.command,
                "path": self.path,
                "body_bytes": len(received),
                "client": self.headers.get("X-Forwarded-For"),
            }
            body = json.dumps(told).encode() + b"\n"
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header(SERVER_HEADER, name)
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """Silent: the demo's table says what went where."""

    server = ThreadingHTTPServer((ADDRESS, 0), Answer)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    return started(server)


def serve_tcp(name: str) -> int:
    """Answers what it receives on a connection with its name before it."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(65_536):
                self.request.sendall(f"{name}: ".encode() + data)

    return started(socketserver.ThreadingTCPServer((ADDRESS, 0), Echo))


def serve_udp(name: str) -> int:
    """Answers each datagram with its name before it."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data, sock = self.request
            sock.sendto(f"{name}: ".encode() + data, self.client_address)

    return started(socketserver.UDPServer((ADDRESS, 0), Echo))


def started(server: socketserver.TCPServer) -> int:
    """Serves in a thread that ends with the process; the port."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.socket.getsockname()[1])


KINDS: dict[str, Callable[..., int]] = {
    "http": serve_http,
    "https": serve_http,
    "tcp": serve_tcp,
    "udp": serve_udp,
}


if __name__ == "__main__":
    sys.exit(main())
