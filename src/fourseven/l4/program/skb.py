"""The wire of tc: packets as the kernel keeps them, with offloads.

A packet may be larger than the link takes (the card cuts it up later) and its checksum half made;
the helpers know, so TCP's and UDP's sums go by them. A packet that is too long for its way or whose
hops are over is answered (`refusals`); one that has no way, or may be cut into pieces, goes on to
the kernel rewritten, which knows what to do.

Where the next interface is one end of a veth whose other end is in another network namespace (a
container), a plain packet goes straight there, as though it had arrived: it saves a turn through
the queue between the two. Whoever says SHORT of an interface sees to it that nothing stands on its
way out which such a packet would pass by.

Not here: frames that are not for us, but for another hardware address or for all. A veth shows
them, and so does an interface that somebody listens on, where a switch floods what it does not
know; whose they are serves them. Nor packets with a VLAN tag: the kernel takes it off and gives
them to the VLAN's interface, before which the program stands too. Both go on untouched.

Source: include/uapi/linux/bpf.h.
"""

from __future__ import annotations

from fourseven.l4.bpf import checksums
from fourseven.l4.bpf.build import Program
from fourseven.l4.bpf.layout import U32, U64, Struct
from fourseven.l4.bpf.values import Local, Pointer, Value
from fourseven.l4.headers import IPV4, LINK, NEXT, SKB, UDP_HEADER
from fourseven.l4.program.errors import LONGEST
from fourseven.l4.program.refusals import Refusals
from fourseven.l4.program.wire import NUMBER, ODD, PLAIN, SHORT, UNKNOWN, Wire

PSEUDO, KEEP_NONE = 0x10, 0x20  # BPF_F_PSEUDO_HDR, BPF_F_MARK_MANGLED_0: UDP without a checksum
TCP_SUM, UDP_SUM = 16, 6  # where the checksum stands in the header


class SkbWire(Wire):
    """Reading and writing on tc."""

    CONTEXT = SKB
    PASS = 0xFFFFFFFF  # TCX_NEXT: other programs on the interface have their turn
    SENT, DROP = 7, 2  # TCX_REDIRECT, TCX_DROP
    LAST = True

    def __init__(self, p: Program, keys: dict[int, Struct], protocols: set[int]) -> None:
        super().__init__(p, keys, protocols)
        self.refusals = Refusals(self)

    def measure(self) -> Value:
        return self.context.len  # type: ignore[no-any-return]

    def enter(self) -> None:
        p, skb = self.p, self.context
        with p.when((skb.vlan_present | skb.pkt_type) != 0):
            self.leave()

    def need(self, size: int) -> None:
        """Headers mostly stand in one piece: then nothing is moved."""
        p, skb = self.p, self.context
        short = skb.data.to(U64) + size > skb.data_end
        with p.when(short & (skb.data.to(U64) + skb.len > skb.data_end)):
            wanted = p.let("wanted", LONGEST, U32)
            with p.when(skb.len < LONGEST):
                p.set(wanted, skb.len)
            p.do("skb_pull_data", skb, wanted)

    def fits(self, row: Pointer, quotes: bool) -> None:
        p, skb = self.p, self.context
        too_big, expired = self.refusals.kinds()
        told = p.let("told", 0)  # what the sender is told instead; 0: nothing
        with p.when(self.hops_end()):
            p.set(told, expired)
        with p.when((self.plain == PLAIN) & (skb.len > row.mtu.to(U32) + LINK)):
            piece = p.let("piece", skb.len - LINK)
            with p.when(skb.gso_size != 0):
                p.set(piece, skb.gso_size + self.l4 - LINK)
                self.by_protocol(
                    lambda: p.set(piece, piece + (self.tcp().offset.to(U32) >> 4 << 2)),
                    lambda: p.set(piece, piece + UDP_HEADER.size),
                )
            with p.when(piece > row.mtu):
                p.set(told, too_big)
        with p.when(told != 0):
            if not quotes:
                self.lose_to(told)
                p.exit(self.DROP)
                return
            if self.v4:
                whole = p.packet("ip", LINK, IPV4, self.PASS)
                with p.when((told == too_big) & ((whole.fragment & 0x4000) == 0)):
                    p.set(self.plain, ODD)  # it may be cut into pieces, which the kernel does
                    p.set(told, 0)
            with p.when(told != 0):
                self.lose_to(told)
                self.refusals.write(told, row.mtu.to(U32))

    def lose_to(self, told: Local) -> None:
        """Counted by what its sender is told."""
        _, expired = self.refusals.kinds()
        with self.p.when(told == expired):
            self.lose("ttl")
        with self.p.otherwise():
            self.lose("too_big")

    def sums(self, addresses: Local, ports: Local, pairs: list[tuple[Value, Value]]) -> None:
        """By differences: of a half-made sum only the addresses count, which the helper knows."""
        p = self.p
        self.by_protocol(
            lambda: self.helped(TCP_SUM, addresses, PSEUDO),
            lambda: self.helped(UDP_SUM, addresses, PSEUDO | KEEP_NONE),
        )
        other = pairs[0][0] != pairs[0][1]
        for old, new in pairs[1:]:
            other = other | (old != new)  # type: ignore[assignment]
        with p.when(other):
            self.by_protocol(
                lambda: self.helped(TCP_SUM, ports, 0),
                lambda: self.helped(UDP_SUM, ports, KEEP_NONE),
            )

    def helped(self, at: int, change: Local, flags: int) -> None:
        p, skb = self.p, self.context
        p.do("l4_csum_replace", skb, self.l4 + at, 0, checksums.folded(p, change), flags)

    def forward(self, row: Pointer) -> None:
        p = self.p
        with p.when(self.plain == PLAIN):
            self.address(row)
            self.age()
            with p.when((row.out & SHORT) != 0):
                p.exit(p.call("redirect_peer", row.out & NUMBER, 0, kind=U32))
            p.exit(p.call("redirect", row.out & NUMBER, 0, kind=U32))
        with p.when(self.plain == UNKNOWN):
            self.age()
            out = row.out & NUMBER
            p.exit(p.call("redirect_neigh", out, self.next.address, NEXT.size, 0, kind=U32))
        self.leave()
