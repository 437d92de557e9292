"""A DNS server on loopback whose records a test changes while it runs.

    with NameServer() as names:
        names.say("web.test.", "A", "127.0.0.1", ttl=1)
        names.rcode = SERVFAIL          for every question; None: as the records are

Answers over UDP that are longer than 512 bytes are cut, so that the client comes by TCP.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

UDP_MAX = 512


class NameServer:
    def __init__(self) -> None:
        self.udp, self.tcp = both()
        self.port = self.udp.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.records: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        self.rcode: Any = None
        self.failing: set[str] = set()  # names of which it says SERVFAIL
        self.silent = False
        self.asked: list[tuple[str, str]] = []
        self.by_tcp = 0
        self._end, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)

    def say(self, name: str, kind: str, *values: str, ttl: int = 1) -> None:
        self.records[name, kind] = ttl, values

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.send(b"x")
        self._thread.join()
        for one in (self.udp, self.tcp, self._end, self._stop):
            one.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as ready:
            for one in (self.udp, self.tcp, self._end):
                ready.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj is self._end:
                        return
                    with contextlib.suppress(OSError):
                        self._datagram() if key.fileobj is self.udp else self._stream()

    def _datagram(self) -> None:
        wire, client = self.udp.recvfrom(4096)
        answer = self._answer(wire)
        if answer is None:
            return
        said = answer.to_wire(max_size=65535)
        if len(said) > UDP_MAX:
            short = dns.message.make_response(dns.message.from_wire(wire))
            short.flags |= dns.flags.TC
            said = short.to_wire()
        self.udp.sendto(said, client)

    def _stream(self) -> None:
        taken, _ = self.tcp.accept()
        with taken:
            taken.settimeout(20)
            self.by_tcp += 1
            size = struct.unpack("!H", taken.recv(2))[0]
            answer = self._answer(taken.recv(size))
            if answer is not None:
                said = answer.to_wire(max_size=65535)
                taken.sendall(struct.pack("!H", len(said)) + said)

    def _answer(self, wire: bytes) -> dns.message.Message | None:
        question = dns.message.from_wire(wire)
        [asked] = question.question
        name, kind = str(asked.name), dns.rdatatype.to_text(asked.rdtype)
        self.asked.append((name, kind))
        if self.silent:
            return None
        answer = dns.message.make_response(question)
        if self.rcode is not None or name in self.failing:
            answer.set_rcode(dns.rcode.SERVFAIL if self.rcode is None else self.rcode)
            return answer
        if (name, kind) in self.records:
            ttl, values = self.records[name, kind]
            if values:
                answer.answer.append(dns.rrset.from_text(name, ttl, "IN", kind, *values))
        elif not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


def both() -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket of one number; the TCP one may be somebody else's, then another."""
    while True:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        try:
            return udp, socket.create_server(udp.getsockname())
        except OSError:
            udp.close()
