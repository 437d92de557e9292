"""Internet checksums by difference: what changed, not what the packet says.

    change = checksums.difference(p, "change", [(old_address, new_address), (old_port, new_port)])
    checksums.apply(p, ip.checksum, change)

The sum of 16-bit words in one's complement is the same in either byte order and in any order of
its words, so fields count as they were loaded: two or four bytes, at even places of the packet.

Source: RFC 1071, RFC 1624 equation 3.
"""

from __future__ import annotations

from collections.abc import Iterable

from fourseven.l4.bpf.build import Program
from fourseven.l4.bpf.layout import BE16, U64
from fourseven.l4.bpf.values import Load, Local, Value


def difference(p: Program, name: str, pairs: Iterable[tuple[Value, Value]]) -> Local:
    """The sum of each (old, new): not yet folded, which `apply` and `folded` do."""
    total: Value | None = None
    for old, new in pairs:
        gone = (~old).bits(U64)
        total = (gone if total is None else total + gone) + new.bits(U64)
    return p.let(name, 0 if total is None else total)


def folded(p: Program, total: Local) -> Value:
    """Down to 32 bits, which is what the kernel's helpers take for a difference."""
    for _ in range(2):  # the second for what was carried
        p.set(total, (total & 0xFFFFFFFF) + (total >> 32))
    return total


def fold(p: Program, total: Local) -> None:
    """Down to 16 bits, of a sum of some words of 32 bits."""
    for _ in range(3):  # 48 → 33 → 18 → 16 bits: so much carries a sum of 65,536 of them
        p.set(total, (total & 0xFFFF) + (total >> 16))


def complete(p: Program, checksum: Load, total: Local) -> None:
    """The checksum of what sums up to this."""
    fold(p, total)
    p.set(checksum, (~total).bits(BE16))


def apply(p: Program, checksum: Load, change: Value) -> None:
    """The checksum of a header in which `change` happened."""
    complete(p, checksum, p.let("checksum", change + (~checksum).bits(U64)))


def apply_to_udp(p: Program, checksum: Load, change: Value) -> None:
    """As `apply`; 0 says that there is no checksum, so it stays, and none becomes 0 (RFC 768)."""
    with p.when(checksum != 0):
        apply(p, checksum, change)
        with p.when(checksum == 0):
            p.set(checksum, 0xFFFF)
