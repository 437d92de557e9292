"""The wire of xdp: frames as the card has them, before the kernel makes packets of them.

Only what is plain goes this way: whatever needs more (no neighbour yet, too long, its TTL ends, a
VLAN's tag) leaves untouched, and meets the tcx program on the same interface, which has the same
tables, decides the same, and knows how to send it. So an interface with this program has that one
too.

A frame carries its checksums whole, and they are changed by difference (RFC 1624).

What leaves by the interface that it came from, as where servers answer past us, goes by XDP_TX, the
cheapest way: the card sends the very page. A veth (NO_TX) would let such a frame lie until the next
one comes, unless its other end has a program, too; there it is redirected like any other.

Law: the interface that a frame is sent to takes frames from xdp (a card's driver, or a veth whose
other end has an xdp program or GRO): whoever attaches the program sees to that.
"""

from __future__ import annotations

from fourseven.l4.bpf import checksums
from fourseven.l4.bpf.layout import U32, U64
from fourseven.l4.bpf.values import Local, Pointer, Value
from fourseven.l4.headers import LINK, UDP_HEADER, XDP_MD
from fourseven.l4.program.wire import NO_TX, NUMBER, PLAIN, Wire

TX = 3  # XDP_TX: back by the interface that it came from


class XdpWire(Wire):
    """Reading and writing on xdp."""

    CONTEXT = XDP_MD
    PASS = 2  # XDP_PASS
    SENT, DROP = 4, 1  # XDP_REDIRECT, XDP_DROP
    LAST = False

    def measure(self) -> Value:
        return (self.context.data_end.to(U64) - self.context.data).to(U32)  # type: ignore[no-any-return]

    def enter(self) -> None:
        """A frame is read as it is."""

    def need(self, size: int) -> None:
        """It stands in one piece."""

    def fits(self, row: Pointer, quotes: bool) -> None:  # noqa: ARG002 - tcx tells
        p = self.p
        with p.when((self.plain != PLAIN) | (self.size > row.mtu.to(U32) + LINK)):
            self.left()
        with p.when(self.hops_end()):
            self.left()

    def left(self) -> None:
        """To the tcx program, which decides anew."""
        if self.undo is not None:
            self.undo()
        self.leave()

    def sums(
        self,
        addresses: Local,
        ports: Local,
        pairs: list[tuple[Value, Value]],  # noqa: ARG002 - one sum for both is cheapest
    ) -> None:
        p = self.p
        p.set(addresses, addresses + ports)

        def tcp() -> None:
            checksums.apply(p, self.tcp().checksum, addresses)

        def udp() -> None:
            header = p.packet("udp", self.l4, UDP_HEADER, self.PASS)
            checksums.apply_to_udp(p, header.checksum, addresses)

        self.by_protocol(tcp, udp)

    def forward(self, row: Pointer) -> None:
        p = self.p
        self.address(row)
        self.age()
        out = p.let("out", row.out & NUMBER)
        with p.when(out == self.ingress), p.when((row.out & NO_TX) == 0):
            p.exit(TX)
        p.exit(p.call("redirect", out, 0, kind=U32))
