"""The program in the kernel: what is decided, and how packets are read and written.

The decision (`decide`) is written once, over a wire (`wire`): `skb` for tc's packets, with all that
the kernel knows about them; `xdp` for frames as the card has them.
"""

from __future__ import annotations

from fourseven.l4.bpf.kernel import TCX_INGRESS, XDP, Hook
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.wire import Wire
from fourseven.l4.program.xdp import XdpWire

# Beside a program on xdp stands the one on tcx, which takes what the first one leaves.
WIRES: dict[str, tuple[type[Wire], Hook]] = {
    "tcx": (SkbWire, TCX_INGRESS),
    "xdp": (XdpWire, XDP),
}
