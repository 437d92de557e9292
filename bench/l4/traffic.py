"""What is sent, as processes of their own: python -m bench.l4.traffic KIND ADDRESS PORT …

    bulk-server      takes what a connection sends, or sends without end: its first byte says which
    bulk             one connection at full speed, up or down; prints the bytes and the time
    sink             a bound socket that nobody reads: the kernel counts what came
    datagrams        small datagrams of many flows, 64 a system call, as fast as can be

The bytes of `bulk up` are counted where they arrive, and the room of the socket that takes them is
given, where the kernel would find one by itself: what it finds is luck. One time it settles at
1 MiB, another at 20, by how the first packets fell; the one costs an eighth more CPU time a byte
than the other, on whatever path, and so the luck weighs more than the path. Python stands beside
the path, not in it: each system call here moves a mebibyte or 64 datagrams.
"""

from __future__ import annotations

import ctypes
import json
import socket
import sys
import threading
import time

BLOCK = 1 << 20
UP, DOWN = b"u", b"d"
ROOM = 8 << 20  # bytes: no window of these paths is larger, and most that the kernel finds are near
SO_RCVBUFFORCE = 33  # as SO_RCVBUF, beyond net.core.rmem_max; asm-generic/socket.h
FLOWS, BURST, PAYLOAD = 64, 64, 18  # 18 bytes: the smallest Ethernet frame


def main() -> int:
    kind, address, port, *rest = sys.argv[1:]
    place = (address, int(port))
    return {"bulk-server": bulk_server, "bulk": bulk, "sink": sink, "datagrams": datagrams}[kind](
        place, *rest
    )


class Clock:
    """Time passed and CPU time spent since it was made."""

    def __init__(self) -> None:
        self.begun, self.cpu = time.monotonic(), time.process_time()

    def read(self) -> dict[str, float]:
        passed, spent = time.monotonic() - self.begun, time.process_time() - self.cpu
        return {"duration_us": 1e6 * passed, "cpu_us": 1e6 * spent}


def bulk_server(place: tuple[str, int]) -> int:
    with socket.create_server(place, backlog=64) as listening:
        listening.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)  # what it accepts inherits
        print("ready", flush=True)
        while True:
            taken, _ = listening.accept()
            threading.Thread(target=serve_bulk, args=(taken,), daemon=True).start()


def serve_bulk(taken: socket.socket) -> None:
    block = bytearray(BLOCK)
    with taken:
        try:
            if taken.recv(1) == DOWN:
                while True:
                    taken.sendall(block)
            total = 0
            while got := taken.recv_into(block):
                total += got
            taken.sendall(total.to_bytes(8, "big"))
        except OSError:
            return  # the client has its figure


def bulk(place: tuple[str, int], way: str, seconds: str) -> int:
    block = bytearray(BLOCK)
    with socket.socket() as made:
        made.settimeout(10)
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        made.connect(place)
        made.sendall(UP if way == "up" else DOWN)
        clock = Clock()
        until, total = time.monotonic() + float(seconds), 0
        if way == "up":
            while time.monotonic() < until:
                made.sendall(block)
            made.shutdown(socket.SHUT_WR)
            said = made.recv(8, socket.MSG_WAITALL)
            total = int.from_bytes(said, "big") if len(said) == 8 else 0
        else:
            while time.monotonic() < until and (got := made.recv_into(block)):
                total += got
        spent = clock.read()
    print(json.dumps({"bytes": total, **spent}))
    return 0


def sink(place: tuple[str, int]) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        bound.bind(place)
        print("ready", flush=True)
        sys.stdin.read()
    return 0


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Message(ctypes.Structure):  # struct mmsghdr
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint32),
    ]


def datagrams(place: tuple[str, int], seconds: str) -> int:
    sendmmsg = ctypes.CDLL(None).sendmmsg
    payload = ctypes.create_string_buffer(PAYLOAD)
    one = Vector(ctypes.addressof(payload), PAYLOAD)
    burst = (Message * BURST)()
    for message in burst:
        message.vectors, message.vector_count = ctypes.pointer(one), 1
    flows = []
    for _ in range(FLOWS):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.connect(place)
        made.send(b"hello")  # a neighbour is asked for once, before the clock runs
        flows.append(made)
    time.sleep(0.05)
    numbers = [made.fileno() for made in flows]
    clock, sent = Clock(), 0
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        for number in numbers:
            sent += max(0, sendmmsg(number, burst, BURST, 0))
    print(json.dumps({"sent": sent, **clock.read()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
