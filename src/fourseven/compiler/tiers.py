"""Tiers: the servers of a backend in the order in which they are used.

Each tier is a backend of its own to the algorithm, with its own table; a worker asks the first
that has enough servers left (worker.tiers). A backend whose servers all stand in one tier has none.

With `locality` the servers of our own zone are a tier before all others of theirs, one that spills
by degrees: with fewer of them usable they take as much less.

Law: pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from fourseven.features import Algorithm
from fourseven.plan import LocalityPlan, ServerPlan, TierPlan

HASHES = {"hash", "source_hash", "maglev"}  # a key stays with its server, so it spills or not


def tiers_of(
    algorithm: Algorithm, servers: Sequence[ServerPlan], locality: LocalityPlan | None = None
) -> tuple[TierPlan, ...]:
    """The tiers in the order of use; none where there is but one."""
    places = [(server.tier, _is_away(server, locality)) for server in servers]
    if len(set(places)) < 2:
        return ()
    found = []
    for place in sorted(set(places)):
        members = tuple(at for at, one in enumerate(places) if one == place)
        own = [(servers[at].known_as or servers[at].address, servers[at].weight) for at in members]
        spills = locality is not None and not place[1] and (place[0], True) in places
        found.append(
            TierPlan(
                members,
                algorithm.lower(own).table,
                spill_percent=locality.spill_percent if locality is not None and spills else 0,
                spill_by_hash=algorithm.key in HASHES,
            )
        )
    return tuple(found)


def _is_away(server: ServerPlan, locality: LocalityPlan | None) -> bool:
    return locality is not None and server.zone != locality.zone
