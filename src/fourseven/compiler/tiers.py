"""Tiers: the servers of a backend in the order in which they are used.

Each tier is a backend of its own to the algorithm, with its own table; a worker asks the first
that has enough servers left. A backend whose servers all stand in one tier has none.

Law: pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from fourseven.features import Algorithm
from fourseven.plan import ServerPlan, TierPlan


def tiers_of(algorithm: Algorithm, servers: Sequence[ServerPlan]) -> tuple[TierPlan, ...]:
    """The tiers in the order of use; none where there is but one."""
    numbers = sorted({server.tier for server in servers})
    if len(numbers) < 2:
        return ()
    found = []
    for number in numbers:
        members = tuple(at for at, server in enumerate(servers) if server.tier == number)
        own = [(servers[at].known_as or servers[at].address, servers[at].weight) for at in members]
        found.append(TierPlan(members, algorithm.lower(own).table))
    return tuple(found)
