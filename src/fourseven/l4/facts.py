"""What the compiler may know of a host, as plain data: so that the same facts give the same plan.

`l4/host.py` asks the host and makes one; a test writes one down; UNASKED is a host of which nothing
is known (`fourseven check` on another machine). Addresses are numbers of 128 bits, IPv4 as
::ffff:a.b.c.d.

Law: pure, and small enough to compare.
"""

from __future__ import annotations

from dataclasses import dataclass

NOT_ASKED = "this host was not asked"


@dataclass(frozen=True, slots=True)
class Facts:
    """One host, at one time."""

    asked: bool = True
    refused: tuple[tuple[str, str], ...] = ()  # (plane, why it cannot be had); others can
    still: tuple[tuple[int, str], ...] = ()  # (family, how to mend it): no packet is forwarded
    own: tuple[int, ...] = ()  # addresses of its interfaces but for loopback and link-local ones
    local: tuple[tuple[int, int], ...] = ()  # (address, mask): packets to these end here

    xdp: tuple[tuple[str, str, str], ...] = ()  # (interface, driver, native or generic)

    def why_not(self, plane: str) -> str:
        """Why this host does not permit a plane; empty where it does."""
        if not self.asked:
            return NOT_ASKED
        return dict(self.refused).get(plane, "")

    def why_still(self, families: set[int]) -> str:
        """Why packets of one of these families are not forwarded; empty where they are."""
        return next((mend for family, mend in self.still if family in families), "")

    def is_local(self, address: int) -> bool:
        """Do packets to this address end here?"""
        return any(address & mask == network for network, mask in self.local)


UNASKED = Facts(asked=False)
