"""A flood from addresses that nobody has, into the balancer, at a rate or as fast as it goes.

SYNs, each from another address and port; or datagrams, two of each, so that every one is a flow of
its own. The frames are received by the balancer's interface towards the client (frames.py), from
198.18.0.0/16 (RFC 2544: for benchmarks). The way back to there leads to the client's namespace,
which throws such packets away, as the internet does with most of them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Self

from bench.l4.frames import TCP, base, feeder
from bench.l4.packets import macs
from fourseven.l4.bpf.kernel import XDP, Loaded, Table
from support.lab import BALANCER, Lab, address

NOBODY = "198.18.0.0"
STEP_SECONDS, CHUNK = 0.01, 1 << 14
STALL = 4  # of a second: after a stall so much is made up for, and no more


class Flood:
    """Use it as a context: it floods while the block runs. `sent` says how many, `seconds` how
    long."""

    def __init__(
        self, lab: Lab, target: tuple[str, int], rate: int = 0, protocol: int = TCP
    ) -> None:
        self.lab, self.rate = lab, rate
        self.sent, self.seconds = 0, 0.0
        self.over = threading.Event()
        self.open = contextlib.ExitStack()
        self.thread = threading.Thread(target=self.run, daemon=True)
        made = base(protocol, NOBODY, target, macs(lab))
        written = feeder(made, 0, pairs=protocol != TCP)
        self.frame = made.frame
        fed = self.open.enter_context(Table(written.maps["fed"]))
        self.loaded = self.open.enter_context(Loaded(written.assemble(), {"fed": fed}, XDP))
        way_back = address("client", socket.AF_INET)
        lab.ip(BALANCER, f"route replace {NOBODY}/16 via {way_back}")

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self.open.close()

    def run(self) -> None:
        with self.lab.inside(BALANCER):
            interface = socket.if_nametoindex("to-client")
            begun, left_out = time.monotonic(), 0
            while not self.over.is_set():
                self.seconds = time.monotonic() - begun
                due = int(self.seconds * self.rate) - left_out - self.sent if self.rate else CHUNK
                count = min(due, self.rate // STALL or CHUNK)
                left_out += max(0, due - count)
                if count > 0:
                    self.loaded.flood(self.frame, interface, count)
                    self.sent += count
                if self.rate:
                    self.over.wait(STEP_SECONDS)
