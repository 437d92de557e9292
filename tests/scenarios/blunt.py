"""A server for load: a process of its own that answers fast, and misbehaves as its seed says.

usage: python -m scenarios.blunt SEED PER_MILLE   (prints its port; ends with its standard input)

Of a thousand requests PER_MILLE are answered wrongly: by a reset, a close without a word, a head cut
in two, half a body, or silence that ends only when the other side gives up.
"""

from __future__ import annotations

import random
import selectors
import socket
import struct
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
AT_ONCE = struct.pack("ii", 1, 0)


class Blunt:
    """One thread, one selector, all connections."""

    def __init__(self, seed: int, per_mille: int) -> None:
        self.random = random.Random(seed)
        self.per_mille = per_mille
        self.selector = selectors.DefaultSelector()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.listening.setblocking(False)
        self.selector.register(self.listening, selectors.EVENT_READ, self.accept)
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)

    def run(self) -> None:
        print(self.listening.getsockname()[1], flush=True)
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    return
                key.data(key.fileobj)

    def accept(self, listening: socket.socket) -> None:
        connected, _ = listening.accept()
        connected.setblocking(False)
        self.selector.register(connected, selectors.EVENT_READ, self.read)

    def read(self, connected: socket.socket) -> None:
        try:
            data = connected.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self.leave(connected)
        elif b"\r\n\r\n" in data:
            self.answer(connected)

    def answer(self, connected: socket.socket) -> None:
        """A request's head came; a body behind it is never waited for."""
        fault = None
        if self.random.randrange(1000) < self.per_mille:
            fault = self.random.choice(["reset", "close", "head", "body", "silence"])
        try:
            if fault is None:
                connected.send(ANSWER)
            elif fault == "head":
                connected.send(ANSWER[:20])
            elif fault == "body":
                connected.send(ANSWER[:-3])
        except OSError:
            fault = "close"
        if fault == "reset":
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        if fault not in (None, "silence"):
            self.leave(connected)

    def leave(self, connected: socket.socket) -> None:
        self.selector.unregister(connected)
        connected.close()


if __name__ == "__main__":
    Blunt(int(sys.argv[1]), int(sys.argv[2])).run()
