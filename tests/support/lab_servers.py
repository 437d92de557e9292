"""Small servers that a lab runs as processes: python -m support.lab_servers KIND PORT NAME

    dns      answers any question, over UDP and TCP: A and AAAA with one address, TXT with NAME and
             as many letters as the question's first label says (`3000.example.test`: 3,000)
    echo     TCP: the address at which it was met, then what it gets
    http     GET /N: N bytes (pattern()); POST: the SHA-256 of what came; both say NAME

Both families, every address. Each ends when its standard input does.
"""

from __future__ import annotations

import hashlib
import http.server
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable

A, TXT, AAAA = 1, 16, 28


def main() -> None:
    kind, port, name = sys.argv[1:]
    for server in {"dns": dns, "echo": echo, "http": web}[kind](int(port), name):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


class Both:
    """A server on every address of both families."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    request_queue_size = 4096

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Tcp(Both, socketserver.ThreadingTCPServer):
    pass


class Udp(Both, socketserver.UDPServer):
    max_packet_size = 65_535


class Http(Both, http.server.ThreadingHTTPServer):
    pass


def pattern(size: int) -> bytes:
    """No two blocks are alike, so a lost or doubled one shows."""
    return b"".join(b"%015d\n" % at for at in range(0, size, 16))[:size]


def web(port: int, name: str) -> list[socketserver.BaseServer]:
    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body leave in two writes

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Served-By", name)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.answer(pattern(int(self.path[1:])))

        def do_POST(self) -> None:
            left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
            while left:
                piece = self.rfile.read(min(left, 1 << 16))
                digest.update(piece)
                left -= len(piece)
            self.answer(digest.hexdigest().encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    return [Http(("::", port), Answer)]


def met(taken: socket.socket) -> bytes:
    """The address at which a client met us."""
    return taken.getsockname()[0].removeprefix("::ffff:").encode()


def echo(port: int, name: str) -> list[socketserver.BaseServer]:
    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.request.sendall(met(self.request) + b"\n")
            while data := self.request.recv(65_536):
                self.request.sendall(data)

    return [Tcp(("::", port), Echo)]


def dns(port: int, name: str) -> list[socketserver.BaseServer]:
    class OverUdp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            question, bound = self.request
            bound.sendto(dns_answer(question, name), self.client_address)

    class OverTcp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while head := self.rfile.read(2):
                question = self.rfile.read(struct.unpack(">H", head)[0])
                said = dns_answer(question, name)
                self.wfile.write(struct.pack(">H", len(said)) + said)

    return [Udp(("::", port), OverUdp), Tcp(("::", port), OverTcp)]


def dns_answer(question: bytes, name: str) -> bytes:
    """RFC 1035 4.1: the question again, and one record for its name."""
    number = question[:2]
    end = question.index(b"\0", 12) + 5
    asked = question[12:end]
    kind = struct.unpack(">H", asked[-4:-2])[0]
    data = RECORDS[kind](asked, name)
    record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
    return number + struct.pack(">HHHHH", 0x8580, 1, 1, 0, 0) + asked + record


def text_record(asked: bytes, name: str) -> bytes:
    label = asked[1 : 1 + asked[0]].decode()
    text = name.encode() + b" " + b"x" * int(label)
    pieces = [text[at : at + 255] for at in range(0, len(text), 255)]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


RECORDS: dict[int, Callable[[bytes, str], bytes]] = {
    A: lambda _asked, _name: socket.inet_aton("192.0.2.7"),
    AAAA: lambda _asked, _name: socket.inet_pton(socket.AF_INET6, "2001:db8::7"),
    TXT: text_record,
}


if __name__ == "__main__":
    main()
