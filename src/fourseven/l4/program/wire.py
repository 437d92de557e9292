"""A wire: how the program reads a packet, rewrites it, and sends it on its way.

What is decided about a packet (`decide`) is written once, over this:

    wire.parse(write)       reads the packet; `write` is called once for each family of the plan and
                            emits what happens to a packet of it. What is not ours has left before.
    wire.key                who talks to whom, on the stack: source, destination, ports, protocol
    wire.flags, wire.size   TCP's flags (0 for UDP), bytes of the whole packet
    wire.v4                 which family is being written just now; known while the program is built
    wire.rewrite(…)         another source, another destination, or both; checksums follow
    wire.forward(…)         on to the neighbour; the program ends
    wire.leave()            on to the kernel, untouched; the program ends

Law: nothing here knows flows, services or servers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fourseven.l4.bpf.build import Program
from fourseven.l4.bpf.layout import Struct
from fourseven.l4.bpf.values import Condition, Fields, Load, Local, Pointer, Value

TCP, UDP = 6, 17  # IANA protocol numbers
FIN, SYN, RST, ACK = 1, 2, 4, 16
AF_INET, AF_INET6 = 2, 10
LINK = 14  # bytes of the Ethernet header
HEADERS = LINK + 60 + 20  # the longest that is looked at: IPv4 with options, TCP without
FOUND, NO_NEIGHBOUR = 0, 7  # BPF_FIB_LKUP_RET: a way is known, its neighbour perhaps not yet


class To(NamedTuple):
    """A new end for a packet."""

    address: Fields
    port: Load


class Wire:
    """What every wire has; the ways of reading and writing are its own."""

    CONTEXT: Struct  # what the kernel hands to the program
    PASS: int  # the exit code that lets the kernel go on

    def __init__(self, p: Program, key: Pointer, families: set[int]) -> None:
        """`key` is a struct on the stack that parse() fills."""
        self.p, self.key, self.families = p, key, families
        self.v4 = families == {4}
        self.flags: Local = p.let("flags", 0)
        self.size: Value = self.flags

    def parse(self, write: Callable[[], None]) -> None:
        raise NotImplementedError

    def rewrite(self, source: To | None = None, destination: To | None = None) -> None:
        raise NotImplementedError

    def forward(self, source: Fields, destination: Fields) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        """On to the kernel, as it came."""
        self.p.exit(self.PASS)


def mapped(address: Fields) -> Condition:
    """Is it an IPv4 address in the form of an IPv6 one?"""
    return (address[0] == 0) & (address[1] == 0) & (address[2] == 0xFFFF)
