"""What each kernel plane can do, as a table: which picks, ways back, and places of servers.

The compiler chooses a plane by it, and `check` and `explain` say why not another, without a kernel
at hand. A plane that learns something changes its line here and nothing else.

Law: a line says what is built and tested, not what could be.
"""

from __future__ import annotations

from dataclasses import dataclass

from fourseven.l4.kernel_plan import (
    AT_RANDOM,
    BY_HASH,
    BY_LOAD,
    DIRECT,
    IN_TURN,
    MASQUERADE,
    OF_TWO,
    ROUTED,
)


@dataclass(frozen=True, slots=True)
class Ability:
    """What one plane can do."""

    picks: frozenset[int]
    modes: frozenset[int]
    local_servers: bool = False  # servers at an address of this host
    needs_forwarding: bool = True  # net.ipv4.ip_forward and its like


EBPF = Ability(  # one decision, two wires
    frozenset({IN_TURN, AT_RANDOM, BY_HASH, BY_LOAD, OF_TWO}),
    frozenset({ROUTED, MASQUERADE, DIRECT}),
)
ABILITIES: dict[str, Ability] = {  # in the order in which they are preferred
    "tcx": EBPF,
    "xdp": EBPF,
    "nftables": Ability(
        frozenset({IN_TURN, AT_RANDOM, BY_HASH}),
        frozenset({ROUTED, MASQUERADE}),
        local_servers=True,
    ),
}
